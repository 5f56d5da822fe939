"""Writes the parts of the documents that a program can print: tables, help, the output of the README's code.

A part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; all other text is left alone. It
measures nothing: figures are read from results/*.json and from the cards of the weights.

    python docs/make_tables.py            write the tables
    python docs/make_tables.py --check    say which part is out of date, and fail
    python docs/make_tables.py --run      also run the README's example and write its output
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from docs import evaluation_tables as gsco  # noqa: E402  (the checkout, not an installed copy)
from instruct_data.mix import KINDS  # noqa: E402
from specialists import catalog  # noqa: E402

PART = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- end: (?P=name) -->)",
                  re.DOTALL)
EXAMPLE = re.compile(r"<!-- run -->\n```python\n(?P<code>.*?)```", re.DOTALL)
Plain = str | int | float
"""What stands in a cell of a table as it is."""


def documents() -> list[Path]:
    """Return the documents that may hold generated parts."""
    return [ROOT / "README.md", ROOT / "LICENSE-WEIGHTS", *sorted((ROOT / "docs").glob("*.md"))]


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def methods() -> str:
    """Return the table task -> methods of the catalog."""
    rows = [(f"[`{task}`](specialists/{task})", catalog.TASKS[task],
             "<br>".join(f"[`{name}`](specialists/{task}/{name}.py) {line}" for name, line in named.items()))
            for task, named in catalog.METHODS.items()]
    return table(["task", "asks", "methods"], rows)


def kinds() -> str:
    """Return the kinds of conversation of instruction data."""
    return table(["kind of conversation", "what it teaches"],
                 [(f"[`{name}`](../instruct_data/kinds/{name}.py)", kind.what) for name, kind in KINDS.items()])


def cards() -> list[dict[str, Any]]:
    """Return the cards that ship, by name."""
    return [json.loads(path.read_text()) for path in sorted((ROOT / "specialists/weights").glob("*.json"))]


def specialists() -> str:
    """Return the table of the trained specialists that ship."""
    if not (shipped := cards()):
        return "No trained specialist is in this checkout.\n"
    rows = [(f"`{card['name']}`", card["method"], ", ".join(card["kinds"]), len(card["labels"]),
             _figure(card, "val"), _figure(card, "test"), f"{card['weights']['bytes'] / 1e6:.2f}")
            for card in shipped]
    head = ["specialist", "method", "kinds of image", "labels", "val", "test", "MB"]
    return table(head, rows)


def weights() -> str:
    """Return the table of shipped weights with the sets they were trained on and the license they inherit."""
    if not (shipped := cards()):
        return "No weights are in this checkout.\n"
    rows = [(f"`{card['name']}`", ", ".join(str(part["set"]) for part in card["data"]), card["license"])
            for card in shipped]
    return table(["weights", "trained on", "license inherited"], rows)


def _figure(card: Mapping[str, Any], split: str) -> str:
    figures = (card.get("figures") or {}).get(split) or {}
    named = (("macro_f1", "F1"), ("dice", "Dice"), ("accuracy", "accuracy"))
    return next((f"{words} {figures[key]:.3f}" for key, words in named if figures.get(key) is not None), "")


def committed() -> dict[str, dict[str, Any]]:
    """Return the files of results, by their stem."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))}


def evaluations() -> dict[str, dict[str, Any]]:
    """Return the committed files of `consilium evaluate`, by their stem."""
    return {stem: value for stem, value in committed().items()
            if value.get("datasets") and not value["settings"].get("control")}


def headline() -> str:
    """Return the mean of every arm of what ships on test; controls and other models stand in the results alone."""
    parts = [f"`results/{stem}.json`, mean over {_averaged(value)} sets:\n\n{_means(value)}"
             for stem, value in evaluations().items() if _is_plain_test(value.get("settings", {}))]
    return "\n".join(parts) or "No figure is committed yet.\n"


def _averaged(value: Mapping[str, Any]) -> int:
    """Return how many sets a mean is over: one that no specialist serves enters none."""
    return max(mean.get("sets", len(value["datasets"])) for mean in value["mean"].values())


def _is_plain_test(settings: Mapping[str, Any]) -> bool:
    changed = settings.get("shuffle_evidence") or settings.get("control") or settings.get("limit") or \
        " --model " in settings.get("command", "")
    return settings.get("split") == "test" and not changed


def number(value: float | None) -> str:
    """Return a figure with three places; an empty cell where there is none."""
    return "" if value is None else f"{value:.3f}"


def interval(low_high: Sequence[float | None] | None) -> str:
    """Return an interval as `low to high`."""
    low, high = low_high or (None, None)
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def spoken(arm: str) -> str:
    """Return the name of an arm as it stands in a table."""
    return arm.replace("_", " ")


def _means(value: Mapping[str, Any]) -> str:
    pooled = value.get("pooled", {})
    rows = [(spoken(arm), number(mean["macro_f1"]), interval(mean.get("ci95")),
             number(pooled.get(arm, {}).get("ece"))) for arm, mean in value["mean"].items()]
    return table(["arm", "macro-F1", "95 %", "calibration error"], rows)


def results() -> str:
    """Return every evaluation in full: its command, a table a set, the means, the paired differences."""
    parts = []
    for stem, value in evaluations().items():
        settings = value.get("settings", {})
        parts.append(f"### {stem}\n\n`{settings.get('command', '')}`, commit `{settings.get('commit')}`\n")
        for name, arms in value["datasets"].items():
            rows = [(spoken(arm), row["n"], number(row["accuracy"]), number(row["macro_f1"]),
                     interval(row["ci95"]), number(row["brier"])) for arm, row in arms.items()]
            head = ["arm", "n", "accuracy", "macro-F1", "95 %", "Brier"]
            parts.append(f"#### {stem}: {name}\n\n{table(head, rows)}")
        parts.append(f"#### {stem}: mean over the sets\n\n{_means(value)}")
        if value.get("paired"):
            rows = [(spoken(pair), number(row["mean_difference"]), interval(row["ci95"]))
                    for pair, row in value["paired"].items()]
            head = ["macro-F1 of one less the other", "mean difference", "95 %"]
            parts.append(f"#### {stem}: paired differences\n\n{table(head, rows)}")
    return "\n".join(parts) or "No evaluation is committed yet.\n"


def triage() -> str:
    """Return how often the kind of image is recognized, a row a result."""
    rows = [(f"`{stem}`", value["settings"]["split"], told["n"], number(told["accuracy"]))
            for stem, value in committed().items() if (told := value.get("triage"))]
    return table(["result", "split", "n", "right"], rows) if rows else "Not measured yet.\n"


def claims() -> str:
    """Return the other results, a file each: their own sentences, or else their figures."""
    parts = []
    for stem, value in committed().items():
        if "settings" in value or not isinstance(value, dict):
            continue
        of = {} if "claim" in value else {key: item for key, item in value.items() if isinstance(item, Mapping)}
        flat = {key: item for key, item in of.items() if all(isinstance(x, Plain) for x in item.values())}
        rows = [(spoken(key), plain(item)) for key, item in value.items() if isinstance(item, Plain)]
        rows += [(f"{spoken(key)}: {spoken(name)}", plain(x)) for key, item in flat.items() for name, x in item.items()]
        parts.append(f"### {stem}\n\n" + table(["what", "value"], rows))
        parts += [_crossed(key, item) for key, item in of.items() if key not in flat]
        if listed := value.get("rows"):
            parts.append(table(list(map(spoken, listed[0])), [[plain(x) for x in row.values()] for row in listed]))
    return "\n".join(filter(None, parts)) or "No other result is committed yet.\n"


def _crossed(name: str, value: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of figures that have two names each; empty where they have more."""
    rows = [(spoken(key), *map(plain, row.values())) for key, row in value.items()
            if all(isinstance(x, Plain) for x in row.values())]
    return table([spoken(name), *map(spoken, next(iter(value.values())))], rows) if rows else ""


def plain(item: object) -> object:
    """Return a figure with four digits that count."""
    return f"{item:.4g}" if isinstance(item, float) else item


def trust() -> str:
    """Return the figures of every specialist on test, with calibration and refusals, as `evaluate` measured them."""
    found = committed().get("specialists", {}).get("specialists")
    if not found:
        return "Not measured yet.\n"
    rows = []
    for name, row in found.items():
        test, scope = row["test"], row.get("scope") or {}
        keys = (("macro_f1", "F1"), ("kappa", "kappa"), ("dice", "Dice"), ("ap50", "AP50"), ("accuracy", "accuracy"))
        told = next((f"{words} {test[key]:.3f}" for key, words in keys if test.get(key) is not None), "")
        shares = ["" if scope.get(key) is None else f"{100 * scope[key]:.1f} %" for key in ("kept", "refused")]
        rows.append((f"`{name}`", test.get("n", ""), told, interval(test.get("ci95")), number(test.get("auroc")),
                     number(test.get("ece")), *shares))
    return table(["specialist", "n", "test", "95 %", "AUROC", "calibration error", "own images kept",
                  "other kinds refused"], rows)


def yardsticks() -> str:
    """Return macro-F1 of the specialists beside simple classifiers on the same splits, then published figures."""
    found = committed().get("specialists", {}).get("yardsticks")
    if not found:
        return "Not measured yet.\n"
    arms = [arm for arm in next(iter(found["sets"].values()), {}) if arm != "patients"]
    rows = [(name, *(number(row[arm]["macro_f1"]) for arm in arms)) for name, row in found["sets"].items()]
    for key, words in (("mean", "mean"), ("mean_with_patients", "mean of sets with patients")):
        rows += [(words, *(number(found[key].get(arm)) for arm in arms))] if found.get(key) else []
    beside = [(row["what"], number(row["accuracy"]), number(row["ours"]), row["note"], row["source"])
              for row in found.get("published", ())]
    head = ["published", "accuracy", "our trio", "difference", "source"]
    return table(["macro-F1 on test", *arms], rows) + (f"\n{table(head, beside)}" if beside else "")


def command_help() -> str:
    """Return what `consilium --help` prints."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, "-m", "assistant", "--help"], cwd=ROOT, env=environment,
                          capture_output=True, text=True, check=True, timeout=60)
    lines = [line.rstrip() for line in done.stdout.strip().splitlines()]
    return "```\n" + "\n".join(lines) + "\n```\n"


def example_output() -> str:
    """Return what the README's example prints; it loads the real weights."""
    found = EXAMPLE.search((ROOT / "README.md").read_text())
    if not found:
        raise SystemExit("README.md has no python block after <!-- run -->.")
    done = subprocess.run([sys.executable, "-c", found["code"]], cwd=ROOT, capture_output=True, text=True,
                          timeout=600)
    if done.returncode:
        raise SystemExit(f"The README's example failed:\n{done.stderr}")
    return f"```\n{done.stdout.strip()}\n```\n"


PARTS: dict[str, Callable[[], str]] = {
    "methods": methods, "kinds": kinds, "specialists": specialists, "weights": weights, "headline": headline,
    "results": results, "triage": triage, "trust": trust, "yardsticks": yardsticks, "claims": claims,
    "help": command_help,
    "gsco-words": lambda: gsco.words(committed()), "gsco-sets": lambda: gsco.sets(committed(), table),
    "gsco-versions": lambda: gsco.versions(committed(), table),
    "gsco-conditions": lambda: gsco.conditions(committed(), table),
    "gsco-controls": lambda: gsco.controls(committed(), table),
    "gsco-knowing": lambda: gsco.knowing(committed(), table), "gsco-tasks": lambda: gsco.tasks(committed(), table),
    "gsco-published": lambda: gsco.published(committed(), table),
}
RUN_PARTS: dict[str, Callable[[], str]] = {"example": example_output}


def renewed(text: str, run: bool = False) -> str:
    """Return a document with its generated parts made anew; raises KeyError for a name nobody makes."""
    def replace(found: re.Match[str]) -> str:
        name = found["name"]
        if name in RUN_PARTS and not run:
            return found[0]
        return found[1] + (PARTS | RUN_PARTS)[name]() + found[4]
    return PART.sub(replace, text)


def main(arguments: Sequence[str]) -> int:
    """Write, or with --check compare; return the exit status."""
    if unknown := set(arguments) - {"--check", "--run"}:
        print(f"Unknown: {' '.join(sorted(unknown))}. Known: --check, --run.", file=sys.stderr)
        return 2
    stale = []
    for path in documents():
        before = path.read_text()
        after = renewed(before, run="--run" in arguments)
        if after == before:
            continue
        stale.append(path.relative_to(ROOT))
        if "--check" not in arguments:
            path.write_text(after)
    checking = "--check" in arguments
    for path in stale:
        print(f"{path}: " + ("generated parts are out of date, run `make docs`" if checking else "written"))
    return int(bool(stale) and checking)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
