"""The detector: heatmaps and boxes that follow the image, a tiny training, counts and figures."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from specialists.core.findings import Box, Boxes, Refusal
from specialists.core.specialist import Specialist
from specialists.core.study import read_study
from specialists.datasets.layout import Sample, read_set
from specialists.detection import centernet, task
from specialists.training import publish, runs
from specialists.zoo import Tool

LABELS = ("cell", "grain")
TOOL = Tool("cells_centernet", "detection", "centernet", "cells", "smear", "Cells", "SM", "blood", LABELS)


def boxed_set(root, count: int = 16) -> list[Sample]:
    """Write images of bright squares (cells) and dark ones (grains) on noise, none in every fourth."""
    folder, noise = root / "cells", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    records = []
    for number in range(count):
        pixels, boxes = noise.normal(110, 8, (64, 96, 3)), []
        for name, value, side in [("cell", 230, 18), ("grain", 10, 12)] if number % 4 else []:
            for _ in range(int(noise.integers(1, 3))):
                x, y = noise.integers(0, 96 - side), noise.integers(0, 64 - side)
                pixels[y:y + side, x:x + side] = value
                boxes.append({"name": name, "box": [x / 96, y / 64, (x + side) / 96, (y + side) / 64]})
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"images/{number}.png")
        records.append({"id": f"cells/{number}", "image": f"images/{number}.png", "group": number, "tier": "A",
                        "split": "train" if number < count * 3 // 4 else "val", "boxes": boxes, "licence": "CC0"})
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return read_set(folder)


def outputs(things: list[tuple[int, float, float, float, float]], labels: int = 2, side: int = 16) -> np.ndarray:
    """Return what a perfect net says of (label, left, top, right, bottom)."""
    targets = torch.tensor(things, dtype=torch.float32).reshape(1, -1, 5)
    heat, centers = centernet.draw(targets, labels, side, side)
    said = torch.zeros(labels + 4, side, side)
    said[:labels] = torch.logit(heat[0].clamp(1e-6, 1 - 1e-6))
    said[labels:labels + 2, centers.row, centers.column] = centers.size.T
    said[labels + 2:, centers.row, centers.column] = centers.offset.T
    return said.numpy()


def test_the_net_has_a_grid_of_a_quarter_and_every_parameter_learns():
    config = centernet.tiny(labels=2)
    net = centernet.build(config)
    images = torch.rand(2, 3, 64, 96)
    said, features = net.look(images)
    assert said.shape == (2, 6, 16, 24)
    assert features.shape == (2, config.widths[-1])
    targets = torch.tensor([[[0, 0.1, 0.1, 0.4, 0.6]], [[-1, 0, 0, 0, 0]]])
    value = centernet.loss(config)(net, images, targets)
    value.backward()
    assert torch.isfinite(value)
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert sum(p.numel() for p in centernet.build(centernet.Config(labels=3)).parameters()) < 500_000


def test_sizes_that_the_stages_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        centernet.Config(size=100)
    with pytest.raises(ValueError, match="mirror True"):
        centernet.Config(mirror=True)


def test_what_is_drawn_is_read_off_again():
    things = [(0, 0.1, 0.2, 0.4, 0.45), (1, 0.6, 0.6, 0.9, 0.95), (0, 0.5, 0.05, 0.62, 0.3)]
    found = task.candidates(outputs(things), 2)
    assert [len(said.scores) for said in found] == [2, 1]
    for label, said in enumerate(found):
        wanted = sorted(thing[1:] for thing in things if thing[0] == label)
        np.testing.assert_allclose(sorted(map(tuple, said.boxes)), wanted, atol=1e-5)


def test_nothing_is_drawn_for_an_image_without_things():
    heat, centers = centernet.draw(torch.full((2, 3, 5), -1.0), 2, 8, 8)
    assert not heat.any()
    assert len(centers.image) == 0
    assert torch.isfinite(centernet.focal(torch.zeros(2, 2, 8, 8), heat))


def test_boxes_move_exactly_with_the_image():
    """A bright rectangle is found by its pixels where the moved box says it is."""
    images = torch.zeros(24, 3, 128, 128)
    images[:, :, 40:72, 48:96] = 1
    targets = torch.tensor([[[1, 48 / 128, 40 / 128, 96 / 128, 72 / 128], [-1, 0, 0, 0, 0]]]).repeat(24, 1, 1)
    config = dataclasses.replace(centernet.tiny(2), flip_vertical=True)
    moved, followed = centernet.augment(images, targets, config, torch.Generator().manual_seed(0))
    assert (followed[:, 1, 0] == -1).all()
    assert (followed[:, 0, 0] == 1).any()
    for image, (label, *corners) in zip(moved[:, 0], followed[:, 0].tolist(), strict=True):
        if label < 0:
            continue
        bright = image > (image.min() + image.max()) / 2
        rows, columns = torch.nonzero(bright.any(1)).flatten(), torch.nonzero(bright.any(0)).flatten()
        seen = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        np.testing.assert_allclose(np.array(corners) * 128, seen, atol=1.01)


def test_a_thing_moved_out_of_the_image_is_no_longer_one():
    targets = torch.tensor([[[0, 0.0, 0.0, 0.2, 0.2], [0, 0.5, 0.5, 0.8, 0.8]]])
    followed = centernet._followed(targets, torch.ones(1, 2), torch.tensor([[0.3, 0.3]]))
    assert followed[0, :, 0].tolist() == [-1, 0]
    np.testing.assert_allclose(followed[0, 1, 1:], [0.35, 0.35, 0.65, 0.65], atol=1e-6)


def test_rows_without_boxes_are_left_out_and_empty_lists_are_kept(tmp_path):
    samples = boxed_set(tmp_path)
    unknown = dataclasses.replace(samples[0], record={})
    table = task.read([unknown, *samples], LABELS, centernet.tiny(2))
    assert len(table.samples) == len(samples)
    assert table.targets.shape[2] == 5
    assert (table.targets[0, :, 0] == -1).all()
    assert {0, 1} <= set(table.targets[1, :, 0].tolist())


def test_a_trained_detector_counts_squares(tmp_path):
    samples = boxed_set(tmp_path, 20)
    config = dataclasses.replace(centernet.tiny(2), epochs=25, learning_rate=1e-2)
    table = task.read(samples, LABELS, config)
    runs.train_tool("centernet", config, table, tmp_path / "run")
    card = publish.tool(TOOL, publish.read_run(tmp_path / "run", samples), tmp_path / "out")
    assert card.input["flip"] is False
    val = card.figures["val"]
    assert val["ap50"] > 0.6
    assert set(val["labels"]["cell"]) >= {"ap50_ci95", "f1_ci95", "count_error", "correlation", "clear_said_none"}
    assert val["labels"]["grain"]["clear"] == 1
    finding = Specialist(dataclasses.replace(card, scope={}), tmp_path / "out").predict(read_study(samples[1].path))
    assert isinstance(finding, Boxes | Refusal)
    assert isinstance(finding, Refusal) or set(finding.counts) == set(LABELS)


def test_counts_are_said_and_told_also_of_none():
    boxes = tuple(Box("cell", (0, 0, i, i), 0.9) for i in range(1, 13))
    many = Boxes("det", (*boxes, Box("white cell", (0, 0, 1, 1), 0.5)), ("cell", "white cell", "caries"))
    assert many.words() == "det: 12 cells, 1 white cell, no caries"
    assert many.json()["counts"] == {"cell": 12, "white cell": 1, "caries": 0}
    few = Boxes("det", boxes[:1], ("cell",))
    assert few.words() == "det: 1 cell; cell at [0, 0, 1, 1] (pixels), 90 %"
    assert Boxes("det", (), ("nuclei",)).words() == "det: no nuclei"
    assert Boxes("det", ()).words() == "det: nothing found"
