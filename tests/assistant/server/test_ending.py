"""What a server that is told to stop says to those who are not done."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from assistant.server import ending
from assistant.server.app import Limits, create_app
from tests.assistant.server.test_app import Fake, data_url, turn

BODY = {"model": "consilium", "messages": [turn("wait", data_url())]}
SAYS = {"message": "The server is ending; ask again.", "type": "server_error", "param": None, "code": "server_ending"}


@contextlib.contextmanager
def stoppable() -> Iterator[tuple[str, ending.Server, Fake]]:
    """Run a server with a grace of two seconds, one of which is for last words."""
    fake = Fake()
    server = ending.Server(uvicorn.Config(create_app(fake, limits=Limits(at_once=2)), port=0, log_level="critical",
                                          timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server, fake
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def asked_and_stopped(path: str, body: dict[str, object]) -> httpx.Response:
    """Ask what is never done, stop the server meanwhile, and return what came."""
    with stoppable() as (url, server, fake):
        stop = threading.Timer(0.5, lambda: setattr(server, "should_exit", True))
        stop.start()
        reply = httpx.post(url + path, json=body, timeout=20)
        assert fake.closed.wait(5), "the question goes on"
    return reply


def test_a_stream_under_way_ends_with_an_error_and_done() -> None:
    reply = asked_and_stopped("/v1/chat/completions", {**BODY, "stream": True})
    *events, last, done, rest = reply.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert json.loads(last.removeprefix("data: ")) == {"error": SAYS}
    assert "still" in events[-1]


def test_a_streamed_response_under_way_fails() -> None:
    asked = {"model": "consilium", "stream": True, "input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": data_url()}, {"type": "input_text", "text": "wait"}]}]}
    reply = asked_and_stopped("/v1/responses", asked)
    last = json.loads(reply.text.strip().rpartition("data: ")[2])
    assert (last["type"], last["response"]["error"]["message"]) == ("response.failed", SAYS["message"])


@pytest.mark.parametrize("others", [0, 2])
def test_who_waits_for_a_whole_answer_is_told_to_ask_again(others: int) -> None:
    """Also who waits for room: two are answered at a time."""
    with stoppable() as (url, server, _):
        replies: list[httpx.Response] = []
        asking = [threading.Thread(target=lambda: replies.append(
            httpx.post(f"{url}/v1/chat/completions", json=BODY, timeout=20))) for _ in range(1 + others)]
        for thread in asking:
            thread.start()
        time.sleep(0.5)
        server.should_exit = True
        for thread in asking:
            thread.join(10)
    assert [(r.status_code, r.json()["error"], r.headers["retry-after"]) for r in replies] == [
        (503, SAYS, "5")] * (1 + others)
