"""What cannot end well is refused before weights are loaded or files written, and what was refused binds nobody."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file

from assistant.errors import AdapterRefused, GeneralistError
from assistant.generalist.adapters import FILES
from assistant.generalist.habits import read_habits
from finetune import full, launch, looks, lora, trainer
from finetune.__main__ import main
from finetune.config import FullTuning, LoraTuning, QloraTuning, TuneConfig
from finetune.diary import Diary
from finetune.merge import merge
from finetune.model import hashes, open_checkpoint
from finetune.nano import NanoConfig, make_model, make_tokenizer
from finetune.nano import save as save_nano
from finetune.plan import planned
from instruct_data.__main__ import main as build_data
from instruct_data.records import Record, write
from specialists.core.errors import BadData
from tests.families import checkpoint

COLORS = ("red", "green", "blue", "gray")


def lesson(number: int, **changes: Any) -> Record:
    color = COLORS[number % len(COLORS)]
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is shown?"}]}
    answer = {"role": "assistant", "content": f"This is {color}."}
    return replace(Record(f"r{number}", "findings", (f"{color}.png",), (question, answer), dataset="colors",
                          group=f"colors/{color}", sizes=((60, 40),)), **changes)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of nano's kind and of another, four images and ten conversations."""
    root = tmp_path_factory.mktemp("beforehand")
    (root / "data").mkdir()
    for color in COLORS:
        Image.new("RGB", (60, 40), color).save(root / "data" / f"{color}.png")
    write(map(lesson, range(10)), root / "records" / "records.jsonl")
    checkpoint("qwen3_vl", root / "model")
    tokenizer = make_tokenizer(["What is shown? This is red, green, blue or gray."], 400)
    size = NanoConfig(vocabulary=400, width=128, layers=1, vision_width=64, vision_layers=3)
    save_nano(make_model(tokenizer, size), tokenizer, root / "nano")
    looks.tell(root / "nano", ["brain MRI"], {"glioma": 0.9})
    return root


def asked(kind: type[TuneConfig], world: Path, out: Path, **changes: Any) -> Any:
    given = {"model": world / "nano", "data": world / "records", "images": world / "data", "out": out, "batch": 2,
             **changes}
    return kind(**given)


def adapter(model: Path, out: Path, kinds: tuple[str, ...] = (), **look: float) -> Path:
    """Write an untaught adapter of a checkpoint."""
    net, _ = open_checkpoint(model)
    get_peft_model(net, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(str(out))
    if kinds:
        looks.tell(out, kinds, look)
    return out


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where weights are loaded."""
    for module in (full, lora):
        for name in ("open_checkpoint", "open_fast"):
            monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("weights were loaded"))


class Killed(Exception):
    """Stands for what ends a run in its midst."""


def kill(*_: Any, **__: Any) -> None:
    raise Killed


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "consilium.json").read_text())


def test_a_merged_checkpoint_keeps_to_what_base_and_adapter_told(world: Path, tmp_path: Path) -> None:
    skill = adapter(world / "nano", tmp_path / "adapter", ("white cell",), lymphocyte=0.7)
    merge(world / "nano", skill, tmp_path / "merged")
    before = hashes(tmp_path / "merged")
    with pytest.raises(BadData, match="holds config.json already"):
        merge(world / "nano", skill, tmp_path / "merged")
    assert hashes(tmp_path / "merged") == before
    wanted = read_habits(world / "nano").with_skill(read_habits(skill))
    assert replace(read_habits(tmp_path / "merged"), skill=wanted.skill) == wanted
    assert told(tmp_path / "merged") == told(world / "nano") | {
        "kinds": ["brain MRI", "white cell"], "look": {"lymphocyte": 0.7}}


def test_full_tuning_keeps_the_kinds_and_drops_the_look_of_other_weights(world: Path, tmp_path: Path) -> None:
    write([lesson(0, modality="white cell")], tmp_path / "records" / "records.jsonl")
    full.run(asked(FullTuning, world, tmp_path / "out", data=tmp_path / "records", steps=1))
    assert told(tmp_path / "out") == told(world / "nano") | {"kinds": ["brain MRI", "white cell"], "look": {}}


def test_a_base_is_never_overwritten(world: Path, tmp_path: Path, unloaded: None) -> None:
    before, skill = hashes(world / "nano"), adapter(world / "nano", tmp_path / "adapter")
    (tmp_path / "link").symlink_to(world / "nano")
    for out in (world / "nano", tmp_path / "link", world / "data" / ".." / "nano"):
        with pytest.raises(BadData, match="would overwrite --model"):
            full.run(asked(FullTuning, world, out))
        with pytest.raises(BadData, match="would overwrite --model"):
            merge(world / "nano", skill, out)
    with pytest.raises(BadData, match="would overwrite --adapter"):
        merge(world / "nano", skill, skill)
    inside = tmp_path / "run" / "checkpoints" / "checkpoint-1"  # what a run deletes when it is done
    with pytest.raises(BadData, match="would overwrite --model"):
        lora.run(asked(LoraTuning, world, tmp_path / "run", model=inside))
    assert hashes(world / "nano") == before


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`", "ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize("how", [{"target_modules": ["q_proj", "lm_head"]}, {"target_modules": ["embed_tokens"]},
                                 {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}])
def test_an_adapter_of_a_tied_matrix_is_not_merged(world: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    net, _ = open_checkpoint(world / "nano")
    get_peft_model(net, LoraConfig(r=2, **how)).save_pretrained(str(tmp_path / "adapter"))
    with pytest.raises(AdapterRefused, match="tied embeddings.*--adapter"):
        merge(world / "nano", tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_broken_adapters_and_those_of_others_are_not_merged(world: Path, tmp_path: Path) -> None:
    out, skill = tmp_path / "merged", adapter(world / "nano", tmp_path / "adapter")
    with pytest.raises(AdapterRefused, match="lacks adapter_config.json"):
        merge(world / "nano", world / "data", out)
    with pytest.raises(AdapterRefused, match="does not fit"):
        merge(world / "model", skill, out)
    card = {"base": {"model": "another", "files": [{"file": "model.safetensors", "sha256": "0" * 64}]}}
    (skill / "card.json").write_text(json.dumps(card))
    with pytest.raises(AdapterRefused, match="tuned on other weights"):
        merge(world / "nano", skill, out)
    (skill / "card.json").write_text("{}")
    with pytest.raises(AdapterRefused, match="card.json of the adapter 'adapter' cannot be read"):
        merge(world / "nano", skill, out)
    (skill / "card.json").unlink()
    for name in reversed(FILES):
        (skill / name).write_bytes(b"\0broken")
        with pytest.raises(AdapterRefused, match="does not fit"):
            merge(world / "nano", skill, out)
    (skill / "consilium.json").write_text("[]")
    with pytest.raises(GeneralistError, match=r"consilium\.json of 'adapter' cannot be read"):
        merge(world / "nano", skill, out)
    assert not out.exists()


@pytest.mark.parametrize("model", ["nano", "model"])
def test_images_that_lack_or_are_cut_off_are_told_before_training(
    world: Path, tmp_path: Path, unloaded: None, model: str
) -> None:
    config = asked(LoraTuning, world, tmp_path / "out", model=world / model, images=tmp_path)
    with pytest.raises(BadData, match=r"4 of 4 images are not there, such as 'red\.png' of the record r0.*--images"):
        lora.run(config)
    for color in COLORS:
        (tmp_path / f"{color}.png").write_bytes((world / "data" / f"{color}.png").read_bytes())
    (tmp_path / "green.png").write_bytes((world / "data" / "green.png").read_bytes()[:70])
    with pytest.raises(BadData, match=r"3 of 10 conversations .*\(r1: 'green\.png'.*cut off.* r5: .*build the data ag"):
        lora.run(config)
    assert not config.out.exists()


def test_a_run_that_failed_before_its_first_checkpoint_binds_nobody(world: Path, tmp_path: Path) -> None:
    config = asked(LoraTuning, world, tmp_path, rank=2, steps=1)
    assert trainer.begun(config) is None
    assert trainer.begun(replace(config, rank=4)) is None
    (tmp_path / "checkpoints" / "checkpoint-1").mkdir()
    (tmp_path / "checkpoints" / "checkpoint-1" / "trainer_state.json").write_text("{}")
    with pytest.raises(BadData, match="other settings .rank."):
        trainer.begun(replace(config, rank=3))


def test_what_cannot_run_is_refused_before_weights_are_loaded(world: Path, tmp_path: Path, unloaded: None) -> None:
    done, file = tmp_path / "done", tmp_path / "file"
    done.mkdir()
    (done / "card.json").write_text("{}")
    file.touch()
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "README.md").write_text("mine")
    for out, changes, wanted in (
            (done, {}, "holds a finished run"), (notes, {}, "holds README.md already"),
            (file, {}, "'file' is a file"), (file / "sub", {}, "'file' is a file"),
            (tmp_path / "new", {"deepspeed": "zero9"}, "wanted none, zero2"),
            (tmp_path / "new", {"deepspeed": "zero3"}, "not spread"),
            (tmp_path / "new", {"deepspeed": str(done / "card.json")}, "zero_optimization and its stage")):
        with pytest.raises(BadData, match=wanted):
            lora.run(asked(QloraTuning, world, out, **changes))
    assert [path.name for path in done.iterdir()] == ["card.json"]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("steps", [3, 5])
def test_a_run_killed_after_its_last_step_trains_no_further(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Three steps end amid the pass of five, five with it; either is measured when the run ends."""
    write([lesson(0, images=("gold.png",), group="")], tmp_path / "held" / "records.jsonl")
    (tmp_path / "images").mkdir()
    for color in (*COLORS, "gold"):
        Image.new("RGB", (60, 40), color).save(tmp_path / "images" / f"{color}.png")
    config = asked(LoraTuning, world, tmp_path / "out", rank=2, steps=steps, images=tmp_path / "images",
                   validate=tmp_path / "held", model=world / "model", learning_rate=0.02)
    with monkeypatch.context() as patched:
        patched.setattr(Diary, "on_save", kill)
        with pytest.raises(Killed):
            lora.run(config)
    kept = load_file(config.out / "checkpoints" / f"checkpoint-{steps}" / "adapter_model.safetensors")
    lora.run(config)
    ended = load_file(config.out / "adapter_model.safetensors")
    assert all(torch.equal(kept[name], ended[name]) for name in kept)
    figures = json.loads((config.out / "card.json").read_text())["figures"]
    rows = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    assert (figures["steps"], rows[-1]["step"]) == (steps, steps)
    assert figures["held_out_loss"]["after"] == pytest.approx(rows[-1]["held_out_loss"], abs=1e-4)
    assert figures["held_out_loss"]["after"] < figures["held_out_loss"]["before"]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert figures["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-3)


def test_a_split_is_not_told_as_a_set(world: Path, tmp_path: Path) -> None:
    for changes, wanted, never in (({"split": "test"}, "records of the split 'test' may not be taught", "name the set"),
                                   ({"dataset": "head_ct_hemorrhage"}, "name the set with --allow", "--split")):
        write([lesson(0, **changes)], tmp_path / "records.jsonl")
        with pytest.raises(BadData, match=wanted) as refused:
            planned(asked(LoraTuning, world, tmp_path / "out", data=tmp_path))
        assert never not in str(refused.value)


def test_held_out_images_are_others_than_those_that_are_taught(world: Path, tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), "gold").save(world / "data" / "gold.png")
    (world / "data" / "renamed.png").write_bytes((world / "data" / "red.png").read_bytes())
    held = asked(LoraTuning, world, tmp_path / "out", validate=tmp_path)
    for changes, wanted in (({"images": ("gold.png",)}, "shares 1 groups, such as 'colors/red' with --data"),
                            ({"images": ("renamed.png",), "group": ""}, "shares 1 images, such as 'renamed.png' with")):
        write([lesson(0, split="val", **changes)], tmp_path / "records.jsonl")
        with pytest.raises(BadData, match=wanted):
            planned(held)
    write([lesson(0, split="val", images=("gold.png",), group="colors/gold")], tmp_path / "records.jsonl")
    assert planned(held).held_out


def test_settings_beyond_their_bounds_are_refused(world: Path, tmp_path: Path) -> None:
    for name, values in (("dropout", (2, 1.0, -0.1, float("nan"))), ("save_minutes", (float("nan"),)),
                         ("learning_rate", (float("nan"), float("inf"), 0.0))):
        for value in values:
            with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} {value}: wanted"):
                asked(LoraTuning, world, tmp_path, **{name: value})


def test_launch_with_a_named_preset_needs_no_checkpoint(world: Path, tmp_path: Path) -> None:
    config = asked(LoraTuning, world, tmp_path, model=Path("owner/not-here"), preset="8b", devices=2)
    assert "--deepspeed zero2" in launch.told(config)


def test_the_document_begins_with_a_folder_a_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The tutorial's own commands on its own layout, one pass instead of twenty."""
    text = (Path(__file__).parents[2] / "docs" / "finetune.md").read_text().partition("on a laptop")[2]
    layout, commands = (block.strip().splitlines() for block in text.split("```")[1:4:2])
    kind = layout[0].split(maxsplit=1)
    assert kind[0] == "mine/info.json"
    assert [line.split()[0] for line in layout[1:]] == ["mine/train/LABEL/*.png", "mine/val/LABEL/*.png"]
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(("mine/train/round", "mine/train/long", "mine/val/round", "mine/val/long")):
        Path(folder).mkdir(parents=True)
        Image.new("RGB", (40, 40), (60 * number, 90, 90)).save(Path(folder) / "1.png")
    Path(kind[0]).write_text(kind[1])
    assert [build_data(line.split()[2:]) for line in commands[:2]] == [0, 0]
    words = commands[2].replace("--passes 20", "--passes 1").split()[2:]
    with caplog.at_level(logging.WARNING):
        assert main(words) == 0
    assert told(tmp_path / "cells")["kinds"] == [json.loads(kind[1])["kind"]]
    assert told(tmp_path / "cells")["look"].keys() == {"round", "long"}
    assert f'--kind "{json.loads(kind[1])["kind"]}" --adapter cells' in commands[3]
    assert "names a kind of image" not in caplog.text


def test_records_that_name_no_kind_of_image_are_warned_of(
    world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        planned(asked(LoraTuning, world, tmp_path / "out"))
    assert "no record names a kind of image" in caplog.text
