"""Every codec gives back what it wrote, and reads broken replies without complaint."""

from __future__ import annotations

import random

import pytest

from assistant.generalist.boxes import (
    BoxCodec,
    JsonPixels,
    JsonThousandths,
    LocTokens,
    RefBox,
    RefLists,
    UnitFloats,
    codec_for,
)
from specialists.core.findings import Box

CODECS = [JsonThousandths(), JsonPixels(), RefBox(), RefLists(), LocTokens(), UnitFloats()]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: type(codec).__name__)


def _random_boxes(rng: random.Random, size: tuple[int, int]) -> list[Box]:
    boxes = []
    for _ in range(rng.randrange(5)):
        x1, x2 = sorted(rng.uniform(0, size[0]) for _ in range(2))
        y1, y2 = sorted(rng.uniform(0, size[1]) for _ in range(2))
        boxes.append(
            Box(
                rng.choice(["lesion", "left lung", "Tumor (benign)", "größer als 3 cm", ""]), (x1, y1, x2, y2)
            )
        )
    return boxes


@each_codec
def test_round_trip(codec: BoxCodec):
    rng = random.Random(7)
    for _ in range(200):
        size = (rng.randrange(30, 3000), rng.randrange(30, 3000))
        boxes = _random_boxes(rng, size)
        read = codec.decode(codec.encode(boxes, size), size)
        assert [box.label for box in read] == [box.label for box in boxes]
        seen = codec.resized(size) if isinstance(codec, JsonPixels) else (1000, 1000)
        for box, again in zip(boxes, read, strict=True):
            for i, (a, b) in enumerate(zip(box.xyxy, again.xyxy, strict=True)):
                # Half a bin by rounding; a whole one where a box under a bin is widened.
                assert abs(a - b) <= 1.01 * size[i % 2] / seen[i % 2]


@each_codec
def test_a_speck_keeps_its_place(codec: BoxCodec):
    size = (4000, 4000)
    for corner in (0.0, 3999.0):
        (box,) = codec.decode(
            codec.encode([Box("speck", (corner, corner, corner + 1, corner + 1))], size), size
        )
        assert box.xyxy[0] < box.xyxy[2] <= 4000
        assert abs(box.xyxy[0] - corner) < 8


@each_codec
@pytest.mark.parametrize(
    "text",
    [
        "",
        "There is no lesion.",
        "[]",
        "{",
        "<box>",
        "[[1, 2]]",
        "<loc0001><loc0002>",
        '[{"bbox_2d": [1, 2, "a", 4]}]',
        '{"bbox_2d": null}',
        "[" * 5000 + "{" * 5000,
    ],
)
def test_nothing_to_read(codec: BoxCodec, text: str):
    assert codec.decode(text, (100, 100)) == []


@pytest.mark.parametrize(
    ("codec", "text", "wanted"),
    [
        (
            JsonThousandths(),
            '```json\n[{"bbox_2d": [100, 200, 300, 400], "label": "mass"}]\n```',
            (20, 20, 60, 40),
        ),
        (
            JsonThousandths(),
            'Here: {"label": "mass", "bbox_2d": [300, 400, 100.0, 200]} and {"bbox_2d": [1,',
            (20, 20, 60, 40),
        ),
        (
            JsonThousandths(),
            '{"objects": [{"bbox_2d": [-50, 0, 2000, 1000], "label": "mass"}]}',
            (0, 0, 200, 100),
        ),
        (RefBox(), "<ref> mass </ref><box>(100,200),(300,400)</box>", (20, 20, 60, 40)),
        (RefLists(), "The <ref>mass</ref><box>[[100, 200, 300, 400]]</box>", (20, 20, 60, 40)),
        (LocTokens(), "<loc0000><loc0000><loc1023><loc1023> mass", (0, 0, 200, 100)),
        (UnitFloats(), "mass: [0.1, 0.2, 0.3, 0.4].", (20, 20, 60, 40)),
    ],
    ids=str,
)
def test_as_models_write(codec: BoxCodec, text: str, wanted: tuple[float, ...]):
    (box,) = codec.decode(text, (200, 100))
    assert box.label == "mass"
    assert box.xyxy == pytest.approx(wanted)


def test_resize_is_that_of_transformers():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    codec, rng = JsonPixels(), random.Random(3)
    for _ in range(300):
        width, height = rng.randrange(20, 4000), rng.randrange(20, 4000)
        expected = smart_resize(height, width, codec.factor, codec.min_pixels, codec.max_pixels)
        assert codec.resized((width, height)) == expected[::-1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("qwen3_vl", JsonThousandths),
        ("Qwen/Qwen3-VL-8B-Instruct", JsonThousandths),
        ("qwen2_5_vl", JsonPixels),
        ("Qwen/Qwen2.5-VL-7B-Instruct", JsonPixels),
        ("Qwen/Qwen-VL-Chat", RefBox),
        ("OpenGVLab/InternVL3-8B", RefLists),
        ("google/medgemma-4b-it", LocTokens),
        ("llava-hf/llava-1.5-7b", UnitFloats),
        ("something new", JsonThousandths),
    ],
)
def test_codec_of_a_family(name: str, kind: type):
    assert isinstance(codec_for(name), kind)


def test_a_net_that_sees_little_writes_coarse_corners() -> None:
    box = Box("polyp", (33, 41, 71, 97))
    coarse = JsonThousandths(step=20)
    assert coarse.encode([box], (100, 100)) == '[{"bbox_2d": [320, 400, 720, 960], "label": "polyp"}]'
    assert coarse.region(box, (100, 100)) == "[330, 410, 710, 970]", "what is asked about stays as it was drawn"
    read, = coarse.decode(coarse.encode([box], (100, 100)), (100, 100))
    assert all(abs(a - b) <= 1 for a, b in zip(read.xyxy, box.xyxy, strict=True))
