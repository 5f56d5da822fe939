"""Many at once: nobody gets another's image, turn or file; thousands of requests of every kind leave nothing behind."""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import BaseMessage
from PIL import Image

from assistant.assistant import Assistant
from assistant.generalist.local import LocalGeneralist
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.server.app import Limits
from assistant.server.keys import Key, hashed
from benchmarks.held import held
from tests.assistant import stand_ins
from tests.assistant.server.test_app import data_url, started, turn
from tests.assistant.server.test_chat import WEATHER
from tests.fakes import tiny_qwen3vl

log = logging.getLogger(__name__)
USERS = 64
SPARE = 2.0
"""MB that a thousand requests may leave behind. Threads keep some freed pieces for themselves, which malloc counts as
in use, and fill up slowly: 0.9 were measured, and 0.07 with GLIBC_TUNABLES=glibc.malloc.tcache_count=0."""
SAYS = "What shade?"


def seen(messages: list[BaseMessage]) -> str:
    """Return what the generalist was shown: the shade of its image, and the names of the users that it read."""
    urls = [part["image_url"]["url"] for m in messages for part in m.content
            if isinstance(part, dict) and part["type"] == "image_url"]
    shades = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).getpixel((0, 0)) for url in urls]
    time.sleep(0.005)
    return json.dumps({"shades": shades, "names": re.findall(r"user-\d+", "\n".join(m.text for m in messages))})


def test_64_users_at_once_see_their_own_images_turns_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.install(monkeypatch)
    script = ScriptedGeneralist([seen] * (3 * USERS))
    keys = [Key(f"user-{i}", hashed(f"key {i}")) for i in range(USERS)]
    meeting = threading.Barrier(USERS)

    with started(Assistant(generalist=script, home=tmp_path), keys=keys, limits=Limits(waiting=USERS)) as url, \
            httpx.Client(base_url=url, timeout=60, limits=httpx.Limits(max_connections=USERS)) as web, \
            ThreadPoolExecutor(USERS) as pool:

        def user(number: int) -> tuple[int, list[str]]:
            own = {"Authorization": f"Bearer key {number}"}
            shade = data_url(60 + number)
            model = {"model": "consilium-generalist"}

            def said(reply: httpx.Response) -> str:
                assert reply.status_code == 200, reply.text
                return reply.json()["consilium"]["text"]
            meeting.wait(30)
            content = [{"type": "input_image", "image_url": shade},
                       {"type": "input_text", "text": f"I am user-{number}"}]
            asked = {**model, "input": [{"role": "user", "content": content}]}
            first = web.post("/v1/responses", headers=own, json=asked)
            again = web.post("/v1/responses", headers=own, json={
                **model, "input": SAYS, "previous_response_id": first.json()["id"]})
            image = base64.b64decode(shade.partition(",")[2])
            kept = web.post("/v1/files", headers=own, files={"file": (f"user-{number}.png", image)}).json()
            part = {"type": "file", "file": {"file_id": kept["id"]}}
            third = web.post("/v1/chat/completions", headers=own, json={**model, "messages": [
                {"role": "user", "content": [part, {"type": "text", "text": f"user-{number} again"}]}]})
            listed = [f["filename"] for f in web.get("/v1/files", headers=own).json()["data"]]
            assert listed == [f"user-{number}.png"]
            return number, [said(reply) for reply in (first, again, third)]

        for number, texts in pool.map(user, range(USERS)):
            for text in texts:
                found = json.loads(text.partition("\n\n")[0])
                assert {tuple(shade) for shade in found["shades"]} == {(60 + number,) * 3}
                assert set(found["names"]) == {f"user-{number}"}


class Mixed:
    """Requests of every kind against one server; what each must come to."""

    def __init__(self, url: str, web: httpx.Client) -> None:
        self.url, self.web = url, web
        self.kinds: list[Callable[[], str]] = [
            self.chat, self.stream, self.talk, self.tools, self.response, self.leaves, self.leaves_early, self.slow,
            self.bad_json, self.bad_image, self.unknown, self.file]
        self.image = data_url()

    def ask(self, number: int) -> str:
        """Send the request of a number and return its kind; raises AssertionError where it did not get its answer."""
        return self.kinds[number % len(self.kinds)]()

    def post(self, expected: int = 200, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
        """Post a request; 429 is an answer too: come again."""
        for _ in range(100):
            reply = self.web.post(path, json={"model": "consilium-generalist", **body})
            if reply.status_code != 429:
                assert reply.status_code == expected, reply.text
                return reply
            time.sleep(0.05)
        raise AssertionError("there never was room")

    def body(self, **more: Any) -> dict[str, Any]:
        """Return the body of a streamed question."""
        return {"model": "consilium-generalist", "messages": [turn("What?", self.image)], "stream": True, **more}

    def chat(self) -> str:
        """Ask and get a whole answer."""
        assert self.post(messages=[turn("What?", self.image)]).json()["choices"][0]["message"]["content"]
        return "chat"

    def stream(self) -> str:
        """Read a stream to its end."""
        with self.web.stream("POST", "/v1/chat/completions", json=self.body()) as reply:
            lines = list(reply.iter_lines())
        assert reply.status_code == 429 or "data: [DONE]" in lines
        return "stream"

    def slow(self) -> str:
        """Read a stream with pauses."""
        with self.web.stream("POST", "/v1/chat/completions", json=self.body()) as reply:
            lines = [(line, time.sleep(0.02))[0] for line in reply.iter_lines()]
        assert reply.status_code == 429 or "data: [DONE]" in lines
        return "slow"

    def leaves(self) -> str:
        """Leave in the middle of a stream."""
        with self.web.stream("POST", "/v1/chat/completions", json=self.body()) as reply:
            next(reply.iter_lines(), None)
        return "leaves"

    def leaves_early(self) -> str:
        """Leave before anything came."""
        try:
            self.web.post("/v1/chat/completions", json=self.body(stream=False), timeout=0.01)
        except httpx.TimeoutException:
            return "left"
        return "leaves early"

    def talk(self) -> str:
        """Talk without an image."""
        assert self.post(messages=[{"role": "user", "content": "Hello"}], max_tokens=4).json()["choices"]
        return "talk"

    def tools(self) -> str:
        """Offer a tool."""
        assert self.post(messages=[turn("Free?", self.image)], tools=[WEATHER], max_tokens=4).json()["choices"]
        return "tools"

    def response(self) -> str:
        """Ask through responses."""
        assert self.post(path="/v1/responses", input="Hello", max_output_tokens=4).json()["id"]
        return "response"

    def bad_json(self) -> str:
        """Send half a body."""
        reply = self.web.post("/v1/chat/completions", content=b'{"model": ',
                              headers={"content-type": "application/json"})
        assert reply.status_code == 400
        return "bad json"

    def bad_image(self) -> str:
        """Send what is no image."""
        self.post(400, messages=[turn("What?", "data:image/png;base64,AAAA")])
        return "bad image"

    def unknown(self) -> str:
        """Ask a model that is not there."""
        self.post(404, model="gpt", messages=[turn("What?", self.image)])
        return "unknown"

    def file(self) -> str:
        """Upload a file and delete it."""
        kept = self.web.post("/v1/files", files={"file": ("a.png", b"x" * 1000)}).json()
        assert self.web.delete(f"/v1/files/{kept['id']}").json()["deleted"]
        return "file"


def run_mixed(count: int, home: Path) -> tuple[Counter[str], list[tuple[float, int]]]:
    """Send `count` mixed requests from 32 threads; return what came of them, and what is `held` after each quarter."""
    generalist = LocalGeneralist(tiny_qwen3vl(home / "tiny"), max_new_tokens=6)
    memory: list[tuple[float, int]] = []
    done: Counter[str] = Counter()
    with started(Assistant(generalist=generalist, home=home), limits=Limits(waiting=32)) as url, \
            httpx.Client(base_url=url, timeout=60, limits=httpx.Limits(max_connections=32)) as web, \
            ThreadPoolExecutor(32) as pool:
        mixed, numbers = Mixed(url, web), itertools.count()
        for _ in range(4):
            done += Counter(pool.map(lambda _: mixed.ask(next(numbers)), range(count // 4)))
            memory.append(held())
        until = time.monotonic() + 20
        while not {"consilium_running 0.0", "consilium_waiting 0.0"} <= set(web.get("/metrics").text.splitlines()):
            assert time.monotonic() < until, "requests are still inside"
            time.sleep(0.1)
        assert max(generalist._gathering.rows) > 1, "nothing ran together"
    return done, memory


def test_mixed_requests_are_all_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.install(monkeypatch)
    done, _ = run_mixed(96, tmp_path)
    assert done.total() == 96


@pytest.mark.slow
def test_2000_mixed_requests_leave_no_memory_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    caplog: pytest.LogCaptureFixture) -> None:
    stand_ins.install(monkeypatch)
    with caplog.at_level(logging.WARNING):      # pytest keeps every line
        done, memory = run_mixed(2000, tmp_path)
    assert done.total() == 2000
    log.info("MB and Python's blocks in use after each quarter: %s; %s", memory, dict(done))
    (before, blocks), (after, blocks_after) = memory[1], memory[3]
    assert after - before < SPARE, f"malloc's memory grows: {memory}"
    assert blocks_after - blocks < 5000, f"Python's memory grows: {memory}"
