"""A visitor's work in the window: conversations kept and found again, exports, feedback, and a header on demand.

It lays out and wires; what is kept and exported is made in `assistant`, what is shown of it in `memory` and `render`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from assistant.errors import ConsiliumError, place
from assistant.export.dossier import gather
from assistant.export.formats import FORMATS, exported, file_name
from assistant.records import Feedback, Records, Verdict
from ui import kept, memory
from ui.parts import QUIET, Parts
from ui.session import BROKEN, LISTED, Session

log = logging.getLogger(__name__)

NOTHING = "There is no answer here to judge."
Everything = Callable[[Session], dict[Any, Any]]
"""Draws a whole session: values by component."""
Changes = dict[Any, Any]
SAVE = "() => setTimeout(() => document.querySelector('#save a, a#save, #save')?.click(), 400)"
"""Saves the file that was made, so that one click is enough."""


@dataclass(frozen=True)
class Sidebar:
    """The list of conversations and what is done to one."""

    new: gr.Button
    find: gr.Textbox
    listed: gr.Radio
    more: gr.Button
    title: gr.Textbox
    rename: gr.Button
    delete: gr.Button
    sure: gr.Row
    really: gr.Button
    keep: gr.Button
    told: gr.HTML


@dataclass(frozen=True)
class Below:
    """What is done with an answer: say whether it is right, export it, look at the file's header."""

    box: gr.Column
    judge: gr.Column
    agree: gr.Button
    disagree: gr.Button
    objection: gr.Column
    label: gr.Dropdown
    reason: gr.Textbox
    send: gr.Button
    said: gr.HTML
    form: gr.Dropdown
    export: gr.Button
    save: gr.DownloadButton
    told: gr.HTML
    show: gr.Button
    hide: gr.Button
    values: gr.HTML


@dataclass(frozen=True)
class Work:
    """Both."""

    sidebar: Sidebar
    below: Below


def build_sidebar() -> Sidebar:
    """Lay the list out, empty."""
    gr.HTML('<h2 class="cs-drawer">Conversations</h2>')
    new = gr.Button("New conversation", variant="primary", size="sm", elem_id="new")
    find = gr.Textbox(label="Search", placeholder="Words of a question or answer", max_lines=1, elem_id="find")
    listed = gr.Radio([], label="Yours, newest first", elem_id="listed", interactive=True)
    more = gr.Button("Show older ones", size="sm", visible=False, elem_id="more")
    title = gr.Textbox(label="Title", max_lines=1, max_length=80, elem_id="title")
    with gr.Row():
        rename = gr.Button("Rename", size="sm", min_width=90, elem_id="rename")
        delete = gr.Button("Delete", size="sm", min_width=90, elem_id="delete")
    with gr.Row(visible=False, elem_id="sure") as sure:
        really = gr.Button("Delete for good", variant="stop", size="sm", min_width=130, elem_id="really")
        keep = gr.Button("Keep", size="sm", min_width=70, elem_id="keep")
    return Sidebar(new, find, listed, more, title, rename, delete, sure, really, keep, gr.HTML(elem_id="sidebar-told"))


def build_below() -> Below:
    """Lay out what stands under the consilium panel; it is hidden until something was answered."""
    with gr.Column(visible=False, elem_id="below") as box:
        with gr.Column(visible=False, elem_id="judge") as judge:
            gr.HTML('<h3 class="cs-work">Is this answer right?</h3>')
            with gr.Row():
                agree = gr.Button("Agree", size="sm", min_width=90, elem_id="agree")
                disagree = gr.Button("Disagree", size="sm", min_width=90, elem_id="disagree")
        with gr.Column(visible=False, elem_id="objection") as objection:
            label = gr.Dropdown([], label="Right label (optional)", allow_custom_value=True, elem_id="right-label")
            reason = gr.Textbox(label="Reason", max_length=2000, lines=2, elem_id="reason")
            send = gr.Button("Send", variant="primary", size="sm", elem_id="object")
        said = gr.HTML(elem_id="said")
        with gr.Row(equal_height=True):
            choices = [(form.words, name) for name, form in FORMATS.items()]
            form = gr.Dropdown(choices, value="pdf", label="Export the conversation", filterable=False, scale=3,
                               min_width=230, elem_id="form")
            export = gr.Button("Export", size="md", scale=1, min_width=100, elem_id="export")
        save = gr.DownloadButton("Save", size="sm", visible=False, elem_id="save")
        told = gr.HTML(elem_id="export-told")
    with gr.Accordion("Header of the DICOM file", open=False, elem_id="header"):
        gr.HTML(f'<p class="cs-aside">{kept.HEADER_NOTE}</p>')
        with gr.Row():
            show = gr.Button("Show its values", size="sm", min_width=120, elem_id="show-header")
            hide = gr.Button("Hide", size="sm", min_width=80, elem_id="hide-header")
        values = gr.HTML(elem_id="header-values")
    return Below(box, judge, agree, disagree, objection, label, reason, send, said, form, export, save, told, show,
                 hide, values)


def wire(ready: Any, work: Work, parts: Parts, records: Records, everything: Everything) -> Any:
    """Bring both to life after the event `ready`; return the event that opens what the browser left."""
    browser = gr.BrowserState(None, storage_key="consilium", secret="consilium")
    wired = _Wired(work, parts, records, everything, browser)
    wired.conversations()
    wired.feedback()
    wired.export()
    wired.header()
    shown = [browser, parts.state, *parts.all_shown, *wired.surroundings]
    return ready.then(wired._start, [browser, parts.state], shown, **QUIET)


@dataclass(frozen=True)
class _Wired:
    """The handlers of one window; what belongs to a visitor comes and goes by its states alone."""

    work: Work
    parts: Parts
    records: Records
    everything: Everything
    browser: gr.BrowserState

    # 1) what is shown

    def opened(self, session: Session, words: str = "") -> Changes:
        """Show a session as it is, with all that stands around it."""
        around = {**self.around(session, words), **self._title(session)}
        return {self.parts.state: session, **self.everything(session), **around}

    def around(self, session: Session, words: str = "") -> Changes:
        """Show the list, and what can be done with the session's answer; what is being written stays."""
        side, below, answer = self.work.sidebar, self.work.below, session.answer
        listed = [one for one in self.records.owned(session.owner, words) if one.turns]
        shown = listed[: session.listed]
        present = next((one for one in listed if one.id == session.conversation), None)
        said = memory.said_before(self.records, session)
        return {
            side.listed: gr.Radio([(memory.label(one), one.id) for one in shown],
                                  value=present.id if present in shown else None),
            side.more: gr.Button(f"Show older ones ({len(listed) - len(shown)})", visible=len(listed) > len(shown)),
            side.title: self._title(session)[side.title] if present is None or present.turns == 1 else gr.skip(),
            side.rename: gr.Button(interactive=present is not None),
            side.delete: gr.Button(interactive=present is not None),
            side.sure: gr.Row(visible=False), side.told: kept.found(words, len(listed)),
            below.box: gr.Column(visible=present is not None or answer is not None),
            below.judge: gr.Column(visible=answer is not None),
            **self._objection(session, said), below.said: kept.said(said),
            below.save: gr.DownloadButton(visible=False), below.told: "", below.values: "",
        }

    def _title(self, session: Session) -> Changes:
        known = {one.id: one.title for one in self.records.owned(session.owner) if one.turns}
        title = known.get(session.conversation or "")
        return {self.work.sidebar.title: gr.Textbox(value=title or "", interactive=title is not None)}

    def _objection(self, session: Session, said: Feedback | None) -> Changes:
        below = self.work.below
        if session.objecting:  # to an answer before, perhaps: it is being written
            return {below.objection: gr.skip(), below.label: gr.skip(), below.reason: gr.skip()}
        options = list(session.answer.options) if session.answer else []
        return {below.objection: gr.Column(visible=False), below.reason: said.reason if said else "",
                below.label: gr.Dropdown(choices=options, value=said.label or None if said else None)}

    @property
    def surroundings(self) -> list[Any]:
        """What `around` changes."""
        side, below = self.work.sidebar, self.work.below
        return [side.listed, side.more, side.title, side.rename, side.delete, side.sure, side.told, below.box,
                below.judge, below.objection, below.label, below.reason, below.said, below.save, below.told,
                below.values]

    # 2) conversations

    def conversations(self) -> None:
        """Let them be found, opened, renamed and deleted."""
        side, state, browser = self.work.sidebar, self.parts.state, self.browser
        all_shown = [browser, state, *self.parts.all_shown, *self.surroundings]
        self.parts.turned.change(self._answered, [state, browser, side.find], [browser, *self.surroundings], **QUIET)
        side.find.change(lambda session, words: self.around(session or Session(), words), [state, side.find],
                         self.surroundings, trigger_mode="always_last", **QUIET)
        side.more.click(self._older, [state, side.find], [state, *self.surroundings], **QUIET)
        side.listed.input(self._open, [side.listed, state, browser, side.find], all_shown, **QUIET)
        side.new.click(self._new, [state, browser, side.find], all_shown, **QUIET)
        self.parts.clear.click(self._cleared, [state, browser, side.find], [browser, *self.surroundings], **QUIET)
        for event in (side.rename.click, side.title.submit):
            event(self._rename, [state, side.title, side.find], self.surroundings, **QUIET)
        side.delete.click(lambda: gr.Row(visible=True), None, [side.sure], **QUIET)
        side.keep.click(lambda: gr.Row(visible=False), None, [side.sure], **QUIET)
        side.really.click(self._delete, [state, browser, side.find], all_shown, **QUIET)

    def _start(self, browser: Any, present: Session | None = None) -> Changes:
        """Open what the browser left; the page holds back what a visitor does before (`app.STARTED`)."""
        known = browser if isinstance(browser, dict) and isinstance(browser.get("secret"), str) else {}
        secret = known.get("secret") or memory.fresh_secret()
        owner, present = memory.owner_of(secret), present or Session()
        present.owner = owner
        left = self._recalled(owner, str(known["conversation"])) if known.get("conversation") else None
        if left is not None:
            present.become(left)
        return {self.browser: {"secret": secret, "conversation": present.conversation}, **self.opened(present)}

    def _recalled(self, owner: str, conversation: str) -> Session | None:
        try:
            return memory.recall(self.records, owner, conversation)
        except ConsiliumError:
            return None

    def _answered(self, session: Session | None, browser: Any, words: str) -> Changes:
        session = session or Session()
        return {self.browser: {**(browser or {}), "conversation": session.conversation}, **self.around(session, words)}

    def _older(self, session: Session | None, words: str) -> Changes:
        session = session or Session()
        session.listed += LISTED
        return {self.parts.state: session, **self.around(session, words)}

    def _open(self, conversation: str | None, session: Session | None, browser: Any, words: str) -> Changes:
        before = session or Session()
        opened = self._recalled(before.owner, conversation or "")
        if opened is None:
            return self.around(before, words)
        opened.headers, opened.listed = before.headers, before.listed
        before.become(opened)
        return {self.browser: {**(browser or {}), "conversation": conversation}, **self.opened(before, words)}

    def _new(self, session: Session | None, browser: Any, words: str) -> Changes:
        session = session or Session()
        session.become(Session(owner=session.owner))
        return {self.browser: {**(browser or {}), "conversation": None}, **self.opened(session, words)}

    def _cleared(self, session: Session | None, browser: Any, words: str) -> Changes:
        return self._answered(Session(owner=session.owner if session else ""), browser, words)

    def _rename(self, session: Session | None, title: str, words: str) -> Changes:
        session = session or Session()
        try:
            self.records.rename(session.conversation or "", session.owner, title)
        except ConsiliumError as error:
            return {**self.around(session, words), self.work.sidebar.told: kept.problem(error)}
        return self.around(session, words)

    def _delete(self, session: Session | None, browser: Any, words: str) -> Changes:
        session = session or Session()
        try:
            self.records.delete(session.conversation or "", session.owner)
        except ConsiliumError as error:
            return {**self.around(session, words), self.work.sidebar.told: kept.problem(error)}
        return self._new(session, browser, words)

    # 3) feedback

    def feedback(self) -> None:
        """Keep what the visitor says of the present answer."""
        below, state = self.work.below, self.parts.state
        told = [state, below.said, below.objection]
        below.agree.click(self._agree, [state], told, **QUIET)
        below.disagree.click(self._disagree, [state], [*told, below.label, below.reason], **QUIET)
        below.send.click(self._object, [state, below.reason, below.label], told, **QUIET)

    def _agree(self, session: Session | None) -> Changes:
        session = session or Session()
        session.objecting = ""
        return self._say(session, session.answer.trace_id if session.answer else "", "agree", "", None)

    def _disagree(self, session: Session | None) -> Changes:
        """Open the form about the answer that is shown now, whichever is when it is sent."""
        below, session = self.work.below, session or Session()
        if session.answer is None:
            return {self.parts.state: session, below.said: kept.note(NOTHING)}
        session.objecting = ""
        form = self._objection(session, memory.said_before(self.records, session))
        session.objecting = session.answer.trace_id
        return {self.parts.state: session, **form, below.objection: gr.Column(visible=True)}

    def _object(self, session: Session | None, reason: str, label: str | None) -> Changes:
        session = session or Session()
        return self._say(session, session.objecting, "disagree", reason, label)

    def _say(self, session: Session, trace_id: str, verdict: Verdict, reason: str, label: str | None) -> Changes:
        below = self.work.below
        if not trace_id:
            return {self.parts.state: session, below.said: kept.note(NOTHING)}
        said = Feedback(trace_id, verdict, reason, label or "", session.owner)
        try:
            self.records.say(said)
        except ConsiliumError as error:
            return {self.parts.state: session, below.said: kept.problem(error)}
        session.objecting = ""
        earlier = session.answer is None or session.answer.trace_id != trace_id
        return {self.parts.state: session, below.said: kept.said(said, earlier=earlier),
                below.objection: gr.Column(visible=False)}

    # 4) export

    def export(self) -> None:
        """Make a file of the conversation and let the browser save it."""
        below = self.work.below
        made = below.export.click(self._export, [self.parts.state, below.form], [below.save, below.told],
                                  show_progress="minimal", api_visibility="private")
        made.success(None, None, None, js=SAVE, api_visibility="private")

    def _export(self, session: Session | None, form: str) -> Changes:
        below, session = self.work.below, session or Session()
        try:
            dossier = gather(self.records, session.conversation or "", session.owner)
            data = exported(dossier, form, session.headers)
        except ConsiliumError as error:
            return {below.save: gr.DownloadButton(value=None, visible=False), below.told: kept.problem(error)}
        except Exception as error:  # noqa: BLE001 - the visitor is told, the program goes on
            log.error("a conversation could not be exported: %s", place(error))
            return {below.save: gr.DownloadButton(value=None, visible=False), below.told: kept.note(BROKEN)}
        name = file_name(dossier, form)
        path = save_bytes_to_cache(data, name, below.save.GRADIO_CACHE)
        below.save.temp_files.add(path)  # removed with the rest of the cache
        return {below.save: gr.DownloadButton(f"Save {name}", value=path, visible=True), below.told: ""}

    # 5) the header

    def header(self) -> None:
        """Show a header's values when they are asked for; another picture hides them."""
        below, state = self.work.below, self.parts.state
        below.show.click(lambda session: kept.header(_header(session or Session())), [state], [below.values], **QUIET)
        for event in (below.hide.click, self.parts.image.caption.change):
            event(None, None, [below.values], js="() => ''", **QUIET)


def _header(session: Session) -> Any:
    return session.headers.get(session.study.sha256) if session.study else None
