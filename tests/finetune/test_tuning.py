"""Tuning in miniature: what is trained is what is served, out-of-domain sets are refused, results load again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from assistant.generalist.boxes import UNIT_1000
from assistant.generalist.local import LocalGeneralist
from finetune import looks, loop, lora, vision
from finetune.__main__ import main
from finetune.config import LoraTuning
from finetune.data import Conversations, Images
from finetune.lessons import open_reader
from finetune.loop import LoopConfig
from finetune.merge import merge
from finetune.model import open_checkpoint
from finetune.nano import SIZE, NanoConfig, grid, hasten, make_model, make_tokenizer, patches, save
from finetune.squares import COARSE, Squares
from instruct_data import excluded
from instruct_data.engine import examined
from instruct_data.gather import gather
from instruct_data.mix import build
from instruct_data.records import Marked, Record, read, rendered, write
from specialists.core.errors import BadData
from tests.drawn import data_folder, evidence_folder

KINDS = ("diagnosis", "evidence", "image_kind", "refusal", "tool_use", "visual_grounding", "weighing")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, 32 records and an untrained checkpoint."""
    root = tmp_path_factory.mktemp("tuning")
    data = data_folder(root / "data")
    library = examined(gather(data, evidence_folder(root / "evidence", data)), root / "records" / "made")
    write(build(library, 32, 0, KINDS), root / "records" / "records.jsonl")
    texts = [json.dumps(dataclasses.asdict(r)) for r in read(root / "records" / "records.jsonl")]
    tokenizer = make_tokenizer(texts, 700)
    size = NanoConfig(vocabulary=700, width=128, layers=2, vision_width=64, vision_layers=3)
    save(make_model(tokenizer, size), tokenizer, root / "start")
    return root


def test_only_answers_are_learned_and_prompts_are_those_of_serving(world: Path) -> None:
    _, tokenizer = open_checkpoint(world / "start")
    reader = Squares(tokenizer, Images(world / "data"))
    for record in read(world / "records" / "records.jsonl"):
        row = reader.read(record)
        learned = tokenizer.decode(row.ids[row.answer])
        said = [m for m in rendered(record, UNIT_1000 if record.tools else COARSE).messages if m["role"] == "assistant"]
        assert learned.count("<|im_end|>") == len(said)
        for message in said:
            assert message["content"] in learned
        assert not (row.ids[row.answer] == reader.image).any()


def test_positions_are_those_of_the_stock_model(world: Path) -> None:
    model, tokenizer = open_checkpoint(world / "start")
    reader = Squares(tokenizer, Images(world / "data"))
    record = next(r for r in read(world / "records" / "records.jsonl") if r.images)
    row = reader.read(record)
    ids = torch.from_numpy(row.ids.astype(np.int64))[None]
    stock, _ = model.model.get_rope_index(ids, image_grid_thw=grid(1), attention_mask=torch.ones_like(ids),
                                          mm_token_type_ids=(ids == reader.image).int())
    assert (stock[:, 0].numpy() == row.positions).all()


def test_the_fast_reader_gives_what_the_processor_gives(world: Path, tmp_path: Path) -> None:
    """The same tokens, labels and pixels as by the way that every family goes."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    record = Record("one", "visual_grounding", ("a.png",), (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where is the lesion?"}]},
        {"role": "assistant", "content": "Here: {boxes:0}"}, {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."}), boxes=(Marked("lesion", (0.1, 0.2, 0.3, 0.4)),))
    fast = open_reader(world / "start", tmp_path, tmp_path)
    assert isinstance(fast, Squares)
    slow = open_reader(world / "start", tmp_path, tmp_path, stock=True)
    assert isinstance(slow, Conversations)
    given, wanted = fast.collate([fast.read(record)], None), slow.encode(slow.read(record))
    length = wanted["input_ids"].shape[1]
    for name in ("input_ids", "attention_mask", "labels"):
        assert (given[name][:, :length] == wanted[name]).all()
    torch.testing.assert_close(given["pixel_values"], wanted["pixel_values"], atol=0.02, rtol=0)


def test_the_hastened_tower_gives_the_same_numbers() -> None:
    tokenizer = make_tokenizer(["a word"], 400)
    model = make_model(tokenizer, NanoConfig(width=128, layers=1, vision_width=64, vision_layers=3)).float()
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    before = model.model.visual(patches(images), grid_thw=grid(2)).pooler_output
    hasten(model)
    after = model.model.visual(patches(images), grid_thw=grid(2)).pooler_output
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4)


def test_the_letter_scored_in_serving_is_the_one_trained(world: Path) -> None:
    """The token that `score` reads has the same log-probability as the answer token of the training batch."""
    model, tokenizer = open_checkpoint(world / "start")
    record = next(r for r in read(world / "records" / "records.jsonl") if r.kind == "weighing")
    reader = Squares(tokenizer, Images(world / "data"))
    batch = reader.collate([reader.read(record)], None)
    with torch.inference_mode():
        hidden = model.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                             position_ids=batch["position_ids"]).last_hidden_state
        at = int((batch["labels"][0] != -100).nonzero()[0]) - 1
        logits = model.lm_head(hidden[0, at]).float()
    letters = ["A", "B"]
    mine = torch.tensor([logits[tokenizer(x)["input_ids"][0]] for x in letters]).log_softmax(0)
    served = LocalGeneralist(world / "start", device="cpu").score([dict(m) for m in record.messages[:-1]], letters)
    assert [served[x] for x in letters] == pytest.approx(mine.tolist(), abs=1e-3)


def test_the_loop_lowers_the_loss_and_loads_again(world: Path, tmp_path: Path) -> None:
    loop.run(LoopConfig(world / "start", world / "records", world / "data", tmp_path, batch=8, warmup=1, passes=20,
                        learning_rate=2e-3))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 4.0
    reply = LocalGeneralist(tmp_path, device="cpu").invoke("Hello", max_tokens=3)
    assert isinstance(reply.content, str)


def test_an_adapter_tells_what_it_was_taught_and_what_it_names_rightly(world: Path, tmp_path: Path) -> None:
    library = examined(gather(world / "data", split="val"), tmp_path / "made")
    write(build(library, 24, 0, ["looking"]), tmp_path / "val" / "records.jsonl")
    looks.tell(world / "start", ["chest CT"], {"contrast": 0.9})
    try:
        lora.run(LoraTuning(model=world / "start", data=world / "records", images=world / "data",
                            out=tmp_path / "adapter", validate=tmp_path / "val", batch=8, rank=2))
        base = LocalGeneralist(world / "start", device="cpu")
        skilled = base.with_adapter(str(tmp_path / "adapter"))
        assert base.look_record == {"contrast": 0.9}
        assert set(skilled.look_record) == {"glioma", "no tumour", "benign", "malignant"}
        assert skilled.taught_kinds == {"chest CT", "brain MRI", "breast ultrasound"}
    finally:
        looks.tell(world / "start", [], {})


def test_looks_are_counted_by_label(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = examined(gather(world / "data", split="val"), tmp_path / "made")
    rows = list(build(library, 40, 0, ["looking"]))

    class Sees(LocalGeneralist):
        """Names a glioma wherever it may."""

        def score_many(self, conversations: Any, options: Any) -> list[dict[str, float]]:
            assert all(any(p["type"] == "image_url" for p in c[-1]["content"]) for c in conversations)
            return [{o: float("glioma" in o or "benign" in o) for o in some} for some in options]

    f1 = looks.measured(Sees(world / "start"), rows, world / "data", tmp_path)
    brain = [r for r in rows if r.dataset == "brain_tumor_mri"]
    right = sum("diagnosis: glioma" in r.facts for r in brain) / len(brain)
    assert f1["glioma"] == pytest.approx(2 * right / (1 + right), abs=1e-3)
    assert f1["no tumour"] == f1["malignant"] == 0


def test_lora_changes_no_base_weight_and_merges(world: Path, tmp_path: Path) -> None:
    lora.run(LoraTuning(model=world / "start", data=world / "records", images=world / "data", out=tmp_path / "adapter",
                        batch=8, rank=4))
    told = json.loads((tmp_path / "adapter" / "consilium.json").read_text())
    assert told == {"kinds": ["brain MRI", "breast ultrasound"], "look": {}}, "its looks were not measured"
    merge(world / "start", tmp_path / "adapter", tmp_path / "merged")
    start, _ = open_checkpoint(world / "start")
    merged, _ = open_checkpoint(tmp_path / "merged")
    names = dict(start.named_parameters())
    changed = {n for n, p in merged.named_parameters() if not torch.equal(p, names[n])}
    assert changed
    assert all("language_model" in n for n in changed)


def test_unknown_verb_says_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paint"]) == 2
    assert "lora" in capsys.readouterr().out


def test_the_whole_recipe_runs_in_miniature(world: Path, tmp_path: Path) -> None:
    """All stages on drawn images, by the one documented command."""
    command = ["nano", "--data", str(world / "data"), "--evidence", str(world / "evidence"), "--out", str(tmp_path),
               "--words", "600", "--vision-epochs", "1", "--weighing", "64", "--instructions", "32", "--looking", "32",
               "--whole", "32", "--speaking", "32", "--placing", "32",
               "--answering", "32"]
    assert main(command) == 0
    stages = ("words", "seeing", "weighed", "instructed", "looked", "whole", "spoken", "placed", "nano")
    assert {f.stem for f in tmp_path.glob("*.finished")} == set(stages)
    weights = tmp_path / "nano" / "model.safetensors.index.json"
    (tmp_path / "nano.finished").unlink()
    before = (tmp_path / "whole" / "training.json").stat().st_mtime_ns, weights.stat().st_mtime_ns
    assert main(command) == 0, "stopped in the last stage, it goes on with that alone"
    assert (tmp_path / "whole" / "training.json").stat().st_mtime_ns == before[0]
    assert weights.stat().st_mtime_ns > before[1]
    logged = [json.loads(line) for line in (tmp_path / "nano" / "log.jsonl").read_text().splitlines()]
    assert len(logged) == 1, "a stage keeps its own log, not that of the one before"
    assert set(json.loads((tmp_path / "nano" / "consilium.json").read_text())["look"]) == {
        "glioma", "no tumour", "benign", "malignant"}
    card = json.loads((tmp_path / "nano" / "card.json").read_text())
    assert {row["set"] for row in card["data"]} == {"brain_tumor_mri", "busi_breast_ultrasound"}
    reply = LocalGeneralist(tmp_path / "nano", device="cpu").invoke("Hello", max_tokens=2)
    assert isinstance(reply.content, str)


def test_the_vision_stage_refuses_images_of_excluded_sets_under_any_name(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here an image of a set with another name is made known as one of theirs."""
    image = next(path for path in sorted((world / "data" / "brain_tumor_mri").rglob("*.png")))
    known = {excluded.digest(path): "head_ct_hemorrhage" for path in image.parent.iterdir()}
    monkeypatch.setattr(excluded, "known", lambda: known)
    words = ["vision", "--model", str(world / "start"), "--images", str(world / "data"), "--out", str(tmp_path / "out"),
             "--epochs", "1"]
    with pytest.raises(BadData, match="of head_ct_hemorrhage.*--allow"):
        main(words)
    assert not (tmp_path / "out").exists()
    assert main([*words, "--allow", "head_ct_hemorrhage"]) == 0


def test_the_tower_is_taught_labels_softened_by_opinions_and_places(world: Path, tmp_path: Path) -> None:
    items = examined(gather(world / "data", world / "evidence"), tmp_path / "made").items
    boxed = [i for i in items if i.regions] * vision.FEWEST
    learned = vision.lessons([*items, *boxed], belief=0.5)
    assert learned.things == ("lesion",)
    assert learned.target.sum(1) == pytest.approx(1)
    told = next(n for n, i in enumerate(items) if i.opinions)
    own = learned.pairs.index((items[told].sample.dataset, items[told].label))
    believed = items[told].opinions[0].probabilities[items[told].label]
    assert learned.target[told, own] == pytest.approx(0.5 + 0.5 * believed)
    row = len(items)
    (x1, y1, x2, y2), found = boxed[0].regions[0].box, learned.maps[row, 0]
    inside = found[round(y1 * vision.CELLS):round(y2 * vision.CELLS), round(x1 * vision.CELLS):round(x2 * vision.CELLS)]
    assert inside.all()
    assert found.sum() == inside.size
    assert learned.known[row, 0]
    assert not learned.known[told, 0], "nobody said that lesions are marked wherever they are"
    assert learned.flat().shape == (len(items) + len(boxed), len(learned.pairs) + 2 + vision.CELLS ** 2)
