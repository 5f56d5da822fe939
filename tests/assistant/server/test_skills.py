"""Adapters as skills: chosen by model name over the wire, named in the trace, used again in a replay."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from assistant import __main__ as cli
from assistant.assistant import Assistant
from assistant.errors import AdapterRefused, BadQuestion
from assistant.generalist.adapters import sha256_of
from assistant.server.app import create_app
from tests.adapters import random_adapter
from tests.assistant.server.test_app import create, data_url, started, turn
from tests.fakes import FakeOpenAIServer, tiny_qwen3vl

MORE = {"extra_body": {"consilium": {"options": ["glioma", "no tumour"], "collaboration": "none"}}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and two adapters of it."""
    root = tmp_path_factory.mktemp("skills")
    base = tiny_qwen3vl(root / "base")
    for seed, name in enumerate(("brain", "chest"), 1):
        random_adapter(base, root / name, seed=seed, size=0.3)
    return root


@pytest.fixture(scope="module")
def consilium(world: Path) -> Assistant:
    return Assistant(str(world / "base"), home=world / "home",
                     adapters={"brain": world / "brain", "chest": world / "chest"})


@pytest.fixture(scope="module")
def client(consilium: Assistant) -> Iterator[openai.OpenAI]:
    with started(consilium) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def _png() -> bytes:
    return base64.b64decode(data_url().partition(",")[2])


def asked(client: openai.OpenAI, model: str, text: str = "Which disease?") -> Any:
    return create(client, turn(text, data_url()), model=model, **MORE).consilium


def test_adapters_are_models_beside_the_others(client: openai.OpenAI) -> None:
    assert [m.id for m in client.models.list()] == ["consilium", "consilium-generalist", "brain", "chest"]
    listed: Any = client.models.retrieve("brain")
    assert "with the adapter 'brain'" in listed.metadata["description"]
    with pytest.raises(openai.NotFoundError, match="Known: consilium, consilium-generalist, brain, chest"):
        asked(client, "heart")


def test_each_request_gets_the_adapter_that_it_names(client: openai.OpenAI, consilium: Assistant, world: Path) -> None:
    """Also when they come at once; and every answer is that of the adapter alone."""
    names = ("consilium", "brain", "chest")
    alone = {}
    for name in names:
        one = consilium if name == "consilium" else consilium.skilled(name)
        alone[name] = one.ask(_png(), "Which disease?", options=["glioma", "no tumour"], collaboration="none")
    shares = [alone[name].options["glioma"] for name in names]
    assert min(abs(a - b) for a, b in zip(shares, [*shares[1:], shares[0]], strict=True)) > 0.01
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: asked(client, names[number % 3]), range(12)))
    for number, answer in enumerate(answers):
        name = names[number % 3]
        assert answer["options"] == pytest.approx(alone[name].options, abs=1e-4)
        trace = consilium.records.trace(answer["trace_id"])
        assert trace["adapter"] == (None if name == "consilium" else name)
        assert trace["generalist"].get("adapter_sha256") == (
            None if name == "consilium" else sha256_of(world / name))


def test_a_replay_uses_the_adapter_of_the_trace(client: openai.OpenAI, consilium: Assistant, world: Path,
                                                tmp_path: Path) -> None:
    answer = asked(client, "brain")
    for one in (consilium, Assistant(home=world / "home"), Assistant(str(world / "base"), home=world / "home")):
        again = one.replay(answer["trace_id"])
        assert again.options == pytest.approx(answer["options"], abs=1e-4)
    moved = Path((world / "brain").rename(tmp_path / "moved"))
    try:
        with pytest.raises(AdapterRefused, match="lacks adapter_config"):
            Assistant(home=world / "home").replay(answer["trace_id"])
        elsewhere = Assistant(str(world / "base"), home=world / "home", adapters={"brain": moved})
        assert elsewhere.replay(answer["trace_id"]).options == pytest.approx(answer["options"], abs=1e-4)
    finally:
        moved.rename(world / "brain")


def test_a_broken_adapter_is_told_when_the_server_starts(world: Path) -> None:
    broken = Assistant(str(world / "base"), home=world / "home", adapters={"brain": world / "home"})
    with pytest.raises(AdapterRefused, match="lacks adapter_config"):
        create_app(broken)


def test_a_served_generalists_adapters_are_asked_for_there(tmp_path: Path) -> None:
    with FakeOpenAIServer("A", logprobs={"A": -0.1, "B": -2.5}) as server:
        server.adapters = {"brain-lora": str(tmp_path)}
        consilium = Assistant(f"{server.url}#fake", home=tmp_path, adapters={"brain": "brain-lora"})
        with started(consilium) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
            answer = asked(client, "brain")
            asked(client, "consilium")
        assert [sent["model"] for sent in server.requests] == ["brain-lora", "fake"]
        assert consilium.records.trace(answer["trace_id"])["generalist"]["adapter"] == "brain-lora"
        Assistant(home=tmp_path).replay(answer["trace_id"])
        assert server.requests[-1]["model"] == "brain-lora"
        with pytest.raises(AdapterRefused, match="Known: fake, brain-lora"):
            create_app(Assistant(f"{server.url}#fake", home=tmp_path, adapters={"heart": "heart-lora"}))


def test_names_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(BadQuestion, match="none of consilium"):
        Assistant(home=tmp_path, adapters={"consilium": tmp_path})
    with pytest.raises(BadQuestion, match="Known: brain"):
        Assistant(home=tmp_path, adapters={"brain": tmp_path}).skilled("heart")


def test_the_commands_take_adapters(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(_png())
    words = ["ask", str(tmp_path / "a.png"), "Which disease?", "--options", "glioma,no tumour", "--collaboration",
             "none", "--json", "--model", str(world / "base")]
    assert cli.main([*words, "--adapter", str(world / "brain")]) == 0
    adapted = capsys.readouterr().out
    assert cli.main([*words, "--adapter", f"skill={world / 'chest'}"]) == 0
    assert capsys.readouterr().out.split('"options"')[1] != adapted.split('"options"')[1]
    assert cli.main(["serve", "--model", str(world / "base"), "--adapter", f"a={world / 'home'}"]) == 2
    assert "lacks adapter_config.json" in capsys.readouterr().err
    assert cli.main(["serve", "--adapter", str(world / "brain")]) == 2
    assert "wanted NAME=PATH" in capsys.readouterr().err
