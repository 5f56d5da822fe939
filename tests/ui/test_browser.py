"""The real page in a real browser, over a stand-in for the assistant; a process of its own serves it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui import double
from ui import phantoms

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = sync_api.expect

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gate(tmp_path_factory) -> Path:
    """Return a file that lets held answers go on while it exists."""
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def address(tmp_path_factory, gate) -> Iterator[str]:
    """Serve the window on a free port and return where."""
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path_factory.mktemp("cache"))}
    command = [sys.executable, "-m", "tests.ui.double", str(gate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as served:
        assert served.stdout
        yield served.stdout.readline().strip()
        served.terminate()


@pytest.fixture
def page(browser, address, gate, patience) -> Iterator[sync_api.Page]:
    """Return a fresh visitor's page; fails when it asked another machine for anything or logged an error."""
    gate.unlink(missing_ok=True)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(patience)
    expect.set_options(timeout=patience)
    elsewhere, errors = [], []
    opened.on(
        "request",
        lambda r: None if r.url.startswith((address, "data:", "blob:")) else elsewhere.append(r.url),
    )
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(address)
    opened.wait_for_selector("#ask")
    yield opened
    context.close()
    assert not elsewhere
    assert not errors


@pytest.fixture
def images(tmp_path) -> Path:
    """Return a folder with a PNG without suffix, a NIfTI file, and a text that is named like a PNG."""
    (tmp_path / "scan").write_bytes(phantoms.ultrasound())
    (tmp_path / "head.nii").write_bytes(phantoms.volume())
    (tmp_path / "bad.png").write_text("this is only text")
    return tmp_path


def drop(page: sync_api.Page, *files: Path) -> None:
    """Give files to the page."""
    page.set_input_files("#files input[type=file]", [str(file) for file in files])


def ask(page: sync_api.Page, question: str, options: str = "") -> None:
    """Ask as a person would."""
    page.fill("#question textarea", question)
    page.fill("#options textarea", options)
    page.click("#ask")


def test_first_screen_says_what_it_is_and_what_it_is_not(page):
    expect(page.locator(".cs-notice")).to_have_text("Research use only, not a medical device.")
    expect(page.get_by_text("specialist models and similar cases look at one medical image")).to_be_visible()
    page.get_by_text("Where is the lesion?").click()
    expect(page.locator("#question textarea")).to_have_value("Where is the lesion?")


def test_an_image_is_dropped_asked_about_and_answered_with_its_evidence(page, images, gate):
    drop(page, images / "scan")
    expect(page.locator("#viewer svg")).to_be_visible()
    expect(page.locator("#caption")).to_contain_text("256 × 256 pixels")
    ask(page, "Tell slowly: <b>benign</b>? ![x](http://evil.invalid/x.png)", "benign, malignant, normal")
    expect(page.locator("#stop")).to_be_enabled()
    expect(page.locator("#chat")).to_contain_text("<b>benign</b>? ![x](http://evil.invalid/x.png)")
    expect(page.locator("#chat")).to_contain_text("The image is a")
    assert double.SAID not in page.inner_text("#chat")
    gate.touch()
    expect(page.locator("#chat")).to_contain_text(double.SAID)
    expect(page.locator("#chat .cs-refer")).to_be_visible()
    expect(page.locator("#panel .cs-refer")).to_contain_text("Refer to a human reader")
    expect(page.locator("#panel .cs-opinion")).to_have_count(5)
    expect(page.locator("#panel .cs-dissents")).to_have_count(1)
    expect(page.locator("#panel tbody tr")).to_have_count(6)
    expect(page.locator("#panel .cs-refused")).to_contain_text("paediatric chest X-ray")
    page.locator("#panel .cs-trace summary").click()
    expect(page.locator("#panel .cs-trace")).to_contain_text("t-0123456789")
    layers = page.locator("#viewer .cs-layer")
    expect(layers).to_have_count(2)
    page.locator("#viewer .cs-legend").get_by_text("lesion, box").click()
    expect(layers.nth(1)).to_be_hidden()
    expect(layers.nth(0)).to_be_visible()
    page.locator("#viewer .cs-legend").get_by_text("All").click()
    expect(layers.nth(1)).to_be_visible()
    page.locator("#panel .cs-finding").focus()
    expect(page.locator("#viewer .cs-layer.cs-lit")).to_have_count(2)


def test_a_question_waits_for_a_file_that_is_still_on_its_way(page, images):
    slow = {"offline": False, "latency": 1000, "downloadThroughput": -1, "uploadThroughput": -1}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
    drop(page, images / "scan")
    ask(page, "What is it?")
    expect(page.locator("#panel .cs-trace")).to_be_visible()
    expect(page.locator("#viewer svg")).to_be_visible()
    expect(page.locator("#chat .cs-error")).to_have_count(0)


def test_a_question_does_not_wait_for_a_file_that_was_refused(page, images):
    page.route("**/upload**", lambda route: route.fulfill(status=413, body='{"detail": "too large"}'))
    drop(page, images / "scan")
    ask(page, "What is it?")
    expect(page.locator("#chat .cs-error").last).to_contain_text("Got no image")


def test_a_text_named_png_is_explained_and_the_next_question_works(page, images):
    drop(page, images / "bad.png")
    expect(page.locator("#chat .cs-error")).to_contain_text("bad.png")
    expect(page.locator("#chat .cs-error")).to_contain_text("PNG, JPEG")
    ask(page, "What is it?")
    expect(page.locator("#chat .cs-error").last).to_contain_text("Got no image")
    drop(page, images / "scan")
    expect(page.locator("#viewer svg")).to_be_visible()
    ask(page, "break")
    expect(page.locator("#chat .cs-note")).to_contain_text("Something went wrong inside")
    ask(page, "What is it?")
    expect(page.locator("#panel .cs-trace")).to_be_visible()


def test_an_answer_is_stopped_and_the_next_one_comes(page, gate):
    page.get_by_role("button", name="Drawn ultrasound").click()
    expect(page.locator("#viewer svg")).to_be_visible()
    ask(page, "Tell slowly, what is it?")
    expect(page.locator("#chat")).to_contain_text("The image is a")
    page.click("#stop")
    expect(page.locator("#chat .cs-note")).to_have_text("Stopped.")
    expect(page.locator("#ask")).to_be_enabled()
    gate.touch()
    assert double.SAID not in page.inner_text("#chat")
    ask(page, "And now?")
    expect(page.locator("#chat")).to_contain_text(double.SAID)
    page.click("#clear")
    expect(page.locator("#chat .message-row")).to_have_count(0)
    expect(page.locator("#viewer svg")).to_have_count(0)


def test_a_question_is_answered_while_a_stopped_one_still_ends_its_step(page, gate):
    page.get_by_role("button", name="Drawn ultrasound").click()
    expect(page.locator("#viewer svg")).to_be_visible()
    ask(page, "Get stuck")
    expect(page.locator("#chat .message-row")).to_have_count(2)
    page.click("#stop")
    expect(page.locator("#chat .cs-note")).to_have_text("Stopped.")
    ask(page, "And now?")
    expect(page.locator("#chat")).to_contain_text(double.SAID)
    expect(page.locator("#ask")).to_be_enabled()
    rows = page.locator("#chat .message-row")
    told = rows.all_inner_texts()
    gate.touch()
    ask(page, "And then?")
    expect(page.locator("#chat .cs-refer")).to_have_count(2)
    assert rows.all_inner_texts()[:3] == told[:3]
    assert rows.count() == 6


@pytest.mark.parametrize("press", ["twice", "enter twice", "enter while it comes"])
def test_a_second_press_changes_nothing(page, gate, press):
    page.get_by_role("button", name="Drawn ultrasound").click()
    expect(page.locator("#viewer svg")).to_be_visible()
    field = page.locator("#question textarea")
    field.fill("Tell slowly, what is it?")
    if press == "twice":
        page.locator("#ask").dblclick()
    else:
        field.press("Enter")
        if press == "enter while it comes":
            expect(page.locator("#chat")).to_contain_text("The image is a")
            field.fill("And now?")
        field.press("Enter")
    expect(page.locator("#chat")).to_contain_text("The image is a")
    page.locator("#viewer .cs-stage").focus()  # and some time passes
    gate.touch()
    expect(page.locator("#chat")).to_contain_text(double.SAID)
    expect(page.locator("#ask")).to_be_enabled()
    expect(page.locator("#ask")).to_have_text("Ask")
    expect(page.locator("#stop")).to_have_text("Stop")
    expect(page.locator("#panel .cs-trace")).to_be_visible()


def test_a_volume_has_slices(page, images):
    drop(page, images / "head.nii")
    expect(page.locator("#caption")).to_contain_text("slice 13 of 24")
    page.locator("#frame input[type=number]").fill("3")
    page.locator("#frame input[type=number]").press("Enter")
    expect(page.locator("#caption")).to_contain_text("slice 3 of 24")


def test_a_volume_has_planes_a_scale_windows_and_keys(page, images):
    drop(page, images / "head.nii")
    expect(page.locator("#viewer .cs-scale span")).to_have_text("2 cm")
    page.locator("#plane").get_by_text("Coronal").click()
    expect(page.locator("#caption")).to_contain_text("coronal slice 65 of 128")
    expect(page.locator("#viewer [data-tool=box]")).to_be_disabled()
    page.locator("#viewer .cs-stage").focus()
    page.keyboard.press("PageDown")
    expect(page.locator("#caption")).to_contain_text("coronal slice 66 of 128")
    expect(page.locator("#frame input[type=number]")).to_have_value("66")
    expect(page.locator("#viewer .cs-stage")).to_be_focused()
    page.keyboard.press("+")
    page.keyboard.press("+")
    expect(page.locator("#viewer .cs-scale span")).to_have_text("1 cm")
    page.locator("#center input[type=number]").fill("0.2")
    page.locator("#center input[type=number]").press("Enter")
    expect(page.locator("#caption")).to_contain_text("window center 0.2")
    expect(page.locator("#caption")).to_contain_text("models see the file's own window")


def test_a_region_is_drawn_moved_asked_about_and_the_question_asked_again(page, images):
    drop(page, images / "scan")
    page.locator("#viewer [data-tool=box]").click()
    stage = page.locator("#viewer .cs-stage").bounding_box()
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=3)
    page.mouse.up()
    expect(page.locator("#regions")).to_contain_text("at 128, 128")
    page.locator("#viewer .cs-region").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#regions")).to_contain_text("at 133, 128")
    page.locator("#viewer [data-tool=point]").click()
    page.locator("#viewer .cs-stage").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#regions")).to_contain_text("Region 2: around the point 128, 128")
    page.locator("#viewer .cs-region").nth(1).focus()
    page.keyboard.press("Delete")
    expect(page.locator("#viewer .cs-region")).to_have_count(1)
    ask(page, "What is this?", "benign, malignant, normal")
    expect(page.locator("#panel [data-moved]")).to_be_visible()
    page.locator("#panel [data-without]").first.click()
    expect(page.locator("#whatif")).to_contain_text("without breast ultrasound small cnn")
    expect(page.locator("#whatif")).to_contain_text("The answer changes from malignant to benign.")
    page.locator("#viewer [data-tool=clear]").click()
    expect(page.locator("#viewer .cs-region")).to_have_count(0)


def test_before_and_after_a_heat_map_and_several_left_out_by_keyboard(page, images):
    drop(page, images / "scan")
    expect(page.locator("#viewer svg")).to_be_visible()
    ask(page, "Please enhance it")
    slider = page.locator("#viewer [data-compare]")
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#viewer .cs-cut")).to_have_attribute("x", "0")
    page.keyboard.press("End")
    expect(page.locator("#viewer .cs-cut")).to_have_attribute("x", "256")
    page.locator("#viewer [data-toggle^=after]").focus()
    page.keyboard.press("Space")
    expect(page.locator("#viewer [data-layer^=after]")).to_be_hidden()
    page.locator("#panel [data-where]").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#viewer [data-layer^=heat]")).to_have_count(1)
    expect(page.locator("#whatif")).to_contain_text("not where a disease is")
    expect(page.locator("#viewer [data-layer^=after]")).to_be_hidden()
    page.locator("#panel .cs-several summary").focus()
    page.keyboard.press("Enter")
    for name in ("breast_ultrasound_residual", "similar_cases"):
        page.locator(f"#panel [data-leave={name}]").focus()
        page.keyboard.press("Space")
    page.locator("#panel [data-several]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#whatif h3")).to_have_text("What if: without breast ultrasound residual and similar cases")


def test_a_token_changes_only_the_message_that_it_belongs_to(page, gate):
    page.get_by_role("button", name="Drawn ultrasound").click()
    expect(page.locator("#viewer svg")).to_be_visible()
    ask(page, "First, what is it?")
    expect(page.locator("#panel .cs-trace")).to_be_visible()
    ask(page, "Tell slowly, what is it?")
    expect(page.locator("#chat .message-row")).to_have_count(4)
    expect(page.locator("#chat .message-row").last).to_contain_text("The image is a")  # its question's changes are over
    page.evaluate("""() => { window.touched = new Set(); new MutationObserver((all) => all.forEach((one) => {
      const row = (one.target.closest ?? one.target.parentElement.closest).call(one.target.closest ? one.target :
        one.target.parentElement, ".message-row"); if (row) window.touched.add(row); }))
      .observe(document.querySelector("#chat"), { subtree: true, childList: true, characterData: true }); }""")
    gate.touch()
    expect(page.locator("#stop")).to_be_disabled()
    rows = page.evaluate("[...document.querySelectorAll('#chat .message-row')].map((row) => window.touched.has(row))")
    assert rows[-1]
    assert not any(rows[:2])


def test_the_look_is_chosen_in_the_drawer_and_stays(page):
    page.locator("#settings .toggle-button").click()
    page.locator("#look").get_by_text("Dark").click()
    dark = re.compile(r"(^|\s)dark(\s|$)")
    expect(page.locator("body")).to_have_class(dark)
    page.reload()
    page.wait_for_selector("#ask")
    expect(page.locator("body")).to_have_class(dark)


def test_keys_reach_question_and_stop(page, gate):
    page.get_by_role("button", name="Drawn ultrasound").click()
    expect(page.locator("#viewer svg")).to_be_visible()
    page.locator("#viewer .cs-stage").focus()
    page.keyboard.press("/")
    expect(page.locator("#question textarea")).to_be_focused()
    page.keyboard.type("Tell slowly")
    page.keyboard.press("Enter")
    expect(page.locator("#chat")).to_contain_text("The image is a")
    page.keyboard.press("Escape")
    expect(page.locator("#chat .cs-note")).to_have_text("Stopped.")


def test_several_images_are_chosen_by_name(page, images):
    drop(page, images / "scan", images / "head.nii")
    page.locator("#which").get_by_text("head.nii").click()
    expect(page.locator("#caption")).to_contain_text("NIfTI")


def test_two_visitors_see_nothing_of_each_other(page, browser, address):
    page.get_by_role("button", name="Drawn ultrasound").click()
    expect(page.locator("#viewer svg")).to_be_visible()
    ask(page, "My secret question")
    expect(page.locator("#panel .cs-trace")).to_be_visible()
    context = browser.new_context()
    other = context.new_page()
    other.goto(address)
    other.wait_for_selector("#ask")
    assert "secret" not in other.inner_text("body")
    ask(other, "What is it?")
    expect(other.locator("#chat .cs-error")).to_contain_text("Got no image")
    context.close()


@pytest.mark.parametrize("look", ["Light", "Dark"])
def test_axe_finds_nothing_serious(page, look):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page.locator("#chat .examples[role=group]").wait_for()
    if look == "Dark":
        page.evaluate("document.body.classList.add('dark')")
        page.wait_for_timeout(500)  # colors are on their way
    found = axe.run(page).response["violations"]
    page.get_by_role("button", name="Drawn ultrasound").click()
    page.locator("#viewer [data-tool=box]").click()
    page.locator("#viewer .cs-stage").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#viewer .cs-region")).to_have_count(1)
    ask(page, "Please enhance it")
    expect(page.locator("#panel .cs-trace")).to_be_visible()
    page.locator("#chat .title .arrow[inert]").wait_for()
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    page.locator("#panel .cs-several summary").click()
    page.locator("#panel [data-where]").first.click()
    expect(page.locator("#viewer [data-layer^=heat]")).to_have_count(1)
    if look == "Dark":
        page.evaluate("document.body.classList.add('dark')")
    page.evaluate("""Promise.allSettled(document.getAnimations()
        .filter(one => one.effect.getComputedTiming().iterations < 99).map(one => one.finished))""")
    found += axe.run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["target"]) for one in found if one["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_as_wide_as_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_role("button", name="Drawn ultrasound").click()
    expect(page.locator("#viewer svg")).to_be_visible()
    ask(page, "What is it?")
    expect(page.locator("#panel .cs-trace")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert re.search("Research use only", page.inner_text("body"))
