"""A visitor's work in a real browser: kept over a reload, found again, exported, judged, deleted; never another's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.records import Records
from tests.assistant.export.test_export import SECRET, dicom_file
from tests.ui.test_browser import ROOT
from ui import phantoms

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = sync_api.expect

pytestmark = pytest.mark.browser
Page = sync_api.Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return the folder of the window's store and cache."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    """Serve the window on a free port and return where."""
    environment = os.environ | {"GRADIO_TEMP_DIR": str(folder / "cache")}
    (folder / "gate").touch()
    command = [sys.executable, "-m", "tests.ui.double", str(folder / "gate"), str(folder / "home")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture
def files(tmp_path) -> Path:
    """Return a folder with a PNG and a DICOM file."""
    (tmp_path / "scan").write_bytes(phantoms.ultrasound())
    (tmp_path / "scan.dcm").write_bytes(dicom_file())
    return tmp_path


def asked(page: Page, file: Path, question: str) -> None:
    """Give an image and ask about it, to the end of the answer."""
    page.set_input_files("#files input[type=file]", [str(file)])
    expect(page.locator("#caption")).to_contain_text("pixels")
    page.fill("#question textarea", question)
    page.fill("#options textarea", "benign, malignant")
    page.click("#ask")
    expect(page.locator("#agree")).to_be_visible()


def saved(page: Page, words: str) -> bytes:
    """Export the conversation in a form and return the file that the browser saved."""
    page.click("#form input")
    page.get_by_role("option", name=words).click()
    with page.expect_download() as download:
        page.click("#export")
    return Path(download.value.path()).read_bytes()


def test_a_conversation_is_kept_found_renamed_and_deleted(visitor, files, folder):
    page = visitor()
    asked(page, files / "scan", "Is the outline irregular?")
    page.reload()
    expect(page.locator("#chat")).to_contain_text("Is the outline irregular?")
    expect(page.locator("#panel .cs-opinion")).to_have_count(5)
    page.get_by_role("button", name="Conversations").click()
    expect(page.locator("#listed label")).to_have_count(1)
    page.fill("#title input, #title textarea", "Case 7")
    page.click("#rename")
    expect(page.locator("#listed label")).to_contain_text("Case 7")
    page.click("#new")
    expect(page.locator("#chat")).not_to_contain_text("Is the outline irregular?")
    expect(page.locator("#below")).to_be_hidden()
    page.fill("#find input, #find textarea", "nothing such")
    expect(page.locator("#listed label")).to_have_count(0)
    page.fill("#find input, #find textarea", "IRREGULAR case")
    page.locator("#listed label").click()
    expect(page.locator("#chat")).to_contain_text("Is the outline irregular?")
    page.click("#delete")
    page.click("#really")
    expect(page.locator("#listed label")).to_have_count(0)
    expect(page.locator("#chat")).not_to_contain_text("Is the outline irregular?")
    assert Records(folder / "home").conversations() == []


def test_an_answer_about_a_dicom_file_is_judged_and_exported(visitor, files, folder):
    page = visitor()
    asked(page, files / "scan.dcm", "Malignant?")
    cached = [path for path in (folder / "cache").rglob("*") if path.is_file()]
    assert not [path for path in cached if SECRET.encode() in path.read_bytes()], "uploads go once they were read"
    assert SECRET not in page.content()
    page.click("#disagree")
    page.fill("#reason textarea", "too sure")
    page.fill("#right-label input", "benign")
    page.keyboard.press("Enter")
    page.click("#object")
    expect(page.locator("#said")).to_contain_text("you disagree; label: benign; reason: too sure")
    assert [said.label for said in Records(folder / "home").said()] == ["benign"]
    assert saved(page, "PDF").startswith(b"%PDF-")
    assert json.loads(saved(page, "FHIR"))["resourceType"] == "Bundle"
    assert saved(page, "SEG")[128:132] == saved(page, "(SR)")[128:132] == b"DICM"
    page.get_by_text("Header of the DICOM file").click()
    page.click("#show-header")
    expect(page.locator("#header-values")).to_contain_text(SECRET)
    page.click("#hide-header")
    expect(page.locator("#header-values")).not_to_contain_text(SECRET)
    page.reload()
    expect(page.locator("#said")).to_contain_text("you disagree")
    page.click("#form input")
    page.get_by_role("option", name="SEG").click()
    page.click("#export")
    expect(page.locator("#export-told")).to_contain_text("Add the same file again")


def test_two_visitors_see_nothing_of_each_other(visitor, files):
    one, other = visitor(), visitor()
    asked(one, files / "scan", "Mine alone?")
    other.reload()
    other.wait_for_selector("#ask")
    other.get_by_role("button", name="Conversations").click()
    expect(other.locator("#sidebar-told")).to_contain_text("kept here")
    expect(other.locator("#listed label")).to_have_count(0)
    expect(other.locator("#chat")).not_to_contain_text("Mine alone?")
    one.click("#clear")
    expect(one.locator("#below")).to_be_hidden()
    one.reload()
    one.wait_for_selector("#ask")
    one.get_by_role("button", name="Conversations").click()
    expect(one.locator("#listed label")).to_have_count(1)
    expect(one.locator("#chat")).not_to_contain_text("Mine alone?")


def test_what_is_done_while_the_page_starts_is_not_overwritten(visitor, files, folder):
    """The store is slow: a dropped file and a question wait until what the browser left is shown."""
    (folder / "home" / "hold").touch()
    page = visitor()
    page.set_input_files("#files input[type=file]", [str(files / "scan")])
    page.fill("#question textarea", "Is it irregular?")
    page.click("#ask")
    page.wait_for_timeout(3000)
    (folder / "home" / "hold").unlink()
    expect(page.locator("#panel .cs-trace")).to_be_visible()
    expect(page.locator("#caption")).to_contain_text("256 × 256 pixels")
    expect(page.locator("#agree")).to_be_visible()      # the browser knows the conversation
    page.reload()
    expect(page.locator("#chat")).to_contain_text("Is it irregular?")


def test_another_conversation_that_is_opened_while_an_answer_comes_can_be_asked(visitor, files, folder):
    page = visitor()
    asked(page, files / "scan", "What is it?")
    (folder / "gate").unlink()
    try:
        page.fill("#question textarea", "Get stuck")
        page.click("#ask")
        expect(page.locator("#chat .message-row")).to_have_count(4)
        page.get_by_role("button", name="Conversations").click()
        page.click("#new")
        expect(page.locator("#chat .message-row")).to_have_count(0)
        page.get_by_role("button", name="Conversations").click()
        page.get_by_role("button", name="Drawn ultrasound").click()
        expect(page.locator("#viewer svg")).to_be_visible()
        page.fill("#question textarea", "And this?")
        page.click("#ask")
        expect(page.locator("#agree")).to_be_visible()
    finally:
        (folder / "gate").touch()
    expect(page.locator("#chat")).not_to_contain_text("Get stuck")
    assert page.locator("#chat .message-row").count() == 2
