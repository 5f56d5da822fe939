"""Small pictures of similar cases: of those at hand, never of what lies elsewhere, and of pixels alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from assistant import thumbnails
from assistant.thumbnails import SIDE, thumbnail
from tests.assistant.export.test_export import SECRET, dicom_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a data folder with one set of some cases, and a picture outside of it."""
    Image.new("RGB", (400, 200), (200, 10, 10)).save(tmp_path / "outside.png")
    home = tmp_path / "data" / "drawn"
    (home / "images").mkdir(parents=True)
    Image.new("RGB", (400, 200), (10, 200, 10)).save(home / "images" / "a.png")
    (home / "images" / "scan.dcm").write_bytes(dicom_file())
    (home / "images" / "text.png").write_text("no picture")
    (home / "images" / "link.png").symlink_to(tmp_path / "outside.png")
    images = {"a": "images/a.png", "scan": "images/scan.dcm", "text": "images/text.png", "up": "../../outside.png",
              "link": "images/link.png", "root": str(tmp_path / "outside.png"), "gone": "images/gone.png"}
    lines = [json.dumps({"id": f"drawn/{name}", "image": path, "split": "train"}) for name, path in images.items()]
    (home / "records.jsonl").write_text("\n".join(["no record", *lines]) + "\n")
    return tmp_path / "data"


def test_a_case_at_hand_has_a_small_picture(folder, monkeypatch):
    monkeypatch.setenv("CONSILIUM_DATA", str(folder))
    found = thumbnail("drawn/a")
    assert found is not None
    assert found.size == (SIDE, SIDE // 2)
    assert found.getpixel((5, 5)) == (10, 200, 10)


def test_without_the_data_there_is_none(folder, monkeypatch):
    monkeypatch.delenv("CONSILIUM_DATA", raising=False)
    assert thumbnail("drawn/a") is None
    monkeypatch.setenv("CONSILIUM_DATA", str(folder / "nowhere"))
    assert thumbnail("drawn/a") is None


@pytest.mark.parametrize("case", ["drawn/up", "drawn/link", "drawn/root", "drawn/gone", "drawn/text", "drawn/unknown",
                                  "../data/drawn/a", "..", "", "/drawn/a", "drawn\\a", "drawn/a\0", "other/a"])
def test_what_lies_elsewhere_or_is_no_picture_has_none(folder, case):
    assert thumbnail(case, folder) is None


def test_a_file_over_the_limit_has_none(folder, monkeypatch):
    monkeypatch.setattr(thumbnails, "LIMITS", thumbnails.Limits(max_pixels=1000))
    thumbnails._small.cache_clear()
    assert thumbnail("drawn/a", folder) is None
    thumbnails._small.cache_clear()


def test_of_a_dicom_file_the_pixels_come_alone(folder):
    found = thumbnail("drawn/scan", folder)
    assert found is not None
    assert found.size == (30, 20)
    assert SECRET not in str(found.info)
