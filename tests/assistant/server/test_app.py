"""The server as its clients see it: the stock openai client against uvicorn; no model is loaded."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import uvicorn
from PIL import Image

from assistant.assistant import Assistant
from assistant.errors import BadQuestion, ServerUnreachable
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.server.app import Limits, check_bind, create_app
from assistant.steps import Answer, Evidence, Opinion, Question, Step, TextDelta, Triaged
from specialists.core.study import read_study

KEY = "a key of the test"
WITH_USAGE = {"include_usage": True}
PIECES = ("Most likely ", "glioma", ".")


class Fake:
    """An assistant that answers every image alike and remembers how it was asked."""

    def __init__(self) -> None:
        self.history: Any = ()
        self.asked: list[dict[str, Any]] = []
        self.threads: list[set[int]] = []
        self.closed = threading.Event()
        self.generalist = SimpleNamespace()

    def stream(self, images: Any, question: str, *, history: Any = (), **how: Any) -> Iterator[Step]:
        """Yield the steps of a small consultation; some questions make it fail or wait."""
        self.history = list(history)
        studies = tuple(read_study(image) for image in images)
        self.asked.append({"studies": studies, "question": question, **how})
        seen: set[int] = set()
        self.threads.append(seen)
        if not question.strip():
            raise BadQuestion("The question is empty; wanted a text.")
        try:
            yield Question(question, studies)
            yield Triaged("brain MRI", 0.98, "brain_mri", ("brain_mri_residual",))
            if question == "crash":
                raise RuntimeError("secret detail")
            if question == "unreachable":
                raise ServerUnreachable("No answer from the generalist's server.")
            while question == "wait":
                yield TextDelta("still ")
                time.sleep(0.02)
            for piece in PIECES:
                seen.add(threading.get_ident())
                yield TextDelta(piece)
            shares = {"glioma": 0.8, "no tumour": 0.2}
            opinion = Opinion("brain_mri_residual", "glioma", shares, {"glioma": 0.9})
            yield Answer("".join(PIECES), "glioma", 0.8, False, kind="brain MRI", options=shares,
                         evidence=Evidence(moed=(opinion,)), trace_id="t1", seconds=0.1)
        finally:
            seen.add(threading.get_ident())
            self.closed.set()


@contextlib.contextmanager
def started(fake: Any, **how: Any) -> Iterator[str]:
    """Run a server in a thread and yield its address."""
    app = create_app(fake, **how)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def fake() -> Fake:
    return Fake()


@pytest.fixture(scope="module")
def url(fake: Fake) -> Iterator[str]:
    with started(fake, limits=Limits(body_bytes=200_000)) as url:
        yield url


@pytest.fixture(scope="module")
def guarded_url() -> Iterator[str]:
    with started(Fake(), api_key=KEY) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=20) as client:
        yield client


def data_url(shade: int = 90, height: int = 24) -> str:
    """Return a small PNG as a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, 32), shade, np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def turn(text: str, *urls: str) -> dict[str, Any]:
    """Return a user's message."""
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": u}} for u in urls]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def create(client: openai.OpenAI, *messages: dict[str, Any], model: str = "consilium", **more: Any) -> Any:
    """Ask for a completion."""
    completions: Any = client.chat.completions
    return completions.create(model=model, messages=list(messages), **more)


def test_the_openai_client_gets_the_text_and_the_whole_answer(client: openai.OpenAI, fake: Fake) -> None:
    extension = {"options": ["glioma", "no tumour"], "collaboration": "full", "style": "published",
                 "without": ["brain_mri_hybrid"]}
    answer = create(client, turn("Which disease?", data_url()), extra_body={"consilium": extension}, seed=1)
    assert answer.consilium["ignored"] == ["seed"]
    assert answer.choices[0].message.content == "Most likely glioma."
    assert (answer.choices[0].finish_reason, answer.model, answer.usage) == ("stop", "consilium", None)
    assert answer.consilium["evidence"]["moed"][0]["specialist"] == "brain_mri_residual"
    assert (answer.consilium["label"], answer.consilium["trace_id"]) == ("glioma", "t1")
    assert "not a medical device" in answer.consilium["notice"]
    asked = fake.asked[-1]
    assert (asked["options"], asked["collaboration"]) == (("glioma", "no tumour"), "full")
    assert (asked["style"], asked["without"]) == ("published", ("brain_mri_hybrid",))
    assert asked["studies"][0].size == (32, 24)


def test_a_stream_carries_the_pieces_and_ends_with_the_answer(client: openai.OpenAI, fake: Fake) -> None:
    chunks = list(create(client, turn("Which disease?", data_url()), stream=True, stream_options=WITH_USAGE))
    *parts, last, used = chunks
    assert [c.choices[0].delta.content for c in parts if c.choices[0].delta.content] == list(PIECES)
    assert parts[0].choices[0].delta.role == "assistant"
    assert all(c.choices[0].finish_reason is None for c in parts)
    assert last.choices[0].finish_reason == "stop"
    assert last.consilium["label"] == "glioma"
    assert (used.choices, used.usage) == ([], None)
    assert len({c.id for c in chunks}) == 1
    assert len(fake.threads[-1]) == 1, "a question must stay in one thread"


def test_a_stream_without_usage_is_plain_server_sent_events(url: str) -> None:
    body = {"model": "consilium", "messages": [turn("Which?", data_url())], "stream": True}
    reply = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = reply.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert all("usage" not in json.loads(event.removeprefix("data: ")) for event in events)


def test_tokens_are_counted_by_the_generalist_or_not_at_all() -> None:
    fake = Fake()
    fake.generalist = SimpleNamespace(count_tokens=lambda text: len(text.split()))
    with started(fake) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        used = create(client, turn("Which disease is it?", data_url())).usage
        *_, last = create(client, turn("Which?", data_url()), stream=True, stream_options=WITH_USAGE)
    assert (used.prompt_tokens, used.completion_tokens, used.total_tokens) == (4, 3, 7)
    assert (last.choices, last.usage.total_tokens) == ([], 4)


def test_a_later_turn_asks_about_the_earlier_image(client: openai.OpenAI, fake: Fake) -> None:
    answer = create(client, {"role": "system", "content": "Be brief."}, turn("Which disease?", data_url(10)),
                    {"role": "assistant", "content": "Glioma."}, {"role": "user", "content": "Are you sure?"})
    assert answer.consilium["label"] == "glioma"
    assert answer.consilium["ignored"] == ["system messages"]
    assert fake.asked[-1]["question"] == "Are you sure?"
    asked = [{"type": "image"}, {"type": "text", "text": "Which disease?"}]  # the image stands where it was shown
    assert [turn["content"] for turn in fake.history] == [asked, "Glioma."]
    assert fake.asked[-1]["studies"][0].rgb()[0, 0, 0] == 10


def test_the_generalist_alone_is_a_model_of_its_own(client: openai.OpenAI, fake: Fake) -> None:
    assert {m.id for m in client.models.list()} == {"consilium", "consilium-generalist"}
    listed: Any = client.models.retrieve("consilium")
    assert "not a medical device" in listed.metadata["notice"]
    create(client, turn("Which?", data_url()), model="consilium-generalist")
    assert fake.asked[-1]["collaboration"] == "none"
    with pytest.raises(openai.BadRequestError, match="always has collaboration"):
        create(client, turn("Which?", data_url()), model="consilium-generalist",
               extra_body={"consilium": {"collaboration": "full"}})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("urls", "code", "says"), [
    ([], "Unsupported", "no image"),
    (["https://example.org/a.png"], "Unsupported", "nothing is fetched"),
    (["file:///etc/passwd"], "Unsupported", "nothing is fetched"),
    (["data:image/png,abc"], "Unsupported", "not base64"),
    (["data:image/png;base64,%%%"], "Unsupported", "not base64"),
    (["data:image/png;base64,"], "EmptyInput", ""),
    (["data:image/png;base64," + base64.b64encode(b"just words").decode()], "UnsupportedFormat", ""),
    ([data_url()[:60]], None, ""),
])
def test_a_bad_image_is_a_typed_error(client: openai.OpenAI, urls: list[str], code: str | None, says: str,
                                      stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, turn("Which disease?", *urls), stream=stream)
    assert caught.value.param == "messages"
    assert code in (None, caught.value.code)
    assert says in str(caught.value)
    assert create(client, turn("Which disease?", data_url())).consilium["label"] == "glioma"


OPTIONS = {"options": ["glioma", "no tumour"]}


@pytest.mark.parametrize(("more", "param"), [
    ({"n": 9}, "n"), ({"top_logprobs": 2}, "top_logprobs"), ({"functions": [{"name": "f"}]}, "functions"),
    ({"n": 2, "extra_body": {"consilium": OPTIONS}}, "n"), ({"stop": ["a"] * 5}, "stop"),
    ({"response_format": {"type": "json_object"}, "extra_body": {"consilium": OPTIONS}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
    ({"tools": [{"type": "web_search"}]}, "tools.0.type"), ({"tool_choice": "required"}, "messages"),
    ({"extra_body": {"consilium": {"option": ["a"]}}}, "consilium.option"),
    ({"extra_body": {"consilium": {"style": "loud"}}}, "consilium.style"),
])
def test_what_cannot_be_is_refused_by_name(client: openai.OpenAI, more: dict[str, Any], param: str) -> None:
    said = turn("Which disease?", data_url()) if param != "messages" else {"role": "assistant", "content": "Glioma."}
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, said, **more)
    assert caught.value.param == param


def test_a_question_must_be_a_users_and_not_empty(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="empty"):
        create(client, turn("Which?", data_url()), turn(""))
    with pytest.raises(openai.BadRequestError, match="role 'assistant'"):
        create(client, turn("Which?", data_url()), {"role": "assistant", "content": "Glioma."})


def test_an_image_without_a_word_is_asked_about(client: openai.OpenAI, fake: Fake) -> None:
    create(client, {"role": "user", "content": turn("", data_url())["content"][:1]})
    assert fake.asked[-1]["question"] == "What does this image show?"
    create(client, turn(" ", data_url()))
    assert fake.asked[-1]["question"] == "What does this image show?"


@pytest.mark.parametrize(("part", "param", "says"), [
    ({"type": "image_url", "image_url": "data:image/png;base64,"}, ".image_url", "wanted an object with url"),
    ({"type": "image_url", "image_url": {"detail": "low"}}, ".image_url.url", "required"),
    ({"type": "text"}, ".text", "required"), ({"type": "file", "file": 5}, ".file", "dictionary"),
    ({"type": "audio"}, "", "'image_url'"), (5, "", "dictionary")])
def test_the_fault_of_a_part_is_told_where_it_is(client: openai.OpenAI, part: Any, param: str, says: str) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as caught:
        create(client, turn("Which?", data_url()), {"role": "user", "content": [part]})
    assert caught.value.param == f"messages.1.content.0{param}"


def test_half_an_emoji_anywhere_is_read_as_an_unknown_letter(url: str, fake: Fake) -> None:
    body = {"model": "consilium", "messages": [turn("Which \ud83d?", data_url())], "user": "\ude00", "\ud83d": {"a": [
        "\ud83d"]}, "consilium": {"options": ["glioma", "no \ud83d"], "patient": "\ud83d\ude00"}}
    reply = httpx.post(f"{url}/v1/chat/completions", content=json.dumps(body),
                       headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["consilium"]["ignored"]) == (200, ["\ufffd"])
    asked = fake.asked[-1]
    assert (asked["question"], asked["options"], asked["patient"]) == (
        "Which \ufffd?", ("glioma", "no \ufffd"), "\U0001f600")
    unknown = httpx.post(f"{url}/v1/chat/completions", content=json.dumps({**body, "model": "\ud83d"}),
                         headers={"Content-Type": "application/json"})
    assert unknown.status_code == 404


@pytest.mark.parametrize(("content", "headers", "code"), [
    (b'{"model": ', {"Content-Type": "application/json"}, "invalid_json"),
    (b"[" * 100_000, {"Content-Type": "application/json"}, None),
    (b"\xff\xfe", {"Content-Type": "application/json"}, None),
    (b'{"model": "consilium", "messages": []}', {"Content-Type": "text/plain"}, "invalid_json"),
    (b'{"model": "consilium"}', {"Content-Type": "application/json"}, None),
    (b"", {}, None),
])
def test_a_body_that_is_no_request_is_a_400(url: str, content: bytes, headers: dict[str, str],
                                            code: str | None) -> None:
    reply = httpx.post(f"{url}/v1/chat/completions", content=content, headers=headers)
    assert reply.status_code == 400
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert code in (None, reply.json()["error"]["code"])


def test_unknown_models_and_routes_are_404_in_openais_shape(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="Known: consilium, consilium-generalist") as caught:
        create(client, turn("Which?", data_url()), model="gpt")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    reply = httpx.get(f"{url}/v1/nothing")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    assert httpx.get(f"{url}/v1/chat/completions").status_code == 405
    assert httpx.get(f"{url}/docs").status_code == 404


def test_a_body_over_the_limit_is_refused_unread(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        create(client, turn("x" * 5_000_000, data_url()))
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
    reply = httpx.post(f"{url}/v1/chat/completions", content=iter([b" " * 50_000] * 10),
                       headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")
    assert httpx.get(f"{url}/health").json()["status"] == "ok"


def test_a_key_is_asked_for_everywhere_but_for_health(guarded_url: str) -> None:
    for key in ("wrong", "none"):
        with openai.OpenAI(base_url=f"{guarded_url}/v1", api_key=key) as client, \
                pytest.raises(openai.AuthenticationError):
            create(client, turn("Which?", data_url()))
    reply = httpx.get(f"{guarded_url}/v1/models")
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert httpx.get(f"{guarded_url}/health").status_code == 200
    with openai.OpenAI(base_url=f"{guarded_url}/v1", api_key=KEY) as client:
        assert create(client, turn("Which?", data_url())).consilium["label"] == "glioma"


def test_failures_are_told_without_details_and_the_server_lives_on(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        create(client, turn("crash", data_url()))
    assert caught.value.status_code == 500
    assert "secret" not in str(caught.value)
    with pytest.raises(openai.InternalServerError) as caught:
        create(client, turn("unreachable", data_url()))
    assert (caught.value.status_code, caught.value.code) == (502, "ServerUnreachable")
    with pytest.raises(openai.APIError, match="its log has the place"):
        list(create(client, turn("crash", data_url()), stream=True))
    with pytest.raises(openai.APIError, match="No answer from the generalist"):
        list(create(client, turn("unreachable", data_url()), stream=True))
    assert create(client, turn("Which?", data_url())).consilium["label"] == "glioma"


def test_no_log_holds_the_message_of_an_unforeseen_failure(caplog: pytest.LogCaptureFixture) -> None:
    with started(Fake()) as url:
        logging.getLogger("uvicorn.error").setLevel(logging.INFO)
        logging.getLogger("uvicorn.error").addHandler(caplog.handler)
        try:
            body = {"model": "consilium", "messages": [turn("crash", data_url())]}
            told = httpx.post(f"{url}/v1/chat/completions", json=body)
        finally:
            logging.getLogger("uvicorn.error").removeHandler(caplog.handler)
    assert (told.status_code, told.headers["x-request-id"][:4]) == (500, "req_")
    assert "RuntimeError at " in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_question(url: str, fake: Fake, stream: bool) -> None:
    fake.closed.clear()
    body = {"model": "consilium", "messages": [turn("wait", data_url())], "stream": stream}
    try:
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=0.5) as reply:
            next(reply.iter_lines())
    except httpx.ReadTimeout:
        assert not stream
    assert fake.closed.wait(5)
    assert httpx.get(f"{url}/health").status_code == 200


@pytest.mark.parametrize(("host", "key", "refused"), [
    ("127.0.0.1", None, False), ("localhost", None, False), ("::1", None, False), ("127.8.8.8", None, False),
    ("0.0.0.0", None, True), ("::", None, True), ("192.168.1.5", None, True), ("example.org", None, True),
    ("", None, True),
    ("0.0.0.0", KEY, False), ("0.0.0.0", "  ", True), ("127.0.0.1", "", True),
])
def test_only_a_server_with_a_key_listens_further(host: str, key: str | None, refused: bool) -> None:
    if refused:
        with pytest.raises(ValueError, match="CONSILIUM_API_KEY"):
            check_bind(host, key)
    else:
        check_bind(host, key)


def test_the_real_assistant_answers_over_the_wire(tmp_path: Path) -> None:
    letters = ScriptedGeneralist(["It shows ", "a ring."], scores={"A": 0.9, "B": 0.1})
    consilium = Assistant(generalist=letters, home=tmp_path)
    with started(consilium) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        more = {"consilium": {"options": ["glioma", "no tumour"]}}
        alone = {"model": "consilium-generalist"}
        chosen = create(client, turn("Which?", data_url()), extra_body=more, **alone)
        chunks = list(create(client, turn("Which?", data_url()), {"role": "assistant", "content": "Glioma."},
                             turn("What else?"), stream=True, **alone))
    assert max(chosen.consilium["options"].values()) == pytest.approx(0.9)
    assert chosen.choices[0].message.content == chosen.consilium["text"]
    assert consilium.replay(chosen.consilium["trace_id"]).label == chosen.consilium["label"]
    written = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert written == chunks[-1].consilium["text"]
    assert "It shows" in written
