"""The talk's side of the window: question, streamed answer, consilium panel, what if; it decides nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from ui import image_side, panel, session
from ui.parts import LOADED, QUIET, Parts, TalkParts
from ui.session import Changed, Changes, Choices, Consultant, Session

EMPTY = "Drop an image, or try a drawn one, and ask."
SETTLED = f"async (...given) => {{ {LOADED} await window.consilium.settled(); return given; }}"
"""What the page does first: a question waits for files that are still on their way (`page.js`)."""
QUESTIONS = (
    "What kind of image is this?",
    "What is the diagnosis?",
    "Where is the lesion?",
    "Is anything unusual here?",
)
THINKING = '<p class="cs-note" role="status">Asking again, this takes about as long as the answer did.</p>'

LOOKING = '<p class="cs-note" role="status">Covering the image piece by piece, this takes some seconds.</p>'


def build() -> TalkParts:
    """Lay the side out, empty."""
    chat = gr.Chatbot(
        label="Conversation",
        show_label=False,
        height=400,
        placeholder=EMPTY,
        latex_delimiters=[],
        feedback_options=None,
        allow_tags=False,
        buttons=["copy"],
        examples=[{"text": words} for words in QUESTIONS],
        elem_id="chat",
    )
    with gr.Row(equal_height=True):
        question = gr.Textbox(
            label="Question",
            placeholder="Ask about the image",
            lines=1,
            max_lines=6,
            scale=3,
            min_width=220,
            autofocus=True,
            elem_id="question",
        )
        options = gr.Textbox(
            label="Answers to choose from",
            placeholder="optional: benign, malignant",
            lines=1,
            max_lines=2,
            scale=2,
            min_width=220,
            elem_id="options",
        )
    with gr.Row():
        send = gr.Button("Ask", variant="primary", size="md", scale=4, min_width=90, elem_id="ask")
        stop = gr.Button("Stop", variant="stop", size="md", scale=1, min_width=80, interactive=False, elem_id="stop")
        clear = gr.Button("Start over", size="md", scale=1, min_width=110, elem_id="clear")
    whatif = gr.HTML(elem_id="whatif")
    consilium = gr.HTML(elem_id="panel", js_on_load=panel.SCRIPT)
    return TalkParts(chat, question, options, send, stop, clear, consilium, whatif)


def shown(parts: TalkParts, state: Session) -> dict[Any, Any]:
    """Return conversation and panel of a session, and whether it can be asked or stopped."""
    return {**told(parts, state), parts.whatif: ""}


def told(parts: TalkParts, state: Session) -> dict[Any, Any]:
    """Return the same without what a what-if said."""
    return {
        parts.chat: state.history,
        parts.panel: _panel(state),
        parts.send: gr.Button(interactive=not state.busy),
        parts.stop: gr.Button(interactive=state.busy),
    }


def _panel(state: Session) -> str:
    return panel.panel(state.steps, state.answer, regions=bool(state.regions or state.asked),
                       pictures=session.thumbnails(state))


def wire(
    parts: Parts, consultants: Mapping[str, Consultant], everything: Callable[[Session], dict[Any, Any]]
) -> None:
    """Let questions be asked, stopped, asked again and forgotten.

    An answer ends itself when its turn is over (`Session.turn`). Gradio's own `cancels` would drop what is asked until
    the step under way has ended.
    """
    talk = parts.talk
    _wire_ask(parts, consultants)

    def stop(state: Session | None, turned: int) -> dict[Any, Any]:
        state = state or Session()
        session.stop(state)
        return {parts.state: state, parts.turned: turned + 1, **told(talk, state)}

    def clear(state: Session | None) -> dict[Any, Any]:
        state = state or Session()
        state.become(Session(owner=state.owner))
        return {parts.state: state, talk.question: "", **everything(state)}

    def again(state: Session | None, model: str, event: gr.EventData) -> Iterator[dict[Any, Any]]:
        said, state = dict(event._data or {}), state or Session()
        if "where" in said:
            yield {talk.whatif: LOOKING}
            told = session.where(consultants[model], state, str(said["where"]))
            yield {parts.state: state, talk.whatif: told, **image_side.looked_at(parts.image, state)}
            return
        changes = Changes(tuple(map(str, said.get("without") or ())), bool(said.get("moved")))
        yield {talk.whatif: THINKING}
        yield {talk.whatif: session.again(consultants[model], state, changes)}

    talk.stop.click(stop, [parts.state, parts.turned],
                    [parts.state, parts.turned, talk.chat, talk.panel, talk.send, talk.stop], **QUIET)
    seen = [parts.state, talk.whatif, parts.image.viewer, parts.image.caption, parts.image.regions]
    talk.panel.select(again, [parts.state, parts.settings.model], seen, **QUIET)
    talk.chat.example_select(_example, None, [talk.question], **QUIET)
    talk.clear.click(clear, [parts.state], [parts.state, talk.question, *parts.all_shown], **QUIET)


def _wire_ask(parts: Parts, consultants: Mapping[str, Consultant]) -> None:
    talk, settings, image = parts.talk, parts.settings, parts.image

    def ask(
        state: Session | None, text: str, options: str, model: str, collaboration: str, style: str, turned: int
    ) -> Iterator[dict[Any, Any]]:
        choices = Choices(session.split_options(options), collaboration, style)
        state = state or Session()
        first: dict[Any, Any] = {parts.state: state, parts.turned: turned + 1, talk.question: "", talk.whatif: ""}
        for changed in session.ask(consultants[model], state, text, choices):
            shown = first | ({talk.chat: state.history} if changed is Changed.WORDS else told(talk, state))
            if changed is Changed.DONE:
                found = image_side.looked_at(image, state) if state.overlaid else {}
                shown |= {parts.state: state, parts.turned: turned + 2, **found}
            first = {}
            yield shown
        if first:  # refused: without a word from here Gradio would empty every component
            yield {parts.state: state}

    given = [
        parts.state,
        talk.question,
        talk.options,
        settings.model,
        settings.collaboration,
        settings.style,
        parts.turned,
    ]
    seen = [
        parts.state,
        parts.turned,
        talk.chat,
        talk.panel,
        talk.whatif,
        talk.question,
        talk.send,
        talk.stop,
        image.viewer,
        image.caption,
        image.regions,
    ]
    for event in (talk.send.click, talk.question.submit):
        event(ask, given, seen, js=SETTLED, trigger_mode="multiple", **QUIET)


def _example(event: gr.SelectData) -> str:
    return event.value["text"]
