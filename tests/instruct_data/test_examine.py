"""Examining: sizes, masks to regions, slices of volumes, DICOM without a word of its header, broken files named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from skimage.measure import label, regionprops

from instruct_data import regions
from instruct_data.examine import examine
from instruct_data.gather import gather
from instruct_data.items import Item, Library, Region
from instruct_data.sources.options import Options
from specialists.core.errors import BadData, BadStudy
from tests.drawn import masks_folder
from tests.instruct_data.test_sources import dicom_slice, volume_folder


def boxed(height: int = 100, width: int = 100, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Return a mask with filled boxes (left, top, right, bottom)."""
    mask = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


def pixels(path: Path, mode: str | None = None) -> np.ndarray:
    """Return the pixels of a picture, turned into a mode."""
    with Image.open(path) as picture:
        return np.asarray(picture if mode is None else picture.convert(mode))


def seen(data: Path, made: Path | None = None) -> list[Item]:
    library = gather(data)
    return [one for item in library.items for one in examine(item, library, made)]


def test_masks_become_the_regions_that_scikit_image_finds(tmp_path: Path) -> None:
    items = seen(masks_folder(tmp_path / "own"))
    assert len(items) == 20
    for place, item in enumerate(items):
        assert item.size == (128, 96)
        values = pixels(tmp_path / "own" / "masks" / f"case_{place:02d}.png")
        for value, name in ((1, "polyp"), (2, "instrument")):
            wanted = {(p.bbox[1] / 128, p.bbox[0] / 96, p.bbox[3] / 128, p.bbox[2] / 96): p.area / (128 * 96)
                      for p in regionprops(label(values == value))}
            assert {r.box: r.area for r in item.named(name)} == pytest.approx(wanted)
        assert item.absent == (() if place % 4 < 2 else ("instrument",))


def test_crumbs_slivers_and_corners_are_no_regions() -> None:
    whole = (20, 20, 60, 60)
    assert [r.box for r in regions.parts(boxed(100, 100, whole, (80, 80, 82, 82)), "x")] == [(0.2, 0.2, 0.6, 0.6)]
    assert len(regions.parts(boxed(100, 100, whole, (90, 40, 100, 50)), "x")) == 1, "a sliver at the edge"
    assert len(regions.parts(boxed(100, 100, whole, (85, 40, 95, 50)), "x")) == 2, "the same within the image"
    assert regions.parts(boxed(100, 100, (92, 92, 100, 100)), "x") == (), "a corner, cut on two sides"
    assert regions.parts(boxed(100, 100, (0, 0, 100, 99)), "x") == (), "from edge to edge: it has no place"
    assert len(regions.parts(boxed(100, 100, (0, 30, 100, 60)), "x")) == 1
    assert regions.parts(boxed(), "x") == ()


def test_nets_and_textures_are_no_regions() -> None:
    net = boxed(200, 200, (5, 99, 195, 101), (99, 5, 101, 195))
    assert regions.parts(net, "vessels") == ()
    dots = boxed(200, 200, *[(x, y, x + 5, y + 5) for x in range(0, 195, 10) for y in range(0, 195, 10)])
    assert regions.parts(dots, "x") == ()


def test_numbered_things_stay_apart_where_they_touch() -> None:
    numbers = np.zeros((40, 40), int)
    numbers[5:15, 5:15], numbers[5:15, 15:22], numbers[30, 30] = 7, 300, 9
    found = regions.things(numbers, "nucleus")
    assert [r.area for r in found] == [100 / 1600, 70 / 1600], "one pixel is no thing"
    assert regions.things(np.zeros((4, 4), int), "nucleus") == ()


def test_pairs_are_named_by_the_patients_side() -> None:
    lungs = [Region("lung", (0.6, 0.1, 0.9, 0.9)), Region("lung", (0.1, 0.1, 0.4, 0.9))]
    assert [r.name for r in regions.sided(lungs)] == ["left lung", "right lung"]
    assert regions.sided(lungs[:1]) == (lungs[0],), "one lung alone may be either"
    polyps = [replace(r, name="polyp") for r in lungs]
    assert list(regions.sided(polyps)) == polyps


def test_sides_are_named_only_where_the_image_is_shown_as_usual(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks" / "lung").mkdir(parents=True)
    Image.new("L", (100, 100)).save(tmp_path / "images" / "a.png")
    Image.fromarray(boxed(100, 100, (10, 10, 40, 90), (60, 10, 90, 80)).astype(np.uint8) * 255).save(
        tmp_path / "masks" / "lung" / "a.png")
    assert [r.name for r in seen(tmp_path)[0].regions] == ["lung", "lung"]
    library = gather(tmp_path, options=Options(radiological=True))
    item = examine(library.items[0], library, None)[0]
    assert [(r.name, r.box[0]) for r in item.regions] == [("right lung", 0.1), ("left lung", 0.6)]
    assert item.absent == ()


def test_what_is_drawn_and_cannot_be_pointed_at_is_not_absent(tmp_path: Path) -> None:
    data = masks_folder(tmp_path / "own", 1)
    Image.fromarray(np.full((96, 128), 1, np.uint8)).save(data / "masks" / "case_00.png")
    item = seen(data)[0]
    assert item.regions == ()
    assert item.absent == ("instrument",)


def test_a_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    data = masks_folder(tmp_path / "own", 1)
    Image.new("L", (96, 96)).save(data / "masks" / "case_00.png")
    with pytest.raises(BadData, match="96 x 96"):
        seen(data)
    (data / "masks" / "case_00.png").write_bytes(b"no mask")
    with pytest.raises(BadData, match=r"case_00\.png"):
        seen(data)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    data = masks_folder(tmp_path / "own", 1)
    file = data / "images" / "case_00.png"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(BadStudy, match=r"case_00\.png.*damaged"):
        seen(data)
    file.write_bytes(b"words")
    with pytest.raises(BadStudy, match=r"case_00\.png"):
        seen(data)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_pictures_that_not_all_programs_show_are_written_anew(tmp_path: Path, ending: str) -> None:
    (tmp_path / "data" / "cat").mkdir(parents=True)
    deep = np.linspace(0, 4000, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "data" / "cat" / f"a.{ending}")
    item = seen(tmp_path / "data", tmp_path / "out" / "made")[0]
    assert item.image.startswith("made/")
    picture = pixels(tmp_path / "out" / item.image)
    assert (picture.shape, item.size) == ((48, 64, 3), (64, 48))
    assert picture.max() > 240


def test_slices_show_most_of_each_label_across_each_axis(tmp_path: Path) -> None:
    data = volume_folder(tmp_path / "data")
    items = seen(data, tmp_path / "out" / "made")
    assert [i.attributes["plane"] for i in items] == ["axial", "coronal", "sagittal"]
    for item in items:
        picture = pixels(tmp_path / "out" / item.image, "L")
        assert picture.shape[::-1] == item.size
        (liver,) = item.named("liver")
        x1, y1, x2, y2 = (round(v * s) for v, s in zip(liver.box, item.size * 2, strict=True))
        assert picture[y1:y2, x1:x2].min() > 200, "the box lies on what was drawn there"
        assert liver.area == pytest.approx((picture > 200).mean())
        assert item.absent == ("spleen",)
        assert "_" in item.image
        assert item.sample.patient is None
    # The liver lies to the patient's right, in front and near the head: on the image left and up.
    axial, coronal, sagittal = (i.regions[0].box for i in items)
    assert axial[2] < 0.5
    assert axial[3] < 0.5
    assert coronal[2] < 0.5
    assert coronal[3] < 0.5
    assert sagittal[2] < 0.5
    assert sagittal[3] < 0.5
    assert [i.radiological for i in items] == [True, True, False]


def test_a_volume_stored_the_other_way_round_gives_the_same_slices(tmp_path: Path) -> None:
    plain = volume_folder(tmp_path / "a")
    turned = volume_folder(tmp_path / "b")
    for name in ("images", "labels"):
        file = turned / name / "v1.nii.gz"
        picture = nib.load(file)  # type: ignore[attr-defined]
        flipped = picture.as_reoriented(np.array([[0, -1], [2, 1], [1, -1]]))  # type: ignore[attr-defined]
        nib.save(flipped, file)  # type: ignore[attr-defined]
    found = [[(i.regions, i.size, i.attributes) for i in seen(data)] for data in (plain, turned)]
    assert found[0] == found[1]


def test_without_an_orientation_no_plane_is_named(tmp_path: Path) -> None:
    data = volume_folder(tmp_path / "data", oriented=False)
    assert all("plane" not in i.attributes and not i.radiological for i in seen(data))


def test_flat_voxels_are_cut_across_one_axis_and_labels_must_fit(tmp_path: Path) -> None:
    data = volume_folder(tmp_path / "data", thick=9.0)
    assert [i.attributes["plane"] for i in seen(data)] == ["axial"]
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), data / "labels" / "v1.nii.gz")
    with pytest.raises(BadData, match="same grid"):
        seen(data)


def test_a_dicom_slice_keeps_view_and_kind_and_nothing_else(tmp_path: Path) -> None:
    for number in range(3):
        dicom_slice(tmp_path / "data" / f"{number}.dcm", number, PatientName="Doe^Jane", PatientID="4711",
                    Modality="DX", BodyPartExamined="CHEST", ViewPosition="PA")
    (item,) = seen(tmp_path / "data", tmp_path / "out" / "made")
    assert (item.kind, item.attributes, item.radiological) == ("chest X-ray", {"view": "PA"}, True)
    shown = replace(item, sample=replace(item.sample, path=Path()))
    assert not any(word in repr(shown) for word in ("Doe", "4711", pydicom.dcmread(tmp_path / "data/0.dcm").StudyDate))
    assert pixels(tmp_path / "out" / item.image).shape == (24, 32, 3)


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    data = volume_folder(tmp_path / "data")
    first = [(i.image, (tmp_path / i.image).read_bytes()) for i in seen(data, tmp_path / "made")]
    second = [(i.image, (tmp_path / "b" / i.image).read_bytes()) for i in seen(data, tmp_path / "b" / "made")]
    assert first == second
    assert len({name for name, _ in first}) == 3


@pytest.mark.data
def test_real_images_can_be_examined(data_dir: Path) -> None:
    library = gather(data_dir)
    for name in ("busi_breast_ultrasound", "dsb2018_nuclei", "msd_hippocampus_mri3d", "cohen_covid_cxr"):
        some = Library(library.by_set[name][:10], library.data)
        found = [one for item in some.items for one in examine(item, some, None)]
        assert all(i.size[0] and i.size[1] for i in found)
        assert any(i.regions for i in found)
