"""The recipes in miniature: what goes on is what would have been, what is refused, what a run tells of itself."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from assistant.generalist.open import open_generalist
from finetune import beforehand, budget, dry_run, full, launch, lora, trainer
from finetune.__main__ import main
from finetune.config import PRESETS, FullTuning, LoraTuning, Pace, QloraTuning, TuneConfig, command, flags, pace
from finetune.diary import Diary
from finetune.model import empty_net, open_checkpoint, part_of
from instruct_data import excluded
from instruct_data.records import OUT_OF_DOMAIN, Record, write
from specialists.core.errors import BadData
from tests.families import checkpoint

COLORS = ("red", "green", "blue", "gray")


def lesson(number: int, **changes: Any) -> Record:
    color = COLORS[number % len(COLORS)]
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is shown?"}]}
    return replace(Record(f"r{number}", "findings", (f"{color}.png",),
                          (question, {"role": "assistant", "content": f"This is {color}."}), dataset="colors",
                          license="CC-BY-4.0", tier="A"), **changes)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, eight images, eight conversations about four of them, and two about others for validation."""
    root = tmp_path_factory.mktemp("recipes")
    (root / "data").mkdir()
    for color in COLORS:
        Image.new("RGB", (60, 40), color).save(root / "data" / f"{color}.png")
        Image.new("RGB", (60, 41), color).save(root / "data" / f"other_{color}.png")
    hello = Record("hello", "refusal", (), ({"role": "user", "content": "Hello"},
                                            {"role": "assistant", "content": "Send an image."}))
    write([*map(lesson, range(7)), hello], root / "records" / "records.jsonl")
    write([lesson(number, split="val", license="CC0", tier="B", images=(f"other_{COLORS[number]}.png",))
           for number in (1, 2)], root / "held" / "records.jsonl")
    checkpoint("qwen3_vl", root / "model")
    return root


def asked(kind: type[TuneConfig], world: Path, out: Path, **changes: Any) -> Any:
    given = {"model": world / "model", "data": world / "records", "images": world / "data", "out": out, "batch": 2,
             "learning_rate": 0.02, **changes}
    return kind(**given)


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def taught(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on all parts, taught in four steps."""
    out = tmp_path_factory.mktemp("taught") / "adapter"
    lora.run(asked(LoraTuning, world, out, rank=2, lora_on=("language", "connector", "vision"), dropout=0.3,
                   validate=world / "held"))
    return out


class Killed(Exception):
    """Stands for what ends a run in its midst."""


def test_a_killed_run_goes_on_and_ends_in_the_same_weights(
    world: Path, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout, the order of the conversations and the schedule go on, too."""
    def kill(self: Diary, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 3:
            raise Killed
    config = asked(LoraTuning, world, tmp_path / "adapter", rank=2, lora_on=("language", "connector", "vision"),
                   dropout=0.3, validate=world / "held", save_steps=2)
    with monkeypatch.context() as patched:
        patched.setattr(Diary, "on_step_end", kill)
        with pytest.raises(Killed):
            lora.run(config)
    assert not (config.out / "adapter_model.safetensors").exists()
    with pytest.raises(BadData, match="other settings .rank."):
        lora.run(replace(config, rank=3))
    lora.run(config)
    whole, parts = (load_file(out / "adapter_model.safetensors") for out in (taught, config.out))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert json.loads((config.out / "card.json").read_text())["figures"]["went_on_from_step"] == 2
    assert [row["step"] for row in log(config.out)] == [row["step"] for row in log(taught)]
    assert not (config.out / "checkpoints").exists()
    with pytest.raises(BadData, match="finished run"):
        lora.run(config)


def test_a_checkpoint_that_was_not_finished_is_passed_over(world: Path, tmp_path: Path) -> None:
    config = asked(LoraTuning, world, tmp_path)
    for name, whole in (("checkpoint-9", True), ("checkpoint-10", True), ("checkpoint-11", False)):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        if whole:
            (tmp_path / "checkpoints" / name / "trainer_state.json").write_text("{}")
    assert beforehand.last_checkpoint(config) == tmp_path / "checkpoints" / "checkpoint-10"


def test_a_run_tells_of_itself(world: Path, taught: Path) -> None:
    card = json.loads((taught / "card.json").read_text())
    assert card["data"] == [
        {"set": "not named", "license": "not stated", "tier": "", "conversations": 1},
        {"set": "colors", "license": "CC-BY-4.0", "tier": "A", "conversations": 7}]
    assert "CC-BY-4.0" in card["license"]
    assert card["base"]["files"][0]["sha256"]
    assert card["command"].startswith("consilium finetune lora --model ")
    assert card["figures"]["held_out_loss"]["after"] < card["figures"]["held_out_loss"]["before"]
    rows = log(taught)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 4]
    assert all(("held_out_loss" in row) == (place in (0, 5)) for place, row in enumerate(rows))
    with Image.open(taught / "loss.png") as drawn:
        assert drawn.size[0] > 500
    assert list((taught / "tensorboard").glob("events*"))
    told = (taught / "README.md").read_text()
    assert told.startswith("---\nbase_model:")
    assert "| colors | CC-BY-4.0 | A | 7 |" in told


def test_qlora_keeps_the_language_model_in_four_bits_and_learns(world: Path, tmp_path: Path) -> None:
    config = asked(QloraTuning, world, tmp_path, rank=4, passes=4, validate=world / "held")
    net = lora.in_four_bits(config)
    in_four = {name for name, module in net.named_modules() if type(module).__name__ == "Linear4bit"}
    linear = {name for name, module in empty_net(config.model).named_modules() if isinstance(module, nn.Linear)}
    assert in_four == {name for name in linear if part_of(name) == "language"}
    lora.run(config)
    told = json.loads((tmp_path / "card.json").read_text())["figures"]["held_out_loss"]
    assert told["after"] < told["before"] - 0.5
    assert open_generalist(world / "model", adapter=tmp_path).score([{"role": "user", "content": "Hello"}], ["A", "B"])


def test_full_tuning_leaves_the_frozen_alone_and_stays_of_its_type(world: Path, tmp_path: Path) -> None:
    full.run(asked(FullTuning, world, tmp_path, steps=2))
    start, _ = open_checkpoint(world / "model")
    tuned, _ = open_checkpoint(tmp_path)
    old = dict(start.named_parameters())
    changed = {part_of(name) for name, weight in tuned.named_parameters() if not torch.equal(weight, old[name])}
    assert changed == {"language", "connector", "other"}
    assert (tmp_path / "processor_config.json").read_bytes() == (world / "model" / "processor_config.json").read_bytes()


def test_a_step_is_the_same_however_it_is_cut_into_batches(world: Path, tmp_path: Path) -> None:
    """A short answer does not weigh more because it stands alone in its batch."""
    told = []
    for batch in (1, 4):
        config = asked(FullTuning, world, tmp_path / str(batch), batch=batch, accumulate=4 // batch, steps=1)
        full.run(config)
        told.append(log(config.out)[0])
    assert told[0]["loss"] == pytest.approx(told[1]["loss"], abs=2e-3)
    assert told[0]["grad_norm"] == pytest.approx(told[1]["grad_norm"], rel=0.01)


def test_the_clock_asks_for_checkpoints(world: Path, tmp_path: Path) -> None:
    class Flag:
        should_save = False
    given = trainer.arguments(asked(LoraTuning, world, tmp_path), PRESETS["nano"]["lora"], 8)
    for minutes, wanted in ((60.0, False), (1e-9, True)):
        flag = Flag()
        trainer.ByTheClock(minutes).on_step_end(given, None, flag)
        assert flag.should_save is wanted


def test_dry_run_marks_what_is_trained_and_needs_no_weights(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint("qwen3_vl", tmp_path / "bare")
    for file in (tmp_path / "bare").glob("*.safetensors"):
        file.unlink()
    broken = lesson(7, messages=({"role": "user", "content": "No image part"}, {"role": "assistant", "content": "x"}))
    write([*map(lesson, range(3)), broken], tmp_path / "records" / "records.jsonl")
    words = [*flags(asked(LoraTuning, world, tmp_path / "out", model=tmp_path / "bare", data=tmp_path / "records")),
             "--dry-run", "--devices", "2"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "<|im_start|>assistant\n[[This is red.<|im_end|>]]" in told
    assert told.count("[[") == 2  # once where the marks are explained
    assert "3 conversations" in told
    assert "1 left out: 0 image parts for 1 images; wanted one each." in told
    assert all(f"\n  {recipe} " in told for recipe in ("lora", "qlora", "full"))
    assert "1 steps of 4 conversations (2 x 1 x 2 devices)" in told
    assert not (tmp_path / "out").exists()
    assert "\033[32mThis is red." in dry_run.told(asked(FullTuning, world, tmp_path), colored=True)


def test_launch_names_every_machine_and_the_same_run(world: Path, tmp_path: Path) -> None:
    config = asked(FullTuning, world, tmp_path, preset="8b", freeze=("vision", "connector"), nodes=2, devices=4)
    lines = launch.told(config).splitlines()
    runs = [line for line in lines if line.startswith(("torchrun", "accelerate", "srun"))]
    assert len(runs) == 5
    assert [line.split("--node-rank ")[1][0] for line in runs if line.startswith("torchrun")] == ["0", "1"]
    assert all("--deepspeed zero3" in line for line in runs)
    words = shlex.split(runs[0].split("-m finetune ")[1])
    given = dict(zip(words[1::2], words[2::2], strict=False))
    assert words[0] == "full"
    assert given["--model"] == str(world / "model")
    assert shlex.split(command(config))[2:] == flags(config)


def test_the_pace_is_the_presets_unless_named(world: Path, tmp_path: Path) -> None:
    config = asked(LoraTuning, world, tmp_path, batch=None, learning_rate=None)
    assert pace(config, 8_000_000) == PRESETS["nano"]["lora"]
    assert pace(config, 8_000_000_000) == PRESETS["8b"]["lora"]
    assert pace(replace(config, preset="32b", rank=3), 1) == replace(PRESETS["32b"]["lora"], rank=3)
    qlora = asked(QloraTuning, world, tmp_path, preset="32b")
    assert pace(qlora, 1).deepspeed == "zero2"
    assert beforehand.stage(qlora, pace(qlora, 1)) == str(beforehand.STAGES / "zero2.json")
    with pytest.raises(BadData, match="not spread"):
        beforehand.stage(qlora, replace(pace(qlora, 1), deepspeed="zero3_offload"))
    with pytest.raises(BadData, match="zero2_offload"):
        beforehand.stage(config, replace(PRESETS["8b"]["lora"], deepspeed="zero9"))
    with pytest.raises(ValueError, match="--batch 0"):
        replace(config, batch=0)
    with pytest.raises(BadData, match="No checkpoint"):
        lora.run(asked(LoraTuning, world, tmp_path, model=tmp_path / "nowhere"))


def test_memory_is_counted_as_it_is(world: Path, tmp_path: Path) -> None:
    """Weights and gradients by the formula against those of the nets themselves."""
    paces, parts = Pace(1.0, 1, 1, 900, False, "zero3", 4), ("language", "connector", "vision")
    net = budget.net_of(world / "model")
    model, _ = open_checkpoint(world / "model")
    size = sum(weight.numel() for weight in model.parameters())
    whole = budget.need(net, "full", paces, 100, parts=parts)
    assert (whole.weights, whole.gradients, whole.optimizer) == (4 * size, 4 * size, 8 * size)
    adapted = get_peft_model(model, lora.LoraConfig(r=4, target_modules=lora.targets(model, parts)))
    trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    small = budget.need(net, "lora", paces, 100, parts=parts)
    assert (small.weights, small.gradients) == (4 * size + 4 * trained, 4 * trained)
    assert budget.need(net, "qlora", paces, 100, parts=parts).weights < small.weights
    spread = budget.need(net, "full", paces, 100, parts=parts, devices=4)
    assert spread.weights + spread.gradients + spread.optimizer == 16 * size / 4
    assert budget.need(net, "full", replace(paces, checkpointing=True), 100).activations < whole.activations


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch, world: Path, tmp_path: Path) -> str:
    """Make one of the images known as one of an excluded set; return the set."""
    file = tmp_path / "known.json"
    file.write_text(json.dumps({"wbc_segmentation": [excluded.digest(world / "data" / "blue.png")]}))
    monkeypatch.setattr(excluded, "FILE", file)
    excluded.known.cache_clear()
    yield "wbc_segmentation"
    excluded.known.cache_clear()


def test_images_of_excluded_sets_are_known_under_any_name(world: Path, tmp_path: Path, forbidden: str) -> None:
    (tmp_path / "data").mkdir()
    for number, color in enumerate(COLORS):
        (tmp_path / "data" / f"{number}.png").write_bytes((world / "data" / f"{color}.png").read_bytes())
    renamed = [lesson(n, images=(f"{n}.png",), dataset="my_own_cells") for n in range(4)]
    write(renamed, tmp_path / "records" / "records.jsonl")
    for kind in (LoraTuning, QloraTuning, FullTuning):
        config = asked(kind, world, tmp_path / "out", data=tmp_path / "records", images=tmp_path / "data")
        with pytest.raises(BadData, match=f"Of 4 images, 1 of {forbidden}.*--allow"):
            (full if kind is FullTuning else lora).run(config)
    lora.run(replace(asked(LoraTuning, world, tmp_path / "out", rank=2), data=tmp_path / "records",
                     images=tmp_path / "data", allow=(forbidden,), steps=1))
    assert json.loads((tmp_path / "out" / "card.json").read_text())["allowed"] == [forbidden]


def test_excluded_sets_and_other_splits_are_refused_by_name(world: Path, tmp_path: Path) -> None:
    for changes in ({"dataset": "head_ct_hemorrhage"}, {"split": "test"}):
        write([lesson(0, **changes)], tmp_path / "records.jsonl")
        with pytest.raises(BadData, match="may not be taught"):
            lora.run(asked(LoraTuning, world, tmp_path / "out", data=tmp_path))


def test_the_shipped_hashes_are_of_all_excluded_sets() -> None:
    shipped = json.loads(excluded.FILE.read_text())
    assert shipped.keys() == OUT_OF_DOMAIN
    assert all(len(set(hashes)) == len(hashes) > 100 for hashes in shipped.values())
    assert all(len(found) == excluded.DIGITS for hashes in shipped.values() for found in hashes)


@pytest.mark.data
def test_real_images_of_excluded_sets_are_refused(data_dir: Path) -> None:
    for name in sorted(OUT_OF_DOMAIN):
        files = sorted((data_dir / name / "images").iterdir())
        with pytest.raises(BadData, match=f"{len(files)} of {name}"):
            excluded.refuse(files)
    excluded.refuse(sorted((data_dir / "brain_tumor_mri" / "images").iterdir())[:50])


def test_the_document_has_the_presets_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "finetune.md").read_text()
    for name, by_recipe in PRESETS.items():
        one, other = by_recipe["lora"], by_recipe["full"]
        assert (f"| {name} | {one.rank} | {one.learning_rate:g} | {other.learning_rate:g} | {one.batch} x "
                f"{one.accumulate} | {one.most_tokens} | {'yes' if one.checkpointing else 'no'} | {one.deepspeed} | "
                f"{other.deepspeed} |") in text
