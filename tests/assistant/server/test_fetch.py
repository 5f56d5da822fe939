"""Images from addresses: of allowed hosts alone, never inside a network, bounded in size, time and redirects."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import openai
import pytest

from assistant.server.asked import Unsupported
from assistant.server.fetch import Fetcher
from tests.assistant.server.test_app import Fake, create, data_url, started, turn

PUBLIC = "93.184.215.14"
NAMES = {"images.example.org": [PUBLIC], "more.example.org": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
         "inside.example.org": ["10.0.0.7"], "both.example.org": [PUBLIC, "127.0.0.1"],
         "mapped.example.org": ["::ffff:169.254.169.254"], "evil.com": [PUBLIC]}


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name of the test."""
    if host not in NAMES:
        raise OSError("not found")
    return NAMES[host]


class Web:
    """A web of few pages; remembers what was asked of whom."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.asked.append(request)
        path = request.url.path
        if path.startswith("/to/"):
            return httpx.Response(302, headers={"location": path.removeprefix("/to/").replace("@", "//")})
        if path == "/large":
            return httpx.Response(200, content=b"x" * 2000)
        if path == "/slow":
            def trickle() -> Iterator[bytes]:
                for _ in range(50):
                    time.sleep(0.02)
                    yield b"x"
            return httpx.Response(200, content=trickle())
        return httpx.Response(404) if path == "/none" else httpx.Response(200, content=b"image")


def fetcher(web: Web, *hosts: str) -> Fetcher:
    """Return a fetcher into the web of the test."""
    return Fetcher(hosts or (".example.org",), most_bytes=1000, seconds=0.3, resolve=resolve,
                   transport=httpx.MockTransport(web))


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    web = Web()
    assert fetcher(web).fetch("https://images.example.org/a.png?x=1") == b"image"
    sent, = web.asked
    assert (sent.url.host, sent.headers["host"]) == (PUBLIC, "images.example.org")
    assert sent.extensions["sni_hostname"] == "images.example.org"
    assert fetcher(web).fetch("https://images.example.org/to/https:@more.example.org/a.png") == b"image"
    assert web.asked[-1].url.host == "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
    assert fetcher(web).fetch("https://images.example.org/to//b.png") == b"image"


@pytest.mark.parametrize(("url", "says"), [
    ("http://images.example.org/a", "no plain https"), ("https://user:pass@images.example.org/a", "no plain https"),
    ("https://evil.com/a", "not allowed"), ("https://example.org.evil.com/a", "not allowed"),
    ("https://notexample.org/a", "not allowed"), ("https://unknown.example.org/a", "not found"),
    ("https://127.0.0.1/a", "not allowed"), ("https://inside.example.org/a", "inside a network"),
    ("https://both.example.org/a", "inside a network"), ("https://mapped.example.org/a", "inside a network"),
    ("https://images.example.org/to/https:@inside.example.org/a", "inside a network"),
    ("https://images.example.org/to/https:@evil.com/a", "not allowed"),
    ("https://images.example.org/to/http:@images.example.org/a", "no plain https"),
    ("https://images.example.org/to/to/to/to/to/to/a", "redirects"),
    ("https://images.example.org/large", "larger than"), ("https://images.example.org/slow", "slower than"),
    ("https://images.example.org/none", "status 404"), ("https:///a", "not allowed"),
    ("https://[::1", "cannot be fetched"), ("https://images.example.org/\x00", "cannot be fetched"),
    ("https://images.example.org/to/https:@[images.example.org/a", "cannot be fetched")])
def test_what_is_not_fetched(url: str, says: str) -> None:
    if url.endswith("/to/to/to/to/to/to/a"):
        url = "https://images.example.org/to//to//to//to//to//to//a"
    with pytest.raises(Unsupported, match=says) as caught:
        fetcher(Web()).fetch(url)
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("address", [
    "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1",
    "::127.0.0.1", "::ffff:0:127.0.0.1", "4000::1"])
def test_no_private_address_is_public(address: str) -> None:
    inside = Fetcher(("a.org",), resolve=lambda host, port: [address], transport=httpx.MockTransport(Web()))
    with pytest.raises(Unsupported, match="inside a network"):
        inside.fetch("https://a.org/a")


def test_a_server_fetches_what_its_operator_allows() -> None:
    fake: Any = Fake()

    def png(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=base64.b64decode(data_url().partition(",")[2]))
    allowed = Fetcher(("images.example.org",), resolve=resolve, transport=httpx.MockTransport(png))
    with started(fake, fetcher=allowed) as url, \
            openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        create(client, turn("Which?", "https://images.example.org/a.png"))
        assert fake.asked[-1]["studies"][0].size == (32, 24)
        with pytest.raises(openai.BadRequestError, match="not allowed"):
            create(client, turn("Which?", "https://evil.com/a.png"))
        with pytest.raises(openai.BadRequestError, match="'http'; wanted https"):
            create(client, turn("Which?", "http://images.example.org/a.png"))
