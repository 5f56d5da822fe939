"""Asks an OpenAI-compatible server within a budget: rate, retries, and answers kept on disk so that none is paid twice.

The first half of a build and a resumed second half give the same bytes: an answer in the cache costs the budget what it
cost when it was fetched. It knows nothing of records. The key comes from CONSILIUM_API_KEY alone and is never written.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import openai

from assistant.errors import BadQuestion, BadReply, ServerUnreachable

BUSY = (openai.RateLimitError, openai.APITimeoutError, openai.APIConnectionError, openai.InternalServerError)
"""What passes by waiting."""
OPTIONAL = ("response_format", "seed", "temperature")
"""Fields that some servers refuse; a refused one is left out from then on."""
LONGEST_WAIT_S = 60.0
MOST_IN_A_ROW = 5
"""Requests that may fail one after another, each after all its tries, before the build stops."""


@dataclass(frozen=True)
class Reply:
    """What a model answered."""

    text: str
    tokens: int
    """Of the question and the answer together."""


@dataclass
class Endpoint:
    """A server, with its answers so far; safe to ask from several threads."""

    url: str
    model: str
    cache: Path | None = None
    """Folder of answers, one JSON file each; None keeps none."""
    temperature: float = 0.7
    requests_a_minute: float = 0.0
    """0 for as many as the server takes."""
    timeout_s: float = 120.0
    tries: int = 6
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    counts: Counter[str] = field(default_factory=Counter)
    """Requests sent, answers from the cache, waits after a refusal, failures."""

    def __post_init__(self) -> None:
        """Check the address; nothing is sent yet."""
        self.url = _address(self.url)
        self._lock, self._next, self._failed, self._refused = threading.Lock(), 0.0, 0, set[str]()
        self._client = openai.OpenAI(base_url=self.url, api_key=os.environ.get("CONSILIUM_API_KEY") or "none",
                                     timeout=self.timeout_s, max_retries=0)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, messages: Sequence[Mapping[str, Any]], seed: int) -> Reply | None:
        """Return the answer, from the cache where it is known; None when the server failed at every try.

        Raises BadReply where the server refuses key, model or request, ServerUnreachable when it failed too often.
        """
        file = self._file(messages, seed)
        known = _kept(file)
        if known is not None:
            self._count("from the cache")
            return known
        reply = self._tried(messages, seed)
        if reply is not None and file is not None:
            _keep(file, reply)
        return reply

    def _file(self, messages: Sequence[Mapping[str, Any]], seed: int) -> Path | None:
        if self.cache is None:
            return None
        key = json.dumps([self.url, self.model, self.temperature, seed, messages], sort_keys=True, ensure_ascii=False)
        name = sha256(key.encode()).hexdigest()
        return self.cache / name[:2] / f"{name[2:40]}.json"

    def _tried(self, messages: Sequence[Mapping[str, Any]], seed: int) -> Reply | None:
        said = ""
        for number in range(self.tries):
            try:
                reply = self._once(messages, seed)
            except BUSY as error:
                said = error.message
                self._count("waits")
                if number + 1 < self.tries:
                    self.sleep(_wait(error, number))
            except openai.APIStatusError as error:
                raise BadReply(f"The writer's server {self.url} answered {error.status_code}: {error.message} Check "
                               f"the address, the model {self.model!r} and CONSILIUM_API_KEY.") from error
            else:
                self._failed = 0
                return reply
        self._count("failed")
        with self._lock:
            self._failed += 1
            many = self._failed >= MOST_IN_A_ROW
        if many:
            raise ServerUnreachable(f"The writer's server {self.url} failed {MOST_IN_A_ROW} times in a row, last: "
                                    f"{said} Run the build again once it is there; answers so far are kept.")
        return None

    def _once(self, messages: Sequence[Mapping[str, Any]], seed: int) -> Reply:
        while True:
            fields: dict[str, Any] = {"response_format": {"type": "json_object"}, "seed": seed,
                                      "temperature": self.temperature}
            sent = {k: v for k, v in fields.items() if k not in self._refused}
            self._pace()
            self._count("requests")
            try:
                answer = self._client.chat.completions.create(model=self.model, messages=messages, **sent)  # type: ignore[arg-type]
            except openai.BadRequestError as error:
                named = {f for f in OPTIONAL if f in sent and f in error.message}
                if not named:
                    raise
                self._refused |= named
                continue
            text = (answer.choices[0].message.content or "") if answer.choices else ""
            guessed = (len(json.dumps(messages)) + len(text)) // 4
            return Reply(text, answer.usage.total_tokens if answer.usage else guessed)

    def _pace(self) -> None:
        """Wait for this request's place in the minute."""
        if self.requests_a_minute <= 0:
            return
        with self._lock:
            now = self.clock()
            start = max(now, self._next)
            self._next = start + 60.0 / self.requests_a_minute
        if start > now:
            self.sleep(start - now)

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1


@dataclass
class Budget:
    """What may still be asked; taken in the order of the records, so that it does not depend on the hour."""

    requests: int | None = None
    """None for no limit."""
    tokens: int | None = None

    def take(self, wanted: int) -> int:
        """Return how many of so many requests may be made, and count them as made."""
        if self.tokens is not None and self.tokens <= 0:
            return 0
        if self.requests is None:
            return wanted
        granted = min(wanted, self.requests)
        self.requests -= granted
        return granted

    def pay(self, replies: Sequence[Reply | None]) -> None:
        """Count the tokens of answers."""
        if self.tokens is not None:
            self.tokens -= sum(r.tokens for r in replies if r is not None)


def _address(url: str) -> str:
    """Return the address without credentials, with /v1 where it names no path."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadQuestion("The writer's address is none; wanted one such as http://127.0.0.1:8000/v1.")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/") or "/v1", "", ""))


def _wait(error: openai.APIError, number: int) -> float:
    """Return seconds to wait: what the server says, else twice as long at each try."""
    headers = error.response.headers if isinstance(error, openai.APIStatusError) else {}
    told = str(headers.get("retry-after", ""))
    return min(LONGEST_WAIT_S, float(told) if told.replace(".", "", 1).isdigit() else 2.0 ** number)


def _kept(file: Path | None) -> Reply | None:
    """Return an answer of the cache; one that was cut off counts as none."""
    if file is None or not file.is_file():
        return None
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        return Reply(str(raw["text"]), int(raw["tokens"]))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _keep(file: Path, reply: Reply) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    waiting = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
    waiting.write_text(json.dumps({"text": reply.text, "tokens": reply.tokens}, ensure_ascii=False), encoding="utf-8")
    os.replace(waiting, file)
