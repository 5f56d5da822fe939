"""The segmenter: shapes, masks that follow the image, and a card whose thresholds were chosen."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from specialists.core.findings import Masks
from specialists.core.specialist import Specialist
from specialists.core.study import read_study
from specialists.datasets.layout import read_set
from specialists.segmentation import task, unet
from specialists.training import publish, runs
from specialists.zoo import Tool
from tests.specialists.learning import write_set

TOOL = Tool("square_unet", "segmentation", "unet", "colors", "colored square", "Where a square is", "any", "none",
            ("square",))


def test_logits_have_the_size_of_the_image_and_every_parameter_learns():
    config = unet.tiny(labels=2)
    net = unet.build(config)
    images = torch.rand(2, 3, 32, 64)
    logits = net(images)
    assert logits.shape == (2, 2, 32, 64)
    assert net.look(images)[1].shape == (2, config.widths[4])
    unet.loss(config)(net, images, torch.ones(2, 2, 32, 64, dtype=torch.uint8)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_a_trained_segmenter_draws_the_square_and_says_where_there_is_none(tmp_path):
    samples = read_set(write_set(tmp_path, mask="square"))
    table = task.read(samples, ("square",), unet.tiny())
    assert table.targets.any(axis=(1, 2, 3)).sum() == len(samples) // 2
    config = dataclasses.replace(unet.tiny(), epochs=25, learning_rate=1e-2, dropout=0.0)
    runs.train_tool("unet", config, table, tmp_path / "run")
    run = publish.read_run(tmp_path / "run", samples)
    card = publish.tool(TOOL, run, tmp_path / "out")
    assert card.figures["val"]["dice"] > 0.7
    assert card.figures["val"]["normals"] == 4
    assert set(card.input["thresholds"]["square"]) == {"mask", "present", "area"}
    sample = next(s for s in samples if s.split == "val" and s.label == "red")
    study = read_study(sample.path)
    finding = Specialist(card, tmp_path / "out").predict(study)
    assert isinstance(finding, Masks)
    assert finding.masks["square"].shape == (40, 48)


def test_thresholds_hold_back_weak_masks():
    probabilities = np.zeros((4, 20, 20), np.float32)
    truth = np.zeros((4, 20, 20), bool)
    truth[:2, 5:15, 5:15] = True
    probabilities[:2, 5:15, 5:15] = 0.99
    probabilities[2:, 0:3, 0:3] = 0.8  # seen where there is nothing
    chosen = task.thresholds(probabilities, truth)
    assert chosen["present"] > 0.8 or chosen["area"] > 9 / 400


class Draws:
    """Says that there is a square everywhere."""

    def predict(self, study):
        return Masks("draws", {"square": np.ones(study.size[::-1], bool)})


def test_an_image_where_nobody_drew_the_structure_tells_nothing_of_it(tmp_path):
    samples = read_set(write_set(tmp_path, mask="square"))
    blue, red = ([s for s in samples if s.label == label] for label in ("blue", "red"))
    bare = [dataclasses.replace(s, record={}) for s in red[:2]]
    figures = task.figures(Draws(), [*blue, *red, *bare], ("square",))
    assert (figures["n"], figures["normals"]) == (len(red), len(blue))
    assert figures["specificity"] == 0.0
