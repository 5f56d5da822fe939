"""Volumetry: a body drawn in three dimensions, its mm³, and what is refused because it is no such volume."""

from __future__ import annotations

import dataclasses
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from specialists.core import rle
from specialists.core.card import Card, Label
from specialists.core.errors import BadData
from specialists.core.findings import Refusal, Volumes
from specialists.core.study import read_study
from specialists.datasets.layout import Sample, read_set
from specialists.training import publish, runs
from specialists.volumetry import task, unet3d
from specialists.zoo import Tool

LABELS = ("front", "back")
TOOL = Tool("body_unet3d", "volumetry", "unet3d", "bodies", "body MRI", "Body", "MR", "body", LABELS)
SHAPE = (20, 28, 20)


def bodies(root, count: int = 9) -> list[Sample]:
    """Write volumes of 18 x 26 x 20 voxels of 2 mm: a bright box in front of a dark one, none on the first frames."""
    folder, noise = root / "bodies", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    records = []
    for number in range(count):
        volume, mask = noise.normal(100, 5, (18, 26, 20)), np.zeros((18, 26, 20), np.uint8)
        shift = int(noise.integers(0, 3))
        mask[4:14, 4 + shift:12 + shift, 6:18], mask[4:14, 12 + shift:20 + shift, 6:18] = 1, 2
        volume += 60.0 * (mask == 1) - 60.0 * (mask == 2)
        for name, array in (("images", volume.astype(np.float32)), ("masks", mask)):
            nib.save(nib.Nifti1Image(array, np.diag([2, 2, 2, 1])), folder / name / f"{number}.nii.gz")
        records.append({"id": f"bodies/{number}", "image": f"images/{number}.nii.gz", "patient": str(number),
                        "masks": {"body": f"masks/{number}.nii.gz"}, "mask_values": {"1": "front", "2": "back"},
                        "split": "train" if number < count * 2 // 3 else "val", "tier": "A", "licence": "CC0",
                        "label": "body"})
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return read_set(folder)


def card(**config) -> Card:
    """Return a card that draws every voxel above one half."""
    thresholds = {name: {"mask": 0.5, "part": 0.01} for name in LABELS}
    return Card("body_unet3d", "unet3d", "volumetry", "body_unet3d", "Body", ("body MRI",), "MR", "body",
                tuple(map(Label, LABELS)), input={"thresholds": thresholds}, config=config)


def test_the_net_draws_every_voxel_and_every_parameter_learns():
    config = unet3d.tiny(labels=2)
    net = unet3d.build(config)
    volumes = torch.rand(2, 1, *SHAPE)
    said, features = net.look(volumes)
    assert said.shape == (2, 2, *SHAPE)
    assert features.shape == (2, config.widths[-1])
    unet3d.loss(config)(net, volumes, torch.ones(2, 2, *SHAPE, dtype=torch.uint8)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert sum(p.numel() for p in unet3d.build(unet3d.Config(labels=2)).parameters()) < 420_000
    with pytest.raises(ValueError, match="wanted multiples of 8"):
        unet3d.Config(size=36)


def test_blocks_of_voxels_come_back():
    volumes = torch.rand(2, 1, 4, 6, 8)
    torch.testing.assert_close(unet3d._unpacked(unet3d._packed(volumes), 1), volumes)


def test_masks_follow_the_volume():
    masks = torch.zeros(4, 1, *SHAPE)
    masks[:, :, 6:14, 8:20, 5:15] = 1
    moved, followed = unet3d.augment(masks.clone(), masks, unet3d.tiny(), torch.Generator().manual_seed(0))
    for volume, mask in zip(moved, followed, strict=True):
        middle = (volume.min() + volume.max()) / 2
        assert ((volume > middle).float() - mask).abs().mean() < 0.03
    assert not torch.equal(followed, masks)


def test_labels_are_told_by_their_values_and_clear_volumes_stand_beside(tmp_path):
    samples = bodies(tmp_path, 5)
    true = task.truth(samples[0], LABELS)
    assert true.shape == (2, 20, 26, 18)
    assert true.sum(axis=(1, 2, 3)).tolist() == [960, 960]
    table = task.read(samples, LABELS, unet3d.tiny(2))
    assert table.pixels.shape[1:] == (*SHAPE, 1)
    assert table.targets.any(axis=(1, 2, 3, 4)).sum() == 5
    assert len(table.samples) > 5
    with pytest.raises(BadData, match="middle"):
        task.read(samples, ("middle",), unet3d.tiny())


def test_an_unreadable_volume_is_named(tmp_path, caplog):
    samples = bodies(tmp_path, 3)
    samples[1].path.write_bytes(b"no volume")
    table = task.read(samples, LABELS, unet3d.tiny(2))
    assert {s.id for s in table.samples} == {"bodies/0", "bodies/2"}
    assert "bodies/1" in caplog.text


def test_a_trained_method_measures_the_body(tmp_path):
    samples = bodies(tmp_path)
    config = dataclasses.replace(unet3d.tiny(2), epochs=20, learning_rate=1e-2)
    runs.train_tool("unet3d", config, task.read(samples, LABELS, config), tmp_path / "run")
    run = publish.read_run(tmp_path / "run", samples)
    chosen = task.choose(run.raw["outputs"].astype(np.float32), run.raw["targets"], LABELS)
    assert set(chosen["thresholds"]["front"]) == {"mask", "part"}
    card = publish.tool(TOOL, run, tmp_path / "out")
    val = card.figures["val"]
    assert (val["n"], val["clear"]) == (3, 3)
    assert set(val["labels"]["front"]) == {"dice", "ci95", "volume_error", "volume_error_ci95"}
    assert val["dice"] > 0.5


def test_a_voxel_has_one_structure_and_small_ones_are_absent():
    logits = np.full((2, *SHAPE), -9.0, np.float32)
    logits[0, 4:10], logits[1, 8:10] = 3, 5
    volume = dataclasses.replace(read_study(np.zeros((20, 28, 20), np.uint8)), volume=True, spacing_mm=(2.0, 1.0, 1.0))
    found = task.answer(card(), volume, logits)
    assert not (found.masks["front"] & found.masks["back"]).any()
    assert found.volume_mm3("front") == 2 * 4 * 28 * 20
    logits[1] = -9
    logits[1, 0, 0, 0] = 9
    assert task.answer(card(), volume, logits).absent == ("back",)


@pytest.mark.parametrize(("volume", "spacing", "said"), [
    (False, (2.0, 1.0, 1.0), "this is a film"), (True, (9.0, 9.0, 9.0), "covers 180 x 252 x 180 mm"),
    (True, (2.0, 1.0, 1.0), None), (True, None, None), (True, (None, 1.0, 1.0), None)])
def test_what_is_no_such_volume_is_refused(volume, spacing, said):
    study = dataclasses.replace(read_study(np.zeros((20, 28, 20), np.uint8)), volume=volume, spacing_mm=spacing)
    finding = task.answer(card(extent_mm=(36.0, 30.0, 20.0)), study, np.full((2, *SHAPE), -9.0, np.float32))
    assert isinstance(finding, Refusal) == (said is not None)
    assert said is None or said in finding.words()


def test_a_single_image_becomes_an_input_and_is_refused():
    study = read_study(np.zeros((30, 40, 3), np.uint8))
    assert unet3d.inputs(study, 20).shape == (1, *SHAPE)
    finding = task.answer(card(), study, np.zeros((2, *SHAPE), np.float32))
    assert "this is a single image" in finding.words()


def test_volumes_say_mm3_and_show_the_frame_with_most():
    mask = np.zeros((5, 10, 12), bool)
    mask[1, 2:4, 3:6] = mask[3, 2:8, 3:9] = True
    finding = Volumes("v", {"front": mask}, (2.0, 1.0, 1.0), ("back",))
    assert finding.frame == 3
    assert finding.words() == "v: front 84 mm³; most of it on frame 4 of 5; not found: back"
    said = json.loads(json.dumps(finding.json()))
    assert said["volumes"][0]["volume_mm3"] == 84
    np.testing.assert_array_equal(rle.decode(said["volumes"][0]["rle"]["1"]), mask[1])
    assert set(said["volumes"][0]["rle"]) == {"1", "3"}
    assert [box.xyxy for box in finding.boxes()] == [(3, 2, 9, 8)]
    assert (np.asarray(finding.overlay(Image.new("RGB", (12, 10)))).any(axis=2) == mask[3]).all()
    unknown = Volumes("v", {"front": mask})
    assert unknown.json()["volumes"][0]["volume_mm3"] == "unknown"
    assert "size in mm unknown" in unknown.words()
    assert Volumes("v", {}, None, ("back",)).words() == "v: not found: back"
    assert Volumes("v", {}).boxes() == ()
