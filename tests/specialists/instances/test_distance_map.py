"""Instances: touching things come apart, are counted, and keep their numbers from file to finding."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from specialists.core import rle
from specialists.core.card import Card, Label
from specialists.core.errors import BadData
from specialists.core.findings import Instances
from specialists.core.study import read_study
from specialists.datasets.layout import Sample, read_set
from specialists.instances import distance_map, task
from specialists.training import publish, runs
from specialists.zoo import Tool

TOOL = Tool("dots_distance_map", "instances", "distance_map", "dots", "microscopy", "Dots", "SM", "cells", ("nuclei",))
WHOLE = {"inside": 0.5, "rise": 0.05, "area": 4, "sure": 0.6}


def discs(size: int, centers: list[tuple[int, int]], radius: int) -> np.ndarray:
    """Return numbers (size, size) of discs; where two overlap the later one is seen."""
    y, x = np.mgrid[:size, :size]
    things = np.zeros((size, size), np.int32)
    for number, (column, row) in enumerate(centers, start=1):
        things[(x - column) ** 2 + (y - row) ** 2 <= radius**2] = number
    return things


def dotted_set(root, count: int = 12) -> list[Sample]:
    """Write images of bright discs, two of them touching, in one half of the image."""
    folder, noise = root / "dots", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    records = []
    for number in range(count):
        things = discs(64, [(14, 16), (14, 31), (18, int(noise.integers(46, 54)))], 8)
        pixels = noise.normal(60, 8, (64, 64, 3)) + 130 * (things > 0)[..., None]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"images/{number}.png")
        Image.fromarray(things.astype(np.uint16)).save(folder / f"masks/{number}.png")
        records.append({"id": f"dots/{number}", "image": f"images/{number}.png", "group": number, "tier": "A",
                        "split": "train" if number < count * 2 // 3 else "val", "instances": f"masks/{number}.png",
                        "licence": "CC0", "label": "dots"})
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return read_set(folder)


def logits(things: np.ndarray) -> np.ndarray:
    """Return what a perfect net says of numbered things."""
    said = np.stack([things > 0, task.depths(things) / 255]).astype(np.float32)
    return np.log(said.clip(1e-4, 1 - 1e-4) / (1 - said.clip(1e-4, 1 - 1e-4)))


def test_the_net_has_two_outputs_a_pixel_and_every_parameter_learns():
    config = distance_map.tiny()
    net = distance_map.build(config)
    images = torch.rand(2, 3, 64, 32)
    said, features = net.look(images)
    assert said.shape == (2, 2, 64, 32)
    assert features.shape == (2, config.widths[-1])
    distance_map.loss(config)(net, images, torch.full((2, 2, 64, 32), 7, dtype=torch.int16)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    with pytest.raises(ValueError, match="multiple of 32"):
        distance_map.Config(size=100)


def test_touching_things_come_apart():
    things = discs(64, [(20, 20), (33, 20), (45, 50)], 8)
    found = task.part(logits(things), **WHOLE)
    assert found.dtype == np.int32
    assert found.max() == 3
    overlap = task.overlaps(found, things)
    assert (np.sort(overlap.max(axis=1)) > 0.85).all()


def test_what_is_inside_and_has_no_peak_is_a_thing_and_specks_are_none():
    said = np.full((2, 32, 32), -9.0)
    said[0, 4:10, 4:10] = 9
    said[0, 20, 20] = 9
    found = task.part(said, **WHOLE)
    assert found.max() == 1
    assert (found > 0).sum() == 36
    assert task.part(np.full((2, 8, 8), -9.0), **WHOLE).max() == 0
    said[0, 4:10, 4:10] = 0.3  # 57 %
    assert task.part(said, **WHOLE).max() == 0


def test_depth_is_full_in_the_middle_of_each_thing():
    depths = task.depths(discs(40, [(12, 12), (30, 30)], 7))
    assert (depths[12, 12], depths[30, 30], depths[0, 0]) == (255, 255, 0)
    assert 0 < depths[12, 18] < 80


def test_a_crop_clear_of_things_is_found_where_there_is_one():
    things = discs(64, [(10, 10)], 6)
    left, top, right, bottom = task.clear_square(things)
    assert not things[top:bottom, left:right].any()
    assert right - left == bottom - top >= 40
    assert task.clear_square(np.ones((20, 20), np.int32)) is None


def test_maps_of_more_than_255_things_keep_their_numbers(tmp_path):
    samples = dotted_set(tmp_path, 3)
    many = np.arange(64 * 64).reshape(64, 64) % 300
    Image.fromarray(many.astype(np.uint16)).save(tmp_path / "dots/masks/0.png")
    assert task.truth(samples[0]).max() == 299
    assert task.truth(dataclasses.replace(samples[0], record={})) is None


def test_clear_crops_stand_beside_images_and_an_unreadable_map_is_named(tmp_path, caplog):
    samples = dotted_set(tmp_path, 4)
    table = task.read(samples, ("nuclei",), distance_map.tiny())
    assert table.targets.shape == (8, 2, 64, 64)
    assert [bool(t.any()) for t in table.targets] == [True, False] * 4
    (tmp_path / "dots/masks/1.png").write_bytes(b"no map")
    assert len(task.read(samples, ("nuclei",), distance_map.tiny()).samples) == 6
    assert "dots/1" in caplog.text
    with pytest.raises(BadData, match="instances"):
        task.read([], ("nuclei",), distance_map.tiny())


def test_a_trained_method_counts_discs(tmp_path):
    samples = dotted_set(tmp_path)
    config = dataclasses.replace(distance_map.tiny(), epochs=100, learning_rate=1e-2, batch=4)
    runs.train_tool("distance_map", config, task.read(samples, ("nuclei",), config), tmp_path / "run")
    card = publish.tool(TOOL, publish.read_run(tmp_path / "run", samples), tmp_path / "out")
    assert set(card.input["thresholds"]) == {"inside", "rise", "area", "sure"}
    val = card.figures["val"]
    assert (val["n"], val["clear"]) == (4, 4)
    assert val["f1"] > 0.6
    assert val["ap50"] <= val["f1"]


def test_an_answer_has_the_size_of_the_image():
    things = discs(64, [(20, 20), (33, 20)], 8)
    card = Card("n", "distance_map", "instances", "n", "N", ("k",), "SM", "cells", (Label("nuclei"),),
                input={"thresholds": WHOLE})
    finding = task.answer(card, read_study(np.zeros((100, 130, 3), np.uint8)), logits(things))
    assert finding.instances.shape == (100, 130)
    assert finding.count == 2


def test_instances_say_count_area_and_each_thing():
    things = discs(40, [(10, 10), (25, 10)], 6)
    finding = Instances("n", "nuclei", things, (0.5, 0.5))
    assert finding.words() == "n: 2 nuclei, median area 113 px, 28.2 mm²"
    assert "size in mm unknown" in dataclasses.replace(finding, spacing_mm=None).words()
    said = json.loads(json.dumps(finding.json()))
    assert said["count"] == 2
    first = said["instances"][0]
    left, top, right, bottom = map(int, first["xyxy"])
    np.testing.assert_array_equal(rle.decode(first["rle"]), things[top:bottom, left:right] == 1)
    assert [box.xyxy for box in finding.boxes()] == [(4, 4, 17, 17), (19, 4, 32, 17)]
    drawn = np.asarray(finding.overlay(Image.new("RGB", (40, 40))))
    assert (drawn.any(axis=2) == (things > 0)).all()
    np.testing.assert_array_equal(finding.shown(0).masks["nuclei"], things > 0)
    none = Instances("n", "nuclei", np.zeros((8, 8), np.int32))
    assert none.words() == "n: no nuclei"
    assert none.shown(0).absent == ("nuclei",)
    assert none.json()["median_area_mm2"] == "unknown"
