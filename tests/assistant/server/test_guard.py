"""Who may ask, how much at once and how long: keys, limits, the queue, time, bodies, figures."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from assistant import __main__ as cli
from assistant.errors import BadQuestion, ServerUnreachable
from assistant.server.app import Limits
from assistant.server.keys import Key, Meter, add, hashed, read
from assistant.steps import Step
from tests.assistant.server.test_app import Fake, create, data_url, started, turn

KEYS = [Key("anna", hashed("key of anna"), per_minute=3), Key("bert", hashed("key of bert"), at_once=1)]


class Held(Fake):
    """Answers once it is let go; counts who is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.inside = threading.Event(), threading.Semaphore(0)

    def stream(self, images: Any, question: str, **how: Any) -> Iterator[Step]:
        """Wait for the event in the middle of the answer."""
        self.inside.release()
        if question == "hold":
            assert self.go.wait(20)
        yield from super().stream(images, question, **how)


def client(url: str, key: str = "none", **more: Any) -> openai.OpenAI:
    """Return a client that does not try again."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, **more)


def test_each_key_has_its_rate_and_its_requests_at_once() -> None:
    fake = Held()
    with started(fake, keys=KEYS) as url, client(url, "key of anna") as anna, client(url, "key of bert") as bert:
        for _ in range(3):
            anna.models.list()
        with pytest.raises(openai.RateLimitError) as caught:
            create(anna, turn("Which?", data_url()))
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 20
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["x-ratelimit-limit-requests"] == "3"
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(create, bert, turn("hold", data_url()))
            assert fake.inside.acquire(timeout=10)
            with pytest.raises(openai.RateLimitError):
                bert.models.list()
            fake.go.set()
            assert held.result(10).consilium["label"] == "glioma"
        assert bert.models.list().data
        assert httpx.get(f"{url}/metrics").status_code == 401


def test_the_queue_is_bounded_and_who_leaves_it_makes_room() -> None:
    fake = Held()
    body = {"model": "consilium", "messages": [turn("hold", data_url())]}
    room = Limits(at_once=1, waiting=1)
    with started(fake, limits=room) as url, client(url) as openai_client, ThreadPoolExecutor(2) as pool:
        held = pool.submit(create, openai_client, turn("hold", data_url()))
        assert fake.inside.acquire(timeout=10)
        with pytest.raises(httpx.ReadTimeout):     # waits in the queue, and leaves
            httpx.post(f"{url}/v1/chat/completions", json=body, timeout=0.5)
        second = pool.submit(create, openai_client, turn("Which?", data_url()))
        while "consilium_waiting 1.0" not in httpx.get(f"{url}/metrics").text:
            time.sleep(0.02)
        reply = httpx.post(f"{url}/v1/chat/completions", json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(reply.headers["retry-after"]) >= 1
        fake.go.set()
        assert {held.result(10).consilium["label"], second.result(10).consilium["label"]} == {"glioma"}
        assert len(fake.asked) == 2, "the question of the client that left was answered"



def test_an_answer_has_its_time() -> None:
    with started(Fake(), limits=Limits(seconds=0.3)) as url, client(url) as openai_client:
        with pytest.raises(openai.APIStatusError) as caught:
            create(openai_client, turn("wait", data_url()))
        assert (caught.value.status_code, caught.value.code) == (504, "timeout")
        with pytest.raises(openai.APIError, match="too long"):
            list(create(openai_client, turn("wait", data_url()), stream=True))
        assert create(openai_client, turn("Which?", data_url())).consilium["label"] == "glioma"


def test_a_body_that_does_not_come_is_given_up() -> None:
    with started(Fake(), limits=Limits(body_seconds=0.3)) as url:
        parts = urlsplit(url)
        with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=10) as slow:
            slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
                         b"Content-Type: application/json\r\n\r\n{")
            assert b"408" in slow.recv(100)


class Unready(Fake):
    """Its generalist comes up later."""

    def __init__(self) -> None:
        super().__init__()
        self.up = False
        self.generalist = self

    def ready(self) -> None:
        """Raise until it is up."""
        if not self.up:
            raise ServerUnreachable("No answer from http://secret:1.")


def test_ready_tells_of_the_generalist_and_health_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assistant.server.service.FRESH_S", 0.0)
    fake = Unready()
    with started(fake) as url:
        reply = httpx.get(f"{url}/ready")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "ServerUnreachable")
        assert "secret" not in reply.text
        assert httpx.get(f"{url}/health").status_code == 200
        fake.up = True
        assert httpx.get(f"{url}/ready").json() == {"status": "ready"}


def test_figures_hold_what_happened_and_nothing_of_whom() -> None:
    with started(Fake()) as url, client(url) as openai_client:
        create(openai_client, turn("Which disease?", data_url()))
        list(create(openai_client, turn("Which disease?", data_url()), stream=True))
        with pytest.raises(openai.NotFoundError):
            create(openai_client, turn("Which?", data_url()), model="gpt")
        httpx.get(f"{url}/nothing/secret")
        text = httpx.get(f"{url}/metrics").text
        reply = httpx.get(f"{url}/health")
    assert 'consilium_requests_total{route="/v1/chat/completions",status="200"} 2.0' in text
    assert 'consilium_requests_total{route="/v1/chat/completions",status="404"} 1.0' in text
    assert 'consilium_first_text_seconds_count{model="consilium"} 2.0' in text
    assert "consilium_running 0.0" in text
    assert "secret" not in text
    assert "disease" not in text
    assert reply.headers["x-request-id"].startswith("req_")


def test_a_meter_fills_with_time() -> None:
    now = [0.0]
    key = Key("a", hashed("k"), per_minute=60)
    meter = Meter([key], clock=lambda: now[0])
    assert [meter.enter(key) for _ in range(61)] == [0] * 60 + [1]
    now[0] = 2.0
    assert [meter.enter(key) for _ in range(3)] == [0, 0, 1]
    assert meter.owner("k") == key
    assert meter.owner("K") is None


def test_keys_are_made_and_kept_as_hashes(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.json"
    assert cli.main(["serve", "--keys", str(file), "--new-key", "anna", "--per-minute", "60"]) == 0
    key = capsys.readouterr().out.strip()
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o77 == 0
    assert read(file) == [Key("anna", hashed(key), 60, 0)]
    with pytest.raises(BadQuestion, match="already"):
        add(file, "anna")
    assert cli.main(["serve", "--new-key", "bert"]) == 2
    for bad in ("no json", '[{"name": "a"}]', '[{"name": "a", "sha256": "short"}]', "[1]",
                json.dumps([{"name": "a", "sha256": "0" * 64, "at_once": -1}]),
                json.dumps([{"name": "a", "sha256": "0" * 64}] * 2)):
        file.write_text(bad)
        with pytest.raises(BadQuestion):
            read(file)


@pytest.mark.parametrize(("words", "says"), [
    (["--at-once", "0"], "Got --at-once 0; wanted at least 1"), (["--port", "99999"], "wanted 1 to 65535"),
    (["--waiting", "-1"], "Got --waiting -1"), (["--seconds", "0"], "Got --seconds 0"), (["--seconds", "nan"], "nan"),
    (["--body-mb", "0"], "Got --body-mb 0"), (["--model-key-file", "none"], "--model-key-file none cannot be read"),
    (["--keys", "empty.json"], "empty.json holds no key, and without one everybody would be served")])
def test_what_cannot_be_served_is_said_before_a_model_is_loaded(
        words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONSILIUM_API_KEY", raising=False)
    monkeypatch.setattr(cli, "open_assistant", lambda *_: pytest.fail("a model is opened"))
    Path("empty.json").write_text("[]")
    assert cli.main(["serve", *words]) == 2
    assert says in capsys.readouterr().err
    assert cli.main(["serve", "--keys", "empty.json", "--new-key", "anna"]) == 0
