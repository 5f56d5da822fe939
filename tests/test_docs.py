"""The documents say the truth: links lead somewhere, tables equal the code, commands exist, code runs."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
RUN = re.compile(r"<!-- run -->\n```python\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
NANO = ROOT / "assistant/generalist/nano/config.json"


@pytest.fixture(scope="module")
def make_tables():
    """Return docs/make_tables.py as a module."""
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs/make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(paths):
    """Return the names of documents, for the test's id."""
    return [path.relative_to(ROOT).as_posix() for path in paths]


@pytest.mark.parametrize("path", DOCUMENTS, ids=named(DOCUMENTS))
def test_links_lead_somewhere(path):
    text = path.read_text()
    broken = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        if not found.exists() or (anchor and anchor not in anchors(found.read_text())):
            broken.append(target)
    assert not broken


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_generated_parts_equal_the_code(make_tables):
    stale = [path.name for path in make_tables.documents()
             if make_tables.renewed(path.read_text()) != path.read_text()]
    assert not stale, f"run `make docs`: {stale}"


def test_a_part_that_nobody_makes_is_an_error(make_tables):
    with pytest.raises(KeyError):
        make_tables.renewed("<!-- generated: nothing -->\n<!-- end: nothing -->")


def test_tables_of_results(make_tables, tmp_path, monkeypatch):
    scores = {"n": 5, "accuracy": 0.8, "macro_f1": 0.75, "ci95": [0.6, 0.9], "brier": 0.3}
    result = {"datasets": {"brain": {"gsco": scores}}, "pooled": {"gsco": {"ece": 0.05}},
              "mean": {"gsco": {"macro_f1": 0.75, "ci95": [None, None]}},
              "triage": {"n": 9, "accuracy": 0.98765},
              "paired": {"gsco-knn": {"mean_difference": 0.1, "ci95": [0.02, 0.2]}},
              "settings": {"split": "test", "command": "consilium evaluate", "commit": "abc"}}
    (tmp_path / "results").mkdir()
    (tmp_path / "results/all.json").write_text(json.dumps(result))
    result["settings"]["control"] = "blank"
    (tmp_path / "results/blank.json").write_text(json.dumps(result))
    (tmp_path / "results/speed.json").write_text('{"seconds": 1.23456}')
    monkeypatch.setattr(make_tables, "ROOT", tmp_path)
    assert "| gsco | 0.750 |  | 0.050 |" in make_tables.headline()
    assert "blank" not in make_tables.headline()
    assert "| gsco | 5 | 0.800 | 0.750 | 0.600 to 0.900 | 0.300 |" in make_tables.results()
    assert "| gsco-knn | 0.100 | 0.020 to 0.200 |" in make_tables.results()
    assert "| `all` | test | 9 | 0.988 |" in make_tables.triage()
    assert "| seconds | 1.235 |" in make_tables.claims()


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    spoken = {name for path in DOCUMENTS
              for name in re.findall(r"(?:`|^)make ([a-z]+)", path.read_text(), re.MULTILINE)}
    assert spoken <= targets
    assert len(targets) <= 10


def test_commands_exist():
    printed = subprocess.run([sys.executable, "-m", "assistant", "--help"], cwd=ROOT, capture_output=True,
                             text=True, timeout=60, check=True).stdout
    spoken = {verb for path in DOCUMENTS
              for verb in re.findall(r"(?:`|^)consilium ([a-z]+)", path.read_text(), re.MULTILINE)}
    missing = {verb for verb in spoken if not re.search(rf"\b{verb}\b", printed)}
    assert not missing, f"the documents speak of commands that --help does not know: {missing}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named(DOCUMENTS))
def test_python_compiles(path):
    blocks = PYTHON.findall(path.read_text())
    assert all(compile(block, path.name, "exec") for block in blocks)


def test_first_screen():
    lines = (ROOT / "README.md").read_text().splitlines()
    opened = lines.index("```python")
    output = lines.index("<!-- end: example -->")
    assert output < 30, f"the example's output ends on line {output + 1}, wanted before line 30"
    assert lines.index("```", opened) - opened - 1 <= 8
    assert sum("not a medical device" in line for line in lines) == 1


@pytest.mark.skipif(not NANO.is_file(), reason="needs the weights of the embedded generalist")
def test_the_example_prints_what_the_readme_says(make_tables):
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"<!-- generated: example -->\n(.*?)<!-- end", readme, re.DOTALL)
    assert shown is not None
    assert shown[1], "run `make docs`"
    printed = make_tables.example_output()
    assert NUMBER.sub("N", printed) == NUMBER.sub("N", shown[1])
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(shown[1]), strict=True)
    assert all(abs(float(a) - float(b)) <= 3 for a, b in pairs)  # percent


BLOCKS = [(path, code) for path in DOCUMENTS if path.name != "README.md"
          for code in RUN.findall(path.read_text())]


@pytest.mark.parametrize(("path", "code"), BLOCKS, ids=named(path for path, _ in BLOCKS))
def test_marked_code_runs(path, code, tmp_path):
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{path.name}: {done.stderr}"
