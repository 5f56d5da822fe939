"""The page to look at a sample: self-contained, escaped, spread over the kinds, and alive in a real browser."""

from __future__ import annotations

import json
import re
import webbrowser
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from instruct_data.records import Record, write
from instruct_data.show import Show, run_show, sample, show
from specialists.core.errors import BadData
from tests.instruct_data.made_records import made

EVIL = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def records() -> list[Record]:
    """Return records of three kinds and two sets, one with markup in every text."""
    found = [made("Where is the polyp?", "The polyp: {boxes:0}", "What is in {region:1}?", "A stent.", name=f"g{n}",
                  facts=["present: polyp"]) for n in range(30)]
    found += [made("Is it?", "No.", kind="presence", dataset="other", name=f"p{n}", image="lost.png") for n in range(3)]
    call = {"id": "c", "type": "function", "function": {"name": "expert", "arguments": {"region": "all"}}}
    tools = made("Ask.", "x", kind="tool_use", name="t", images=(), sizes=(), boxes=(),
                 tools=({"type": "function", "function": {"name": "expert"}},))
    messages = (*tools.messages[:2], {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "name": "expert", "content": "glioma 80"})
    found.append(replace(tools, messages=messages))
    found.append(made(EVIL, f"{EVIL} {{boxes:0}} {{boxes:9}}", kind="evil", name=EVIL, facts=[EVIL], source=EVIL,
                      modality=EVIL))
    return found


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Write the records and the image of most of them; the data folder is beside."""
    (tmp_path / "data/colon/images").mkdir(parents=True)
    Image.new("RGB", (800, 600), (120, 40, 40)).save(tmp_path / "data/colon/images/1.png")
    write(records(), tmp_path / "out/records-00000.jsonl")
    return tmp_path / "out"


def data_of(page: Path) -> dict:
    text = page.read_text()
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[0])


def test_a_sample_is_spread_over_kinds_and_seeded(built: Path) -> None:
    total, chosen = sample(built, 8, 0)
    assert (total, len(chosen)) == (35, 8)
    assert Counter(r.kind for r in chosen) == {"visual_grounding": 3, "presence": 3, "tool_use": 1, "evil": 1}
    assert sample(built, 8, 0)[1] == chosen != sample(built, 8, 1)[1]
    assert {r.kind for r in sample(built, 8, 0, ["presence"])[1]} == {"presence"}
    assert len(sample(built, 100, 0)[1]) == 35
    with pytest.raises(BadData, match="consilium data build"):
        sample(built / "nothing", 1, 0)


def test_the_page_loads_nothing_and_escapes_all(built: Path) -> None:
    page = built / "page.html"
    assert show(built, built.parent / "data", page, 35) == 35
    text = page.read_text()
    assert "onerror=" not in re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL)
    assert text.count("<script") == text.count("</script>") == 2
    assert not re.findall(r"(?:src|href)=\"?https?:", text)
    assert "default-src 'none'" in text
    assert "innerHTML" not in text
    assert "patient-77" not in text
    shown = {r["id"]: r for r in data_of(page)["records"]}
    assert shown[EVIL]["turns"][1]["text"] == EVIL
    assert shown["g0"]["images"][0]["url"].startswith("data:image/jpeg;base64,")
    assert "--data" in shown["p0"]["images"][0]["why"]
    assert shown["t"]["turns"][2]["calls"] == ['expert({"region": "all"})']


def test_the_command_opens_the_page_unless_told_not_to(built: Path, monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert run_show(Show(built, count=4, open=False)) == 0
    assert not opened
    assert run_show(Show(built, out=built / "mine.html", count=4)) == 0
    assert opened == [(built / "mine.html").resolve().as_uri()]
    assert "4 conversations in" in capsys.readouterr().out


@pytest.mark.browser
def test_the_page_in_a_browser(built: Path, chromium: str) -> None:
    page_file = built / "page.html"
    show(built, built.parent / "data", page_file, 35)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(page_file.as_uri())
        page.select_option("#kind", "evil")
        assert page.locator("nav button").count() == 1
        assert EVIL in page.locator(".turn.user").inner_text()
        assert "points nowhere" in page.locator(".turn.assistant").inner_text()
        assert page.title() == "Conversations"
        page.select_option("#kind", "visual_grounding")
        assert page.locator(".picture rect").count() == 2
        assert page.locator(".picture text").all_text_contents() == ["polyp", "stent"]
        picture, drawn = (page.locator(where).first.bounding_box() for where in (".picture img", ".picture rect"))
        assert picture
        assert drawn
        assert (drawn["x"] - picture["x"]) / picture["width"] == pytest.approx(0.1, abs=0.02)
        assert drawn["width"] / picture["width"] == pytest.approx(0.3, abs=0.02)
        assert "polyp [100 200 400 600]" in page.locator(".turn.assistant").first.inner_text()
        page.locator(".box").first.hover()
        assert page.locator(".picture g.hot").count() == 1
        page.evaluate("document.activeElement.blur()")
        for key in ("1", "j", "g"):
            page.keyboard.press(key)
        assert "2 judged, 1 with faults" in page.locator("#tally").inner_text()
        page.reload()
        assert "2 judged, 1 with faults" in page.locator("#tally").inner_text()
        with page.expect_download() as saved:
            page.click("#export")
        judged = json.loads(Path(saved.value.path()).read_text())["judged"]
        assert sorted(j["faults"] for j in judged.values()) == [[], ["box"]]
        assert not faults
        browser.close()
