"""The viewer's picture: layers stand where the findings are, at any size."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.core.findings import Box, Instances, Masks, Volumes
from specialists.core.study import read_study
from tests.ui import double
from ui import annotate, phantoms


@pytest.mark.parametrize(
    ("shape", "size"), [((40, 60), (256, 384)), ((500, 700), (500, 700)), ((3000, 1500), (1024, 512))]
)
def test_pictures_fit_the_page(shape, size):
    study = read_study(np.full((*shape, 3), 0.5, dtype=np.float32))
    assert annotate.picture(study).image.shape == (*size, 3)


def test_layers_follow_the_scale():
    study = read_study(np.full((200, 200, 3), 0.5, dtype=np.float32))
    mask = np.zeros((200, 200), bool)
    mask[50:100, 100:150] = True
    answer = double.answer(
        study,
        masks=(Masks("unet", {"lesion": mask}, None, ()),),
        boxes=(Box("lesion", (100, 50, 150, 100), 0.8),),
    )
    drawn = annotate.picture(study, None, answer)
    (area, name), (box, boxed) = drawn.layers
    assert (name, boxed) == ("lesion", "lesion, box 80 %")
    assert set(drawn.colors) == {name, boxed}
    scale = drawn.image.shape[0] / 200
    rows, columns = np.nonzero(area)
    assert rows.mean() / scale == pytest.approx(75, abs=1)
    assert columns.mean() / scale == pytest.approx(125, abs=1)
    assert area[int(75 * scale), int(125 * scale)] == pytest.approx(0.30)
    assert box[int(75 * scale), int(125 * scale)] == 0
    assert box[int(50 * scale), int(125 * scale)] == 1


def test_masks_of_another_size_and_empty_masks_are_left_out():
    study = read_study(np.full((400, 400, 3), 0.5, dtype=np.float32))
    other, empty = np.ones((10, 10), bool), np.zeros((400, 400), bool)
    answer = double.answer(study, masks=(Masks("unet", {"a": other, "b": empty}, None, ()),), boxes=())
    assert annotate.picture(study, None, answer).layers == ()


def test_boxes_outside_the_picture_are_clipped():
    study = read_study(np.full((400, 400, 3), 0.5, dtype=np.float32))
    answer = double.answer(study, masks=(), boxes=(Box("x", (-50, -50, 900, 900)), Box("y", (10, 10, 10, 10))))
    assert all(layer.shape == (400, 400) and layer.any() for layer, _ in annotate.picture(study, None, answer).layers)


def test_layers_belong_to_the_key_frame():
    study = read_study(phantoms.volume())
    assert study.frames == 24
    answer = double.answer(study)
    assert annotate.picture(study, study.key_frame, answer).layers
    assert not annotate.picture(study, 0, answer).layers


def test_many_boxes_of_a_label_are_one_layer():
    study = read_study(np.full((400, 400, 3), 0.5, dtype=np.float32))
    cells = [Box("red blood cell", (x, 10, x + 30, 40), 0.9) for x in range(10, 200, 40)]
    answer = double.answer(study, findings=(), masks=(), boxes=(*cells, Box("platelet", (300, 300, 310, 310), 0.5)))
    (many, name), (_, single) = annotate.picture(study, None, answer).layers
    assert (name, single) == ("5 red blood cells", "platelet, box 50 %")
    assert all(many[10, box_left + 5] == 1 for box_left in range(10, 200, 40))


def test_things_apart_are_one_layer_with_borders_where_they_touch():
    study = read_study(np.full((400, 400, 3), 0.5, dtype=np.float32))
    things = np.zeros((400, 400), np.int32)
    things[100:200, 100:200], things[100:200, 200:300] = 1, 2
    found = Instances("nuclei_distance_map", "nuclei", things)
    answer = double.answer(study, findings=(found,), masks=(found.shown(0),), boxes=())
    ((layer, name),) = annotate.picture(study, None, answer).layers
    assert name == "2 nuclei"
    assert layer[150, 199] == layer[150, 200] == 1
    assert layer[150, 150] == pytest.approx(0.30)
    assert layer[50, 50] == 0


def test_a_volume_is_drawn_on_each_of_its_frames():
    study = read_study(phantoms.volume())
    mask = np.zeros((study.frames, *study.pixels.shape[1:3]), bool)
    mask[2:4, 10:60, 10:60] = True
    found = Volumes("hippocampus_unet3d", {"anterior hippocampus": mask}, study.spacing_mm)
    answer = double.answer(study, findings=(found,), masks=(found.shown(study.key_frame),), boxes=())
    assert [name for _, name in annotate.picture(study, 2, answer).layers] == ["anterior hippocampus"]
    assert not annotate.picture(study, 7, answer).layers
    assert not annotate.picture(study, None, answer).layers


@pytest.mark.parametrize("name", phantoms.PHANTOMS)
def test_phantoms_are_readable_and_repeatable(name):
    assert read_study(phantoms.PHANTOMS[name]()).sha256 == read_study(phantoms.PHANTOMS[name]()).sha256
