"""The components of the window that events read or change, by name; it lays nothing out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""How events run: nothing flickers, and nothing of the window is an interface for programs."""

LOADED = "while (!window.consilium) await new Promise((go) => setTimeout(go, 20));"
"""Waits in the browser for `page.js`."""


@dataclass(frozen=True)
class ImageParts:
    """The image and what is done to it; the order is that of `image_side.shown`."""

    viewer: gr.HTML
    caption: gr.HTML
    plane: gr.Radio
    frame: gr.Slider
    which: gr.Radio
    preset: gr.Dropdown
    center: gr.Slider
    width: gr.Slider
    windowing: gr.Row
    regions: gr.HTML
    files: gr.File

    @property
    def all(self) -> list[Any]:
        """Return every component."""
        return [getattr(self, part.name) for part in fields(self)]


@dataclass(frozen=True)
class TalkParts:
    """Question and answer."""

    chat: gr.Chatbot
    question: gr.Textbox
    options: gr.Textbox
    send: gr.Button
    stop: gr.Button
    clear: gr.Button
    panel: gr.HTML
    whatif: gr.HTML

    @property
    def told(self) -> list[Any]:
        """What shows the talk of a session."""
        return [self.chat, self.panel, self.whatif, self.send, self.stop]


@dataclass(frozen=True)
class SettingParts:
    """The drawer."""

    model: gr.Dropdown
    collaboration: gr.Radio
    style: gr.Radio
    mode: gr.Radio


@dataclass(frozen=True)
class Parts:
    """All of them."""

    state: gr.State
    turned: gr.State
    """Counted up when a question is taken, stopped, or answered to its end."""
    image: ImageParts
    talk: TalkParts
    settings: SettingParts
    phantoms: tuple[gr.Button, ...]

    @property
    def all_shown(self) -> list[Any]:
        """Return what shows a session; `app.everything` makes their values."""
        return [*self.talk.told, *self.image.all]

    @property
    def chat(self) -> gr.Chatbot:
        """The conversation."""
        return self.talk.chat

    @property
    def panel(self) -> gr.HTML:
        """The consilium panel."""
        return self.talk.panel

    @property
    def question(self) -> gr.Textbox:
        """Where a question is typed."""
        return self.talk.question

    @property
    def send(self) -> gr.Button:
        """The button that asks."""
        return self.talk.send

    @property
    def clear(self) -> gr.Button:
        """The button that starts over."""
        return self.talk.clear
