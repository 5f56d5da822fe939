"""The window over what ships, in a real browser: PNG, DICOM and NIfTI from the upload to the export.

The images are drawn, or lie in pydicom and nibabel; what the models say of them is not judged here.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel
import pytest
from pydicom.data import get_testdata_file

from tests.ui.test_browser import ROOT, ask, drop
from tests.ui.test_browser_work import saved
from ui import phantoms

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = sync_api.expect

pytestmark = pytest.mark.browser
Page = sync_api.Page
NIFTI = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"
BREAST = "benign, malignant, normal"


@pytest.fixture(scope="module")
def patience() -> int:
    """Return how many ms a page may take: the models are loaded while it is up."""
    return 180_000


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Serve `consilium chat` on a free port and return where."""
    folder = tmp_path_factory.mktemp("shipped")
    environment = os.environ | {"CONSILIUM_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("CONSILIUM_DATA", None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ui", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout
        yield process.stdout.readline().split()[3]
        process.terminate()


def answered(page: Page, question: str, options: str = "") -> None:
    """Ask for the first time on this page, and wait for the end of the answer."""
    expect(page.locator("#panel .cs-trace")).to_have_count(0)
    ask(page, question, options)
    expect(page.locator("#panel .cs-trace")).to_be_visible()
    expect(page.locator("#below")).to_be_visible()


def pixels(page: Page) -> str:
    """Return what the viewer shows, as the address of its picture."""
    return page.locator("#viewer .cs-pixels").get_attribute("href")


def test_a_picture_is_asked_about_looked_into_asked_again_and_exported(visitor, tmp_path):
    (tmp_path / "scan.png").write_bytes(phantoms.ultrasound())
    page = visitor()
    drop(page, tmp_path / "scan.png")
    expect(page.locator("#caption")).to_contain_text("PNG · 256 × 256 pixels")
    page.locator("#viewer [data-tool=box]").click()
    page.locator("#viewer .cs-stage").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#regions")).to_contain_text("Region 1")
    answered(page, "What is this?", BREAST)
    expect(page.locator("#panel")).to_contain_text("breast ultrasound")
    expect(page.locator("#panel .cs-opinion")).not_to_have_count(0)
    page.locator("#panel [data-where]").first.click()
    expect(page.locator("#whatif")).to_contain_text("It tells what this model rests on, not where a disease is.")
    heat = page.locator("#viewer [data-layer^=heat]")
    expect(heat).to_have_count(1)
    page.locator("#viewer input[data-toggle^=heat]").uncheck()
    expect(heat).to_be_hidden()
    page.locator("#panel .cs-several summary").click()
    for box in page.locator("#panel [data-leave]").all()[:2]:
        box.check()
    page.locator("#panel [data-several]").click()
    expect(page.locator("#whatif h3")).to_contain_text("What if: without breast ultrasound")
    expect(page.locator("#whatif h3")).to_contain_text(" and ")
    markdown = saved(page, "Markdown").decode()
    assert "Region 1" in markdown
    assert saved(page, "PDF").startswith(b"%PDF-")
    assert json.loads(saved(page, "FHIR"))["resourceType"] == "Bundle"
    page.reload()
    expect(page.locator("#chat")).to_contain_text("What is this?")
    expect(page.locator("#panel .cs-opinion")).not_to_have_count(0)
    other = visitor()
    expect(other.locator("#chat")).not_to_contain_text("What is this?")


def test_a_ct_is_windowed_asked_about_and_exported_as_dicom(visitor):
    page = visitor()
    drop(page, Path(str(get_testdata_file("CT_small.dcm"))))
    expect(page.locator("#caption")).to_contain_text("DICOM · 128 × 128 pixels · CT")
    expect(page.locator("#viewer .cs-scale")).to_be_visible()
    seen = [pixels(page)]
    for preset in ("Bone", "Lung"):
        page.locator("#preset input").click()
        page.get_by_role("option", name=preset).click()
        expect(page.locator("#viewer .cs-pixels")).not_to_have_attribute("href", seen[-1])
        seen.append(pixels(page))
    expect(page.locator("#caption")).to_contain_text("window center -600, width 1500")
    page.locator("#center input[type=number]").fill("40")
    page.locator("#center input[type=number]").press("Enter")
    expect(page.locator("#viewer .cs-pixels")).not_to_have_attribute("href", seen[-1])
    assert len({*seen, pixels(page)}) == 4
    answered(page, "Is anything unusual here?")
    expect(page.locator("#panel .cs-refer, #chat .cs-refer").first).to_be_visible()
    assert "CompressedSamples" not in page.content(), "the patient's name is not shown"
    page.get_by_text("Header of the DICOM file").click()
    page.click("#show-header")
    expect(page.locator("#header-values")).to_contain_text("CompressedSamples")
    assert saved(page, "(SR)")[128:132] == b"DICM"


def test_a_volume_is_cut_asked_about_and_a_broken_file_is_explained(visitor, tmp_path):
    page = visitor()
    drop(page, NIFTI)
    expect(page.locator("#caption")).to_contain_text("NIfTI")
    before = pixels(page)
    page.locator("#plane").get_by_text("Sagittal").click()
    expect(page.locator("#caption")).to_contain_text("sagittal slice")
    assert pixels(page) != before
    answered(page, "What kind of image is this?")
    (tmp_path / "cut.png").write_bytes(phantoms.ultrasound()[:2000])
    drop(page, tmp_path / "cut.png")
    expect(page.locator("#chat .cs-error")).to_contain_text("cut.png")
    expect(page.locator("#caption")).to_contain_text("NIfTI")
