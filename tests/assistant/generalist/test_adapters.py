"""Adapters by name: one checkpoint in memory, several skills over it, and no request gets another's."""

from __future__ import annotations

import json
import math
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from assistant.errors import AdapterRefused, BadQuestion
from assistant.generalist.adapters import named, one, sha256_of
from assistant.generalist.decoding import Writing
from assistant.generalist.local import LocalGeneralist
from assistant.generalist.scripted import ScriptedGeneralist
from assistant.generalist.served import ServedGeneralist
from tests.adapters import random_adapter
from tests.fakes import FakeOpenAIServer, tiny_qwen3vl
from tests.families import checkpoint as family

LETTERS = ["A", "B", "C"]
ASKED = [{"role": "user", "content": "Which?"}]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, two adapters of it, and one of another checkpoint."""
    root = tmp_path_factory.mktemp("adapters")
    base = tiny_qwen3vl(root / "base")
    random_adapter(base, root / "one", seed=1)
    random_adapter(base, root / "two", ("language", "vision"), seed=2)
    random_adapter(family("qwen3_vl", root / "other"), root / "foreign")
    return root


@pytest.fixture(scope="module")
def base(world: Path) -> LocalGeneralist:
    return LocalGeneralist(world / "base", max_new_tokens=6, device="cpu")


def test_one_checkpoint_serves_all_in_any_order(world: Path, base: LocalGeneralist) -> None:
    plain = base.score(ASKED, LETTERS)
    skills = {name: base.with_adapter(str(world / name)) for name in ("one", "two")}
    alone = {name: LocalGeneralist(world / "base", adapter=world / name, device="cpu").score(ASKED, LETTERS)
             for name in skills}
    assert abs(alone["one"]["A"] - alone["two"]["A"]) > 0.05
    assert abs(alone["one"]["A"] - plain["A"]) > 0.05
    for name in ("one", "two", "two", "one"):
        assert skills[name].score(ASKED, LETTERS) == pytest.approx(alone[name], abs=1e-5)
        assert base.score(ASKED, LETTERS) == pytest.approx(plain, abs=1e-5)
    assert skills["one"].load()[0] is skills["two"].load()[0] is base.load()[0]


def test_an_adapter_is_laid_though_replies_never_end(world: Path) -> None:
    busy, over, began = LocalGeneralist(world / "base", device="cpu"), threading.Event(), threading.Event()
    busy.ready()
    row, skill = busy._row(ASKED), busy.with_adapter(str(world / "one"))

    def more(room: int) -> list[Writing]:
        began.set()
        return [] if over.is_set() else [Writing(row, 8)]
    with ThreadPoolExecutor(2) as pool:
        pool.submit(busy._write, [Writing(row, 8)], more)
        assert began.wait(60)
        laid = pool.submit(skill.load)
        try:
            assert laid.result(60)[0] is busy.load()[0]
        finally:
            over.set()


def test_requests_at_once_get_each_its_own_skill(world: Path, base: LocalGeneralist) -> None:
    sides = [base, base.with_adapter(str(world / "one")), base.with_adapter(str(world / "two"))]
    scored = [side.score(ASKED, LETTERS)["A"] for side in sides]
    said = [side.invoke(ASKED).text for side in sides]
    assert len(set(said)) == 3

    def ask(number: int) -> tuple[float, str]:
        side = sides[number % 3]
        return side.score(ASKED, LETTERS)["A"], "".join(str(c.content) for c in side.stream(ASKED))

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(18)))
    for number, (score, text) in enumerate(answers):
        assert math.isclose(score, scored[number % 3], abs_tol=1e-5)
        assert text == said[number % 3]


def test_the_revision_names_the_adapter_and_its_hash(world: Path, base: LocalGeneralist) -> None:
    told = base.with_adapter(str(world / "one")).revision()
    assert told["adapter"] == str(world / "one")
    assert told["adapter_sha256"] == sha256_of(world / "one")
    assert told["sha256"] == base.revision()["sha256"]
    assert base.revision()["adapter"] is None


@pytest.mark.parametrize(("fault", "says"), [
    ("gone", "lacks adapter_config.json and adapter_model.safetensors"),
    ("no weights", "lacks adapter_model.safetensors"),
    ("other base", "does not fit"),
    ("half", "missing or belong nowhere"),
    ("too much", "missing or belong nowhere"),
    ("cut off", "does not fit"),
    ("no JSON", "does not fit"),
    ("prompts", "not low-rank"),
    ("same shape", "tuned on other weights than those of .* on 'elsewhere'"),
    ("bad card", "card.json of the adapter 'broken' cannot be read"),
])
def test_a_broken_adapter_is_told_at_once_and_harms_nothing(world: Path, tmp_path: Path, fault: str, says: str) -> None:
    mine = LocalGeneralist(world / "base", device="cpu")
    good = mine.with_adapter(str(world / "two"))
    before = mine.score(ASKED, LETTERS), good.score(ASKED, LETTERS)
    with pytest.raises(AdapterRefused, match=says):
        mine.with_adapter(str(_broken(world, tmp_path, fault))).ready()
    assert mine.score(ASKED, LETTERS) == pytest.approx(before[0], abs=1e-5)
    assert good.score(ASKED, LETTERS) == pytest.approx(before[1], abs=1e-5)


def _broken(world: Path, out: Path, fault: str) -> Path:
    if fault == "other base":
        return world / "foreign"
    if fault == "gone":
        return out / "nowhere"
    folder = Path(shutil.copytree(world / "one", out / "broken"))
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors: dict[str, Any] = load_file(weights)
    first = sorted(tensors)[0]
    if fault == "no weights":
        weights.unlink()
    elif fault == "half":
        save_file({name: value for name, value in tensors.items() if name != first}, weights)
    elif fault == "too much":
        save_file({**tensors, first.replace("layers.0", "layers.9"): tensors[first]}, weights)
    elif fault == "cut off":
        weights.write_bytes(weights.read_bytes()[:-40])
    elif fault == "no JSON":
        config.write_text("{")
    elif fault == "same shape":
        (folder / "card.json").write_text(_card(world, sha256="0" * 64))
    elif fault == "bad card":
        (folder / "card.json").write_text("{")
    elif fault == "prompts":
        config.write_text(json.dumps({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}))
    return folder


def _card(world: Path, **changes: str) -> str:
    row = {"file": "model.safetensors", "sha256": sha256_of(world / "base"), **changes}
    return json.dumps({"base": {"model": "elsewhere", "files": [row]}})


def test_the_card_of_the_right_base_is_believed(world: Path, base: LocalGeneralist, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(world / "one", tmp_path / "mine"))
    (folder / "card.json").write_text(_card(world))
    believed = base.with_adapter(str(folder))
    believed.ready()
    assert believed.revision()["adapter_sha256"] == base.with_adapter(str(world / "one")).revision()["adapter_sha256"]


def test_names_on_the_command_line(tmp_path: Path) -> None:
    assert named(["brain=runs/a", "chest=b=c"]) == {"brain": "runs/a", "chest": "b=c"}
    (tmp_path / "x=y").mkdir()
    assert one(str(tmp_path / "x=y")) == ("adapter", str(tmp_path / "x=y"))
    assert one("runs/brain") == ("brain", "runs/brain")
    assert one("brain=runs/a") == ("brain", "runs/a")
    for words in (["runs/a"], ["brain="], ["=a"], ["a b=c"], ["consilium=x"], ["a=1", "a=2"], ["a/b=c"]):
        with pytest.raises(BadQuestion):
            named(words)


def test_a_server_routes_by_the_name_of_the_adapter(world: Path) -> None:
    with FakeOpenAIServer("B", logprobs={"B": -0.1, "A": -2.0}, model="Qwen/Qwen2.5-VL-7B") as server:
        server.adapters = {"brain": str(world / "one")}
        plain = ServedGeneralist(server.url, retries=0)
        brain = plain.with_adapter("brain")
        brain.ready()
        brain.score(ASKED, ["A", "B"])
        plain.score(ASKED, ["A", "B"])
        assert [sent["model"] for sent in server.requests] == ["brain", "Qwen/Qwen2.5-VL-7B"]
        assert brain.revision() == {"model": "Qwen/Qwen2.5-VL-7B", "url": server.url, "adapter": "brain",
                                    "adapter_sha256": sha256_of(world / "one")}
        assert type(brain.boxes) is type(plain.boxes)
        with pytest.raises(AdapterRefused, match=r"no adapter 'chest'. Known: Qwen/Qwen2.5-VL-7B, brain"):
            plain.with_adapter("chest").ready()


def test_a_generalist_that_takes_none_says_so() -> None:
    with pytest.raises(AdapterRefused, match="takes no adapters"):
        ScriptedGeneralist().with_adapter("brain")
