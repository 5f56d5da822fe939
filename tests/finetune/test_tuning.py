"""Tuning in miniature: what is trained is what is served, out-of-domain sets are refused, results load again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from assistant.generalist.local import LocalGeneralist
from finetune import full, lora
from finetune.__main__ import main
from finetune.config import TuneConfig
from finetune.data import Encoder, Images, collate
from finetune.merge import merge
from finetune.model import open_checkpoint, open_data
from finetune.nano import NanoConfig, grid, hasten, make_model, make_tokenizer, patches, save
from instruct_data.items import gather
from instruct_data.mix import build
from instruct_data.records import read, write
from specialists.core.errors import BadData
from tests.drawn import data_folder, evidence_folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, 24 records and an untrained checkpoint."""
    root = tmp_path_factory.mktemp("tuning")
    data = data_folder(root / "data")
    write(build(gather(data, evidence_folder(root / "evidence", data)), 24, 0), root / "records" / "records.jsonl")
    texts = [json.dumps(dataclasses.asdict(r)) for r in read(root / "records" / "records.jsonl")]
    tokenizer = make_tokenizer(texts, 700)
    size = NanoConfig(vocabulary=700, width=128, layers=2, vision_width=64, vision_layers=3)
    save(make_model(tokenizer, size), tokenizer, root / "start")
    return root


def config(world: Path, out: Path, **changes: object) -> TuneConfig:
    return dataclasses.replace(TuneConfig(world / "start", world / "records", world / "data", out, batch=8, warmup=1),
                               **changes)  # type: ignore[arg-type]


def test_only_answers_are_learned_and_prompts_are_those_of_serving(world: Path) -> None:
    _, tokenizer = open_checkpoint(world / "start")
    encoder = Encoder(tokenizer)
    for record in read(world / "records" / "records.jsonl"):
        row = encoder.encode(record)
        learned = tokenizer.decode(row.ids[row.answer])
        said = [m for m in record.messages if m["role"] == "assistant"]
        assert learned.count("<|im_end|>") == len(said)
        for message in said:
            assert message["content"] in learned
        assert not (row.ids[row.answer] == encoder.image).any()


def test_positions_are_those_of_the_stock_model(world: Path) -> None:
    model, tokenizer = open_checkpoint(world / "start")
    encoder = Encoder(tokenizer)
    record = next(r for r in read(world / "records" / "records.jsonl") if r.images)
    row = encoder.encode(record)
    ids = torch.from_numpy(row.ids.astype(np.int64))[None]
    stock, _ = model.model.get_rope_index(ids, image_grid_thw=grid(1), attention_mask=torch.ones_like(ids),
                                          mm_token_type_ids=(ids == encoder.image).int())
    assert (stock[:, 0].numpy() == row.positions).all()


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
    batch = collate([Encoder(tokenizer).encode(record)], Images(world / "data"), tokenizer.pad_token_id, None)
    with torch.inference_mode():
        hidden = model.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask,
                             position_ids=batch.position_ids).last_hidden_state
        at = int((batch.labels[0] != -100).nonzero()[0]) - 1
        logits = model.lm_head(hidden[0, at]).float()
    letters = ["A", "B"]
    mine = torch.tensor([logits[tokenizer(x)["input_ids"][0]] for x in letters]).log_softmax(0)
    served = LocalGeneralist(world / "start", device="cpu").score([dict(m) for m in record.messages[:-1]], letters)
    assert [served[x] for x in letters] == pytest.approx(mine.tolist(), abs=1e-3)


def test_full_tuning_lowers_the_loss_and_loads_again(world: Path, tmp_path: Path) -> None:
    full.run(config(world, tmp_path, passes=20, learning_rate=2e-3))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 4.0
    reply = LocalGeneralist(tmp_path, device="cpu").invoke("Hello", max_tokens=3)
    assert isinstance(reply.content, str)


def test_lora_changes_no_base_weight_and_merges(world: Path, tmp_path: Path) -> None:
    lora.run(config(world, tmp_path / "adapter", passes=1, rank=4))
    merge(world / "start", tmp_path / "adapter", tmp_path / "merged")
    start, _ = open_checkpoint(world / "start")
    merged, _ = open_checkpoint(tmp_path / "merged")
    names = dict(start.named_parameters())
    changed = {n for n, p in merged.named_parameters() if not torch.equal(p, names[n])}
    assert changed
    assert all("language_model" in n for n in changed)


def test_sets_out_of_domain_are_refused(world: Path, tmp_path: Path) -> None:
    record = next(iter(read(world / "records" / "records.jsonl")))
    write([dataclasses.replace(record, dataset="head_ct_hemorrhage")], tmp_path / "records.jsonl")
    _, tokenizer = open_checkpoint(world / "start")
    with pytest.raises(BadData, match="head_ct_hemorrhage"):
        open_data(config(world, tmp_path, data=tmp_path), tokenizer)


def test_unknown_verb_says_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paint"]) == 2
    assert "lora" in capsys.readouterr().out


def test_the_whole_recipe_runs_in_miniature(world: Path, tmp_path: Path) -> None:
    """All stages on drawn images, by the one documented command."""
    command = ["nano", "--data", str(world / "data"), "--evidence", str(world / "evidence"), "--out", str(tmp_path),
               "--vision-epochs", "1", "--weighing", "64", "--instructions", "32", "--looking", "32"]
    assert main(command) == 0
    assert set(json.loads((tmp_path / "nano" / "consilium.json").read_text())["look"]) == {
        "glioma", "no tumour", "benign", "malignant"}
    card = json.loads((tmp_path / "nano" / "card.json").read_text())
    assert {row["set"] for row in card["data"]} == {"brain_tumor_mri", "busi_breast_ultrasound"}
    reply = LocalGeneralist(tmp_path / "nano", device="cpu").invoke("Hello", max_tokens=2)
    assert isinstance(reply.content, str)
