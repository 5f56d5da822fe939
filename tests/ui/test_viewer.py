"""Slices, windows and the viewer's HTML, as pure functions."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from specialists.core.findings import Box, Enhanced, HeatMap, Masks
from specialists.core.study import read_study
from tests.ui import double
from ui import phantoms, planes, render, viewer
from ui.planes import View


@pytest.fixture(scope="module")
def head():
    return read_study(phantoms.volume())


def test_the_three_planes_cut_where_they_say_with_the_top_up(head):
    frames, height, width = head.pixels.shape[:3]
    assert [planes.slices(head, plane) for plane in planes.PLANES] == [frames, height, width]
    for plane, shape in zip(planes.PLANES, [(height, width), (frames, width), (frames, height)], strict=True):
        assert planes.pixels(head, View(plane)).shape == (*shape, 3)
    coronal = planes.pixels(head, View("coronal", 40))
    expected = (head.pixels[-1, 40] * 255).round().astype(np.uint8)
    assert np.array_equal(coronal[0, :, :1], expected)
    assert planes.spacing(head, "axial") == (1.0, 1.0)
    assert planes.spacing(head, "sagittal") == (5.0, 1.0)


def test_an_index_stays_within_the_study_and_only_the_key_frame_is_asked_about(head):
    assert View(index=99).at(head) == head.frames - 1
    assert View(index=-3).at(head) == 0
    assert View().is_key(head)
    assert View(index=head.key_frame).is_key(head)
    assert not View(index=0).is_key(head)
    assert not View("coronal").is_key(head)


def test_a_window_maps_its_ends_to_black_and_white():
    study = read_study(np.arange(0, 1000, dtype=np.int16).reshape(20, 50))
    shown = planes.pixels(study, View(window=(500, 200)))[..., 0].ravel()
    assert shown[399] == 0
    assert shown[601] == 255
    assert shown[500] == pytest.approx(128, abs=1)
    known = planes.presets(study)
    assert list(known) == [planes.OWN, planes.FULL, planes.MIDDLE]
    assert known[planes.OWN] is None
    assert planes.limits(study) == (0, 999, 1)
    assert planes.presets(read_study(np.zeros((4, 4, 3), np.uint8))) == {}


def pictures(html: str) -> list[Image.Image]:
    found = re.findall(r'href="data:image/png;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_the_viewer_holds_pixels_layers_regions_and_scale():
    study = read_study(phantoms.ultrasound())
    html = viewer.viewer(study, View(), double.answer(study), [Box("box", (10, 20, 30, 60))])
    base, area = pictures(html)
    assert base.size == area.size == (256, 256)
    assert area.mode == "RGBA"
    assert np.asarray(area)[0, 0, 3] == 0
    assert np.asarray(area)[100, 100, 3] == viewer.FILL
    assert 'data-region="1"' in html
    assert '<rect x="10" y="20" width="20" height="40"/>' in html
    assert html.count("data-toggle=") == 3  # all, area, box
    assert "data-mm" not in html  # the PNG tells no spacing
    assert 'data-asks="1"' in html


def test_a_volume_has_a_scale_and_its_proportions_and_is_drawn_on_at_its_key_slice_only(head):
    html = viewer.viewer(head, View("coronal"), None, [Box("box", (10, 20, 30, 60))])
    assert 'data-mm="1"' in html
    assert 'data-aspect="5"' in html
    assert 'viewBox="0 0 128 120"' in html
    assert 'data-asks="0"' in html
    assert "data-region" not in html
    assert html.count(" disabled") == 2
    assert 'data-asks="0"' in viewer.viewer(head, View(), asks=False)


def test_large_pictures_are_sent_small_and_keep_their_own_units():
    study = read_study(np.zeros((3200, 1600, 3), np.float32))
    html = viewer.viewer(study, View())
    assert pictures(html)[0].size == (800, 1600)
    assert 'viewBox="0 0 1600 3200"' in html


def test_names_of_findings_are_escaped():
    study = read_study(np.zeros((64, 64, 3), np.float32))
    bad = Masks("x", {'<img src=x onerror="1">': np.ones((64, 64), bool)}, None, ())
    html = viewer.viewer(study, View(), double.answer(study, findings=(bad,), masks=(bad,), boxes=()))
    assert "<img" not in html
    assert 'onerror="' not in html


@pytest.mark.parametrize(
    ("corners", "box"),
    [
        ([30, 60, 10, 20], (10, 20, 30, 60)),
        ([-5, -5, 500, 20], (0, 0, 100, 20)),
        ([10, 10, 10.2, 40], None),
        ([150, 10, 180, 40], None),
    ],
)
def test_a_drawn_box_is_ordered_and_clipped(corners, box):
    made = viewer.within(corners, (100, 80))
    assert (made and made.xyxy) == box


@pytest.mark.parametrize("at", [(0, 0), (99, 79), (50, 40)])
def test_a_point_is_a_small_box_within_the_image(at):
    x1, y1, x2, y2 = viewer.around(*at, (100, 80)).xyxy
    assert 0 <= x1 < x2 <= 100
    assert 0 <= y1 < y2 <= 80
    assert x1 <= at[0] <= x2
    assert y1 <= at[1] <= y2
    assert (x2 - x1, y2 - y1) == (4, 4)


def test_regions_are_told_in_millimetres_where_they_can_be(head):
    told = render.regions_line(head, [Box("box", (10, 20, 30, 60))], drawable=True)
    assert "20 × 40 mm at 10, 20" in told
    assert "about it" in told
    plain = read_study(phantoms.ultrasound())
    both = [Box("box", (10, 20, 30, 60)), viewer.around(50, 60, plain.size)]
    told = render.regions_line(plain, both, drawable=False)
    assert "20 × 40 pixels" in told
    assert "around the point 50, 60" in told
    assert "slice 1" in told
    assert render.regions_line(plain, [], drawable=True) == ""


def pictured():
    """Return a study, and an answer with a heat map and an enhanced image by a specialist of one's own."""
    study = read_study(np.full((64, 128, 3), 0.5, dtype=np.float32))
    values = np.zeros((4, 8), dtype=np.float32)
    values[1, 2] = 1.0
    heat = HeatMap("own_net", "nodule", values, "covering it takes 20 points")
    after = Enhanced("own_net", "denoised", np.full((64, 128), 90, dtype=np.uint8))
    return study, double.answer(study, findings=(heat, after), masks=(), boxes=())


def test_a_heat_map_lies_over_the_image_with_its_own_toggle_and_scale():
    study, answer = pictured()
    page = viewer.viewer(study, View(), answer)
    assert page.index('data-layer="after-own_net"') < page.index('data-layer="heat-own_net-nodule"')
    assert 'data-toggle="heat-own_net-nodule"' in page
    assert "own net: heat map of nodule" in page
    assert 'title="covering it takes 20 points"' in page
    assert "linear-gradient(90deg, rgb(0, 0, 4)" in page


def test_an_enhanced_image_is_compared_with_what_it_was():
    study, answer = pictured()
    page = viewer.viewer(study, View(), answer)
    assert 'clip-path="url(#cut-after-own_net)"' in page
    assert page.count("data-compare") == 1
    assert "data-compare" not in viewer.viewer(study, View(), double.answer(study))


def test_pictures_of_a_volume_belong_to_the_slice_that_was_judged():
    study = read_study(phantoms.volume())
    _, answer = pictured()
    assert "data-layer" in viewer.viewer(study, View(), answer)
    assert "data-layer" not in viewer.viewer(study, View(index=1), answer)
