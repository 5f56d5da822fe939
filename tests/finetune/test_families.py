"""Six families in miniature: each is opened without torchvision, asked, tuned and asked again; its boxes come back."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from assistant import template
from assistant.assistant import Assistant
from assistant.generalist.boxes import read_back
from assistant.generalist.local import LocalGeneralist
from assistant.generalist.open import open_generalist
from assistant.generalist.processors import frame
from assistant.steps import Evidence
from finetune import full, lora
from finetune.config import FullTuning, LoraTuning
from finetune.data import NOT_LEARNED, Conversations
from finetune.lessons import open_lessons, open_reader
from finetune.merge import merge
from finetune.model import open_checkpoint, part_of
from instruct_data.records import Marked, Record, in_pixels, write
from specialists.core.errors import BadData
from specialists.core.study import read_study
from tests.assistant.stand_ins import install
from tests.families import FAMILIES, checkpoint

each_family = pytest.mark.parametrize("name", FAMILIES)
SIZES = {"wide.png": (300, 160), "high.png": (90, 140)}
OPTIONS = ["glioma", "no tumour", "a third thing"]
LESION = Marked("lesion", (0.2, 0.25, 0.5, 0.75))


def shown(text: str, images: int = 1) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}
TWICE = Record("twice", "visual_grounding", ("wide.png",), (
    SYSTEM, shown("Where is it?"), said("Here: {boxes:0}"), {"role": "user", "content": "Sure?"}, said("Yes, I am.")),
    boxes=(LESION,), sizes=(SIZES["wide.png"],))
PAIR = Record("pair", "comparison", tuple(SIZES), (SYSTEM, shown("Compare.", 2), said("Both are bright.")))
WORDS = Record("words", "refusal", (), ({"role": "user", "content": "Hello"}, said("Send an image.")))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each family, two images and three conversations."""
    root = tmp_path_factory.mktemp("families")
    (root / "data").mkdir()
    for number, (name, size) in enumerate(SIZES.items()):
        image = Image.new("RGB", size, (40, 40, 60 * number))
        ImageDraw.Draw(image).ellipse((10, 10, 60, 50), fill=(200, 90, 30))
        image.save(root / "data" / name)
    write([TWICE, PAIR, WORDS], root / "records" / "records-00000.jsonl")
    for name in FAMILIES:
        checkpoint(name, root / name)
    return root


def config(world: Path, name: str, out: Path, **changes: Any) -> dict[str, Any]:
    return {"model": world / name, "data": world / "records", "images": world / "data", "out": out, "batch": 2,
            "learning_rate": 0.05, **changes}


def reader(world: Path, name: str) -> Conversations:
    found = open_reader(world / name, world / "data", world / "records")
    assert isinstance(found, Conversations)
    return found


def served(question: str, *images: Path) -> list[dict[str, Any]]:
    urls = [template.png_url(read_study(path)) for path in images]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [SYSTEM, {"role": "user", "content": [*parts, {"type": "text", "text": question}]}]


def test_torchvision_is_not_there() -> None:
    """What the other tests of this file show, they show without it."""
    assert importlib.util.find_spec("torchvision") is None


@each_family
def test_it_is_asked_with_options_and_openly(world: Path, tmp_path: Path, name: str, monkeypatch: Any) -> None:
    """Templates without tools, too: their specialists are all asked instead."""
    install(monkeypatch)
    one = Assistant(str(world / name), home=tmp_path)
    one.generalist.max_new_tokens = 4
    chosen = one.ask(world / "data" / "wide.png", "Which is it?", options=OPTIONS, collaboration="none")
    assert chosen.label in OPTIONS
    assert sum(chosen.options.values()) == pytest.approx(1)
    assert chosen.evidence == Evidence()
    told = one.ask(world / "data" / "high.png", "What is shown?")
    assert told.text
    assert ("generalist" in [r.specialist for r in told.evidence.refusals]) == (name != "qwen3_vl")


@each_family
def test_every_word_of_a_conversation_reaches_the_model(world: Path, name: str) -> None:
    """LLaVA's and Idefics3's templates drop plain texts: system words and earlier answers would be lost."""
    one = LocalGeneralist(world / name, device="cpu")
    asked = served("Where is it?", world / "data" / "wide.png")
    turns = [*asked, said("Upper left."), {"role": "user", "content": "Sure?"}]
    text = one.load()[1].tokenizer.decode(one._row(turns)["input_ids"][0])
    for words in ("Be brief.", "Where is it?", "Upper left.", "Sure?"):
        assert words in text


@each_family
def test_scores_are_those_of_the_answers_that_tuning_teaches(world: Path, name: str) -> None:
    """The prompt of serving is the start of the trained conversation, and an option's score sums its trained tokens."""
    one, told = LocalGeneralist(world / name, device="cpu"), reader(world, name)
    records = [Record(word, "x", ("wide.png",), (SYSTEM, shown("What is it?"), said(word)))
               for word in ("glioma", "polyps")]
    prompt = served("What is it?", world / "data" / "wide.png")
    row = one._row(prompt)
    sums = []
    for record in records:
        batch = told.encode(told.read(record))
        start = row["input_ids"].shape[1]
        assert (batch["input_ids"][:, :start] == row["input_ids"]).all()
        assert (batch["labels"][:, :start] == NOT_LEARNED).all()
        given = {k: v for k, v in batch.items() if k != "labels"}
        with torch.inference_mode():
            steps = one.load()[0](**given).logits.float().log_softmax(-1)[0, :-1]
        wanted = batch["labels"][0, 1:]
        places = (wanted != NOT_LEARNED).nonzero()[:, 0]
        sums.append(steps[places, wanted[places]].sum())
    mine = torch.stack(sums).log_softmax(0)
    scored = one.score(prompt, [r.id for r in records])
    assert [scored[r.id] for r in records] == pytest.approx(mine.tolist(), abs=1e-3)


@each_family
def test_conversations_of_unlike_images_score_alike_alone_and_in_a_batch(world: Path, name: str) -> None:
    one = LocalGeneralist(world / name, device="cpu")
    wide, high = (world / "data" / file for file in SIZES)
    asked = [served("What is it?", wide), served("What changed since?", high, wide), served("And this?", high)]
    together = one.score_many(asked, [["A", "B"]] * 3)
    assert one.score(served("What is it?", high), ["A", "B"]) != pytest.approx(together[0], abs=1e-5)
    for messages, scores in zip(asked, together, strict=True):
        assert one.score(messages, ["A", "B"]) == pytest.approx(scores, abs=2e-3)


@each_family
def test_answers_alone_are_learned_and_no_image_token_is_lost(world: Path, name: str) -> None:
    told = reader(world, name)
    ends, tokenizer = frame(told.processor).end, told.processor.tokenizer
    rows = [told.read(record) for record in (TWICE, PAIR, WORDS)]
    batch = told.collate(rows, None)
    assert batch["input_ids"].shape == batch["labels"].shape == (3, max(row.length for row in rows))
    first, second, third = (tokenizer.decode(ids[labels != NOT_LEARNED])
                            for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True))
    assert first.strip().startswith("Here: ")
    assert first.endswith(f"Yes, I am.{ends}")
    assert "Sure?" not in first
    assert second.strip() == f"Both are bright.{ends}"
    assert third.strip() == f"Send an image.{ends}"
    found = read_back(told.codec, first, SIZES["wide.png"], template.shown_size(SIZES["wide.png"]))
    assert [b.label.strip().removeprefix("Here: ") for b in found] == ["lesion"]
    assert found[0].xyxy == pytest.approx(in_pixels(LESION, SIZES["wide.png"]).xyxy, abs=2)
    model, _ = open_checkpoint(world / name)
    with torch.inference_mode():  # the model itself refuses features that find no token
        loss = model(**{**batch, "labels": batch["labels"]}).loss
    assert torch.isfinite(loss)


@each_family
def test_boxes_come_back_in_pixels_of_the_original(world: Path, name: str) -> None:
    """Also of a large image, which is shown smaller: to a family of pixels its boxes are those of what was shown."""
    size, codec = (2000, 1200), open_generalist(world / name).boxes
    seen = template.shown_size(size)
    (box,) = read_back(codec, codec.encode([in_pixels(LESION, seen)], seen), size, seen)
    assert box.label == "lesion"
    assert box.xyxy == pytest.approx(in_pixels(LESION, size).xyxy, abs=25)


@each_family
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_two_lora_steps_make_an_adapter_that_is_asked_and_merged(world: Path, tmp_path: Path, name: str) -> None:
    parts = ("language", "vision") if name == "gemma3" else ("language", "connector", "vision")
    lora.run(LoraTuning(**config(world, name, tmp_path / "adapter", lora_on=parts, rank=2)))
    rows = [json.loads(line) for line in (tmp_path / "adapter" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    prompt = served("What is it?", world / "data" / "wide.png")
    before = open_generalist(world / name).score(prompt, ["A", "B"])
    adapted = open_generalist(world / name, adapter=tmp_path / "adapter").score(prompt, ["A", "B"])
    assert adapted != pytest.approx(before, abs=1e-4)
    merge(world / name, tmp_path / "adapter", tmp_path / "merged")
    merged = open_generalist(tmp_path / "merged").score(prompt, ["A", "B"])
    assert merged == pytest.approx(adapted, abs=1e-3)
    start, _ = open_checkpoint(world / name)
    tuned, _ = open_checkpoint(tmp_path / "merged")
    old = dict(start.named_parameters())
    changed = {part_of(n) for n, p in tuned.named_parameters() if not torch.equal(p, old[n])}
    assert changed == set(parts)


def test_parts_that_are_not_named_stay_as_they_are(world: Path, tmp_path: Path) -> None:
    full.run(FullTuning(**config(world, "llava", tmp_path, freeze=("vision", "connector"))))
    start, _ = open_checkpoint(world / "llava")
    tuned, _ = open_checkpoint(tmp_path)
    old = dict(start.named_parameters())
    changed = {part_of(n) for n, p in tuned.named_parameters() if not torch.equal(p, old[n])}
    assert changed == {"language", "other"}
    for file in ("tokenizer.json", "processor_config.json", "chat_template.jinja"):
        assert (tmp_path / file).read_bytes() == (world / "llava" / file).read_bytes()


def test_what_is_too_long_is_left_out_whole(world: Path) -> None:
    told = reader(world, "idefics3")
    kept = open_lessons(world / "records", told, 60)
    assert [row.images for row in kept.rows] == [()]
    assert kept.left_out == {"over 60 tokens": 2}
    with pytest.raises(BadData, match="raise --most-tokens"):
        open_lessons(world / "records", told, 5)


def test_what_cannot_be_taught_is_named(world: Path) -> None:
    told = reader(world, "gemma3")
    with pytest.raises(BadData, match="lost: 1 image parts for 0 images"):
        told.read(Record("lost", "x", (), (shown("What?"), said("This."))))
    with pytest.raises(BadData, match="mute: no answer"):
        told.read(Record("mute", "x", (), ({"role": "user", "content": "What?"},)))
    with pytest.raises(BadData, match="no linear layer in its connector"):
        lora.targets(open_checkpoint(world / "gemma3")[0], ("connector",))
