"""The comparison itself, against a stand-in for vLLM that computes with another copy of a tiny checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from assistant.errors import BadReply, ServerUnreachable
from assistant.generalist.local import LocalGeneralist
from finetune import parity
from finetune.__main__ import main
from tests.adapters import random_adapter
from tests.fakes import tiny_qwen3vl


class Client:
    """OpenAI's client as far as the comparison uses it; each model name is a generalist here."""

    models_here: dict[str, LocalGeneralist] = {}
    plain = False
    """Tokens are told as text, as servers other than vLLM do."""
    extra = 0
    """Tokens that the template there adds."""

    def __init__(self, **how: Any) -> None:
        self.models = SimpleNamespace(list=lambda: [SimpleNamespace(id=name) for name in self.models_here])
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.create))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *raised: object) -> None:
        """Close nothing."""

    def create(self, model: str, messages: Any, top_logprobs: int, tools: Any = (), **more: Any) -> Any:
        """Return the reply's first token with its alternatives."""
        there = self.models_here[model]
        top = there.next_tokens(messages, tools).topk(top_logprobs)
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        rows = [SimpleNamespace(token="word" if self.plain else f"token_id:{i}", logprob=v) for i, v in pairs]
        content = [SimpleNamespace(top_logprobs=rows)]
        choice = SimpleNamespace(logprobs=SimpleNamespace(content=content))
        used = SimpleNamespace(prompt_tokens=there.count_prompt(messages, tools) + self.extra)
        return SimpleNamespace(choices=[choice], usage=used)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that sees squares, and two adapters of it."""
    root = tmp_path_factory.mktemp("parity")
    tiny_qwen3vl(root / "base")
    (root / "base" / "consilium.json").write_text(json.dumps({"square": 64}))
    random_adapter(root / "base", root / "language", seed=1, size=0.3)
    random_adapter(root / "base", root / "vision", ("vision", "connector"), seed=2, size=0.3)
    return root


@pytest.fixture
def client(world: Path, monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    there = LocalGeneralist(world / "base", device="cpu")

    class Stand(Client):
        models_here = {"base": there, **{name: there.with_adapter(str(world / name)) for name in
                                         ("language", "vision")}}

    def no_version(url: str) -> Any:
        raise httpx.ConnectError("nobody")

    monkeypatch.setattr(parity.openai, "OpenAI", Stand)
    monkeypatch.setattr(parity.httpx, "get", no_version)
    return Stand


def test_the_same_weights_agree_and_an_adapter_tells(world: Path, client: type[Client]) -> None:
    here = parity.opened(world / "base")
    report = parity.compare(here, "http://there/v1/")
    assert report.agrees
    assert report.served == "base"
    assert len(report.rows) == 8
    assert report.worst < 1e-4
    assert all(row.same_first and row.alternatives == parity.TOP for row in report.rows)
    vision = here.with_adapter(str(world / "vision"))
    assert parity.compare(vision, "http://there/v1#vision").agrees
    apart = parity.compare(vision, "http://there/v1#base")
    assert not apart.agrees
    apart_by = [row.difference for row in apart.rows]
    assert apart_by[0] < 1e-4, "text alone has no image for the vision tower"
    assert sum(nats > parity.TOLERANCE for nats in apart_by) >= 5
    assert "base: DIFFERS; largest difference" in apart.table()
    assert "text alone" in apart.table()


def test_another_template_is_seen_by_its_tokens(world: Path, client: type[Client]) -> None:
    client.extra = 1
    report = parity.compare(parity.opened(world / "base"), "http://there/v1", count=1)
    assert report.worst < 1e-4
    assert not report.agrees


def test_samples_have_what_a_consultation_has(world: Path) -> None:
    samples = list(parity.samples(parity.opened(world / "base")))
    images = [sum(part["type"] == "image_url" for m in s.messages if isinstance(m["content"], list)
                  for part in m["content"]) for s in samples]
    assert images == [0, 1, 1, 1, 1, 2, 1, 1]
    said = [json.dumps(s.messages) for s in samples]
    assert sum("brain_mri_residual" in text for text in said) == 2
    assert sum("The diagnoses of the specialist models are" in text for text in said) == 1
    assert [bool(s.tools) for s in samples] == [False] * 7 + [True]


def test_the_verb_prints_the_table_and_fails_above_the_tolerance(
        world: Path, tmp_path: Path, client: type[Client], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["parity", "--model", str(world / "base"), "--adapter", str(world / "language")]
    assert main([*words, "--url", "http://there/v1#language", "--out", str(tmp_path / "a.json")]) == 0
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["agrees"]
    assert len(told["samples"]) == 8
    assert told["versions"]["server"] == "unknown"
    assert main([*words, "--url", "http://there/v1#base"]) == 1
    assert "DIFFERS" in capsys.readouterr().out
    assert main([*words, "--url", "http://there/v1#base", "--tolerance", "50"]) == 0


def test_other_servers_are_told_apart(world: Path, client: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    here = parity.opened(world / "base")
    client.plain = True
    with pytest.raises(BadReply, match="token ids"):
        parity.compare(here, "http://there/v1", count=1)
    monkeypatch.undo()
    with pytest.raises(ServerUnreachable, match="No answer from"):
        parity.compare(here, "http://127.0.0.1:9/v1", count=1)
