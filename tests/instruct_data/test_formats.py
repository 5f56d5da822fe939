"""Converted records have the documented fields of each trainer, and boxes come back; what has no place is counted.

The schemas are those of the pages named beside them; trl is installed and collates a converted record itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import datasets
import pytest
from PIL import Image
from pydantic import BaseModel, ConfigDict, Json, model_validator
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from assistant.generalist.boxes import codec_for
from assistant.generalist.open import NANO
from assistant.generalist.processors import load_processor
from instruct_data.formats import WRITERS, Converted, convert, family
from instruct_data.records import Marked, Record, in_pixels, write
from specialists.core.errors import BadData

SIZES = ((200, 100), (64, 64))
BOXES = (Marked("polyp", (0.25, 0.2, 0.5, 0.6)), Marked("instrument", (0.5, 0.1, 0.9, 0.3)))
TOOLS = ({"type": "function", "specialist": "polyps", "function": {
    "name": "polyp_net", "description": "Finds polyps.", "parameters": {"type": "object", "properties": {}}}},)
MODELS = {"Qwen/Qwen3-VL-8B-Instruct": "bbox_2d", "Qwen/Qwen2.5-VL-7B-Instruct": "bbox_2d",
          "OpenGVLab/InternVL3-8B": "<ref>", "google/paligemma2-3b": "<loc", "llava-hf/llava-1.5-7b-hf": "[0.",
          "Qwen/Qwen2-VL-7B": "<box>("}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Tool(Strict):
    class Function(Strict):
        name: str
        description: str
        parameters: dict[str, Any]

    type: Literal["function"]
    function: Function


class Part(Strict):
    """https://huggingface.co/docs/trl/dataset_formats#vision-datasets"""

    type: Literal["image", "text"]
    text: str | None = None


class TrlRow(Strict):
    class Message(Strict):
        role: Literal["system", "user", "assistant"]
        content: list[Part]

    id: str
    messages: list[Message]
    images: list[str]

    @model_validator(mode="after")
    def images_have_places(self) -> TrlRow:
        assert sum(p.type == "image" for m in self.messages for p in m.content) == len(self.images)
        return self


class Turn(Strict):
    """https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md#sharegpt-format"""

    from_: Literal["human", "gpt", "function_call", "observation", "system"]
    value: str

    @model_validator(mode="before")
    @classmethod
    def named(cls, raw: dict[str, str]) -> dict[str, str]:
        return {"from_" if k == "from" else k: v for k, v in raw.items()}


def places(turns: list[Turn]) -> int:
    return sum(t.value.count("<image>") for t in turns)


class LlamaFactoryRow(Strict):
    conversations: list[Turn]
    system: str
    tools: str
    images: list[str]

    @model_validator(mode="after")
    def turns_alternate(self) -> LlamaFactoryRow:
        """Human and observation stand in odd places, gpt and function_call in even ones; marks match the images."""
        assert all(t.from_ in ("human", "observation") for t in self.conversations[::2])
        assert all(t.from_ in ("gpt", "function_call") for t in self.conversations[1::2])
        assert len(self.conversations) % 2 == 0
        assert places(self.conversations) == len(self.images)
        for turn in self.conversations:
            calls = json.loads(turn.value) if turn.from_ == "function_call" else []
            for call in calls if isinstance(calls, list) else [calls]:
                assert set(call) == {"name", "arguments"}
        return self


class SwiftRow(Strict):
    """https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html#grounding"""

    class Message(Strict):
        role: Literal["system", "user", "assistant", "tool_call", "tool_response"]
        content: str

    class Objects(Strict):
        ref: list[str]
        bbox: list[list[float]]
        bbox_type: Literal["real", "norm1"]
        image_id: list[int]

    messages: list[Message]
    images: list[str]
    tools: Json[list[Tool]] | None = None
    objects: Objects | None = None

    @model_validator(mode="after")
    def marks_match(self) -> SwiftRow:
        text = "".join(m.content for m in self.messages)
        objects = self.objects or self.Objects(ref=[], bbox=[], bbox_type="real", image_id=[])
        assert text.count("<image>") == len(self.images)
        assert text.count("<bbox>") == len(objects.bbox) == len(objects.image_id)
        assert all(len(box) == 4 for box in objects.bbox)
        assert text.count("<ref-object>") == len(objects.ref)
        for message in self.messages:
            if message.role in ("tool_call", "tool_response"):
                json.loads(message.content)
        return self


class LlavaRow(Strict):
    """https://github.com/haotian-liu/LLaVA/blob/main/docs/Finetune_Custom_Data.md"""

    id: str
    image: str | None = None
    conversations: list[Turn]

    @model_validator(mode="after")
    def image_has_a_place(self) -> LlavaRow:
        assert [t.from_ for t in self.conversations] == ["human", "gpt"] * (len(self.conversations) // 2)
        assert places(self.conversations) == int(self.image is not None)
        return self


class InternVLRow(Strict):
    """https://internvl.readthedocs.io/en/latest/get_started/chat_data_format.html"""

    id: str
    conversations: list[Turn]
    image: str | list[str] | None = None
    width: int | None = None
    height: int | None = None
    width_list: list[int] | None = None
    height_list: list[int] | None = None

    @model_validator(mode="after")
    def sizes_match(self) -> InternVLRow:
        if isinstance(self.image, str):
            assert self.width
            assert self.height
        elif self.image:
            assert len(self.image) == len(self.width_list or ()) == len(self.height_list or ())
        return self


SCHEMAS: dict[str, type[Strict]] = {"trl": TrlRow, "llamafactory": LlamaFactoryRow, "swift": SwiftRow,
                                    "llava": LlavaRow, "internvl": InternVLRow}


def asked(text: str, images: int = 1) -> list[dict[str, Any]]:
    parts = [{"type": "image"}] * images
    return [{"role": "system", "content": "Be brief."},
            {"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def answered(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def call(name: str, arguments: object) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


RECORDS = (
    Record("grounding", "visual_grounding", ("a.png",), (
        *asked("Where is the polyp? It is no <bbox>."), answered("Here: {boxes:0}."),
        {"role": "user", "content": "And all that is there, and what is in {region:1}?"},
        answered("{boxes:0,1} An instrument.")),
        boxes=BOXES, sizes=SIZES[:1]),
    Record("compare", "comparison", ("a.png", "made/b.png"), (
        *asked("What changed?", 2), answered("A lesion: {boxes:0}")), boxes=(Marked("lesion", (0.5, 0.5, 1, 1), 1),)),
    Record("words", "refusal", (), ({"role": "user", "content": "Hello"}, answered("Hello. Send an image."))),
    Record("tools", "tool_use", ("a.png",), (
        *asked("Is there a polyp?"), {"role": "assistant", "content": "", "tool_calls": [
            call("polyp_net", {}), call("polyp_net", '{"again": true}')]},
        {"role": "tool", "tool_call_id": "1", "name": "polyp_net", "content": "polyp 91"},
        {"role": "tool", "tool_call_id": "2", "name": "polyp_net", "content": "polyp 92"}, answered("A polyp.")),
        tools=TOOLS, sizes=SIZES[:1]),
)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A built folder with four records; the data folder lies beside it."""
    for name, size in zip(("data/a.png", "built/made/b.png"), SIZES, strict=True):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", size, (90, 10, 10)).save(tmp_path / name)
    write(RECORDS, tmp_path / "built" / "records-00000.jsonl")
    return tmp_path


def converted(built: Path, to: Any, model: str = "Qwen/Qwen3-VL-8B-Instruct") -> tuple[Converted, list[dict[str, Any]]]:
    done = convert(built / "built", built / to, to=to, model=model, images=built / "data")
    text = done.file.read_text()
    return done, json.loads(text) if done.file.suffix == ".json" else [json.loads(row) for row in text.splitlines()]


@pytest.mark.parametrize("to", WRITERS)
def test_rows_have_the_documented_fields(built: Path, to: str) -> None:
    done, rows = converted(built, to)
    lost = {"trl": {"tools": 1}, "llamafactory": {}, "swift": {}, "llava": {"several images": 1, "tools": 1},
            "internvl": {"tools": 1}}[to]
    assert done.left_out == lost
    assert done.written == len(rows) == len(RECORDS) - sum(lost.values())
    for row in rows:
        SCHEMAS[to].model_validate(row)
        assert "{boxes" not in json.dumps(row)
        paths = row.get("images", row.get("image", []))
        for path in [paths] if isinstance(paths, str) else paths:
            assert Path(path).is_file()


@pytest.mark.parametrize(("model", "mark"), MODELS.items())
def test_boxes_come_back_in_every_family(built: Path, model: str, mark: str) -> None:
    codec = codec_for(model)
    for to in ("trl", "llamafactory", "llava", "internvl"):
        _, rows = converted(built, to, model)
        turns = rows[0].get("conversations") or rows[0]["messages"]
        text = str(turns[-1].get("value") or turns[-1]["content"][0]["text"])
        assert mark in text
        found = codec.decode(text.removesuffix(" An instrument."), SIZES[0])
        assert [b.label for b in found] == ["polyp", "instrument"]
        for box, wanted in zip(found, BOXES, strict=True):
            assert box.xyxy == pytest.approx(in_pixels(wanted, SIZES[0]).xyxy, abs=2)


def test_swift_gets_boxes_in_pixels_and_marks_in_the_order_of_the_text(built: Path) -> None:
    _, rows = converted(built, "swift")
    polyp, tool = [50.0, 20.0, 100.0, 60.0], [100.0, 10.0, 180.0, 30.0]
    assert rows[0]["objects"] == {"ref": ["polyp", "polyp", "instrument"], "bbox": [polyp, tool, polyp, tool],
                                  "bbox_type": "real", "image_id": [0, 0, 0, 0]}
    assert rows[0]["messages"][2]["content"] == 'Here: [{"bbox_2d": <bbox>, "label": "<ref-object>"}].'
    assert "It is no < bbox>" in rows[0]["messages"][1]["content"]
    assert rows[1]["objects"] == {"ref": ["lesion"], "bbox": [[32.0, 32.0, 64.0, 64.0]], "bbox_type": "real",
                                  "image_id": [1]}
    assert [m["role"] for m in rows[3]["messages"]][2:] == ["tool_call"] * 2 + ["tool_response"] * 2 + ["assistant"]
    _, rows = converted(built, "swift", "OpenGVLab/InternVL3-8B")
    assert rows[0]["messages"][2]["content"] == "Here: <ref-object><bbox>."


def test_tools_reach_llamafactory_with_all_calls(built: Path) -> None:
    _, rows = converted(built, "llamafactory")
    question, calls, seen, answer = rows[3]["conversations"]
    assert (question["value"], answer["value"]) == ("<image>Is there a polyp?", "A polyp.")
    assert json.loads(calls["value"]) == [{"name": "polyp_net", "arguments": {}},
                                          {"name": "polyp_net", "arguments": {"again": True}}]
    assert seen == {"from": "observation", "value": "polyp 91\npolyp 92"}
    assert json.loads(rows[3]["tools"]) == [{k: v for k, v in TOOLS[0].items() if k != "specialist"}]
    entry = json.loads((built / "llamafactory" / "dataset_info.json").read_text())["consilium"]
    assert (built / "llamafactory" / entry["file_name"]).is_file()
    assert set(entry["columns"].values()) == set(rows[0])


def test_internvl_is_told_the_sizes_and_the_file(built: Path) -> None:
    done, rows = converted(built, "internvl")
    assert [rows[0][k] for k in ("width", "height")] == [200, 100]
    assert [rows[1][k] for k in ("width_list", "height_list")] == [[200, 64], [100, 64]]
    assert rows[1]["conversations"][1]["value"] == "<image>\n<image>\nWhat changed?"
    meta = json.loads((built / "internvl" / "meta.json").read_text())["consilium"]
    assert (meta["annotation"], meta["length"]) == (str(done.file), 3)


def test_llava_opens_with_the_image_and_the_system_turn(built: Path) -> None:
    _, rows = converted(built, "llava")
    assert rows[0]["conversations"][0]["value"].startswith("<image>\nBe brief.\nWhere is the polyp?")
    assert "image" not in rows[1]


@pytest.mark.parametrize("to", ["trl", "llamafactory", "swift"])
def test_datasets_loads_the_rows(built: Path, to: str) -> None:
    done, rows = converted(built, to)
    loaded = datasets.load_dataset("json", data_files=str(done.file), split="train", cache_dir=str(built / "cache"))
    assert len(loaded) == len(rows)
    shown = loaded.cast_column("images", datasets.List(datasets.Image()))
    assert shown[0]["images"][0].size == SIZES[0]


def test_trl_collates_converted_records_with_the_nano_processor(built: Path) -> None:
    done, _ = converted(built, "trl")
    rows = datasets.load_dataset("json", data_files=str(done.file), split="train", cache_dir=str(built / "cache"))
    rows = rows.cast_column("images", datasets.List(datasets.Image()))
    processor = load_processor(NANO)
    batch = DataCollatorForVisionLanguageModeling(processor)([rows[0], rows[1]])
    assert batch["input_ids"].shape == batch["labels"].shape
    image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    grids = batch["image_grid_thw"]
    assert len(grids) == 3
    assert int((batch["input_ids"] == image).sum()) == int(grids.prod(1).sum()) // 4
    assert "bbox_2d" in processor.tokenizer.decode(batch["input_ids"][0])


def test_a_checkpoint_says_its_family(built: Path) -> None:
    assert family("OpenGVLab/InternVL3-8B") == "OpenGVLab/InternVL3-8B"
    assert family(str(NANO)) == "qwen3_vl"


def test_what_cannot_be_converted_is_named(built: Path) -> None:
    with pytest.raises(BadData, match="Known: trl, llamafactory"):
        converted(built, "excel")
    (built / "built" / "made" / "b.png").unlink()
    with pytest.raises(BadData, match="compare: an image"):
        converted(built, "swift")


def test_turns_that_a_trainer_would_skip_are_left_out(built: Path) -> None:
    twice = Record("twice", "vqa", (), (*asked("Well?", 0), answered("Yes."), answered("No.")))
    both = Record("both", "tool_use", (), (*asked("Well?", 0), {**answered("I ask."), "tool_calls": [call("x", {})]}))
    write([twice, both], built / "built" / "records-00000.jsonl")
    done, rows = converted(built, "llamafactory")
    assert not rows
    assert done.left_out == {"turns that do not alternate": 1, "words beside a tool call": 1}
