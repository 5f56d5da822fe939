"""The parts of docs/gsco.md: what results/gsco.json and its neighbors say, as lists and tables. It measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
Table = Callable[[Sequence[str], Sequence[Sequence[object]]], str]

NONE = "Not measured yet.\n"
CONTROLS = ("blank", "noise", "shuffled", "flipped", "text-only")
SHOWN = ("gsco", "generalist", "best_specialist", "majority", "knn")
"""Arms of a condition that are shown."""

MEASURES: Mapping[str, Mapping[str, str]] = {
    "image_kind": {"device": "device", "organ": "organ"},
    "grounding": {"f1": "F1, one to one at IoU 0.5", "recall_any": "recall at IoU 0.5", "precision": "precision",
                  "absence": "\"not there\" said rightly"},
    "dialogue": {"mbmr": "mean of BLEU, METEOR stand-in and ROUGE-L", "follow_up": "follow-up question right"},
    "vqa": {"closed_accuracy": "closed, accuracy", "open_recall": "open, recall of words"},
    "findings": {"hallucination": "denied finding named (lower is better)", "label_recall": "recall of labels"},
    "reports": {"label_f1": "F1 of labels", "has_form": "findings and impression",
                "hallucination": "denied finding named (lower is better)"},
    "comparison": {"accuracy": "accuracy", "same": "the same finding?", "which": "which of two?",
                   "count": "which has more?"},
    "tool_use": {"right": "right in all", "valid": "calls that are valid", "right_tool": "right tool",
                 "right_arguments": "right arguments", "abstained": "rightly no call",
                 "form: never_seen": "tool never seen, right in all"},
    "ordinal": {"kappa": "quadratic kappa", "within_one": "within one level"}}
"""Measures of a task that are shown, in words; the headline goes first."""


def words(results: Results) -> str:
    """Return what the figures say, a line each."""
    return "".join(f"- {line}\n" for line in results.get("gsco", {}).get("words", ())) or NONE


def sets(results: Results, table: Table) -> str:
    """Return macro-F1 of every arm on every set, with the interval of GSCo."""
    found = results.get("gsco")
    if not found:
        return NONE
    arms = list(found["mean"])
    rows = [(name, found["sets"][name]["n"], *(_f1(row.get(arm)) for arm in arms), _interval(row.get("gsco")))
            for name, row in found["datasets"].items()]
    rows += [(words, "", *(_f1(found[key].get(arm)) for arm in arms), _interval(found[key].get("gsco")))
             for key, words in (("mean", "**mean**"), ("mean_in_domain", "mean, in domain"),
                                ("mean_out_of_domain", "mean, out of domain"),
                                ("mean_patients_known", "mean of sets with patient ids")) if found.get(key)]
    return table(["set", "n", *(arm.replace("_", " ") for arm in arms), "GSCo, 95 %"], rows)


def versions(results: Results, table: Table) -> str:
    """Return generalist alone and GSCo of v0 beside those of v1.3, by set, with intervals."""
    now, before = results.get("gsco"), results.get("gsco-v0")
    if not now or not before:
        return NONE
    rows = [(name, *(cell for arm in ("generalist", "gsco") for found in (before, now)
                     for cell in (_f1(found["datasets"].get(name, {}).get(arm)),
                                  _interval(found["datasets"].get(name, {}).get(arm))))) for name in now["datasets"]]
    rows.append(("**mean**", *(cell for arm in ("generalist", "gsco") for found in (before, now)
                               for cell in (_f1(found["mean"].get(arm)), _interval(found["mean"].get(arm))))))
    return table(["set", "v0 alone", "95 %", "v1.3 alone", "95 %", "GSCo, v0", "95 %", "GSCo, v1.3", "95 %"], rows)


def conditions(results: Results, table: Table) -> str:
    """Return the means under each condition, and how far GSCo is from its natural self."""
    found = results.get("gsco", {}).get("conditions")
    if not found:
        return NONE
    rows = []
    for name, row in found.items():
        gsco = row["mean"]["gsco"]
        rows.append((name, row["what"], *(_f1(row["mean"].get(arm)) for arm in SHOWN), _number(gsco["minus_natural"]),
                     _range(gsco["minus_natural_ci95"])))
    return table(["condition", "what", *(arm.replace("_", " ") for arm in SHOWN), "GSCo less natural", "95 %"], rows)


def controls(results: Results, table: Table) -> str:
    """Return the means of generalist and GSCo when the generalist sees something else than the image."""
    natural = results.get("gsco")
    if not natural:
        return NONE
    beside = {"the image": natural} | {name: results[f"control-{name}"] for name in CONTROLS
                                       if f"control-{name}" in results}
    rows = [(name, *(cell for arm in ("generalist", "gsco") for cell in (_f1(value["mean"][arm]),
                                                                          _interval(value["mean"][arm]))))
            for name, value in beside.items()]
    return table(["the generalist sees", "generalist", "95 %", "GSCo", "95 %"], rows)


def knowing(results: Results, table: Table) -> str:
    """Return calibration and risk by set, and pooled."""
    found = results.get("gsco", {}).get("knowing")
    if not found:
        return NONE
    pooled, mean = found["pooled"], found["mean"]
    rows = [(name, row["n"], _number(row["error"]), _number(row["error_at_coverage"]), _number(row["ece"]),
             _number(row["brier"])) for name, row in found["sets"].items()]
    rows.append(("**pooled** (errors: mean of sets)", pooled["n"], _number(mean["error"]),
                 _number(mean["error_at_coverage"]), f"{_number(pooled['ece'])} ({_range(pooled['ci95'])})",
                 _number(pooled["brier"])))
    head = ["set", "n", "error", f"error at {mean['coverage']:.0%} coverage", "calibration error", "Brier"]
    return table(head, rows)


def published(results: Results, table: Table) -> str:
    """Return what the paper tells of trust in evidence, beside what is measured here."""
    found = results.get("gsco")
    if not found or "forced" not in found.get("conditions", {}):
        return NONE
    conflict, everywhere = found["trust"]["conflict"], found["trust"]["natural"]
    still = found["conditions"]["forced"]["still_found"]["gsco"]
    told = {("right alone, and still with evidence that says otherwise", "94.5 % (PCam200)"): conflict["uphold"],
            ("right alone, and still with whatever evidence", ""): everywhere["uphold"],
            ("wrong alone, and right with evidence that is right", "81.0 % (PneumoniaMNIST)"): conflict["correction"],
            ("diseases still found when all specialists say \"normal\"", "67.6 % (PCam200)"): still}
    return table(["share of cases", "published", "here"], [(*words, _share(rate)) for words, rate in told.items()])


def tasks(results: Results, table: Table) -> str:
    """Return what the tasks measure: v0, v1.3, one that guesses and one that copies the majority."""
    found, before = results.get("tasks"), results.get("tasks-v0")
    if not found:
        return NONE
    rows = []
    for name, task in found["tasks"].items():
        old = before["tasks"].get(name, {}).get("answerers", {}) if before else {}
        several = (old.get("alone"), *(task["answerers"].get(who) for who in ("alone", "random", "majority")))
        for measure, words in {task["headline"]: "", **MEASURES.get(name, {}), "unread": "not read"}.items():
            then, alone, guess, most = (_measured(row, measure) for row in several)
            values = [_number(row.get("value")) for row in (then, alone, guess, most)]
            values.insert(2, _range(alone.get("ci95")))
            rows.append((name, words or spoken(measure), alone.get("n", ""), *values))
    return table(["task", "measure", "n", "v0", "v1.3", "95 %", "at random", "majority"], rows)


def _measured(row: Mapping[str, Any] | None, measure: str) -> Mapping[str, Any]:
    """Return value, interval and count of a measure; "form: NAME" is the share of right answers of one form."""
    if measure.startswith("form: "):
        form = (row or {}).get("by_form", {}).get(measure.removeprefix("form: ")) or {}
        return {"n": form.get("n", ""), "value": form.get("right")}
    return (row or {}).get(measure) or {}


def _share(rate: Mapping[str, Any]) -> str:
    return "" if rate["rate"] is None else f"{100 * rate['rate']:.1f} % of {rate['n']}"


def _f1(row: Mapping[str, Any] | None) -> str:
    return _number((row or {}).get("macro_f1"))


def _interval(row: Mapping[str, Any] | None) -> str:
    return _range((row or {}).get("ci95"))


def spoken(measure: str) -> str:
    """Return the name of a measure in words."""
    return measure.replace("_", " ")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _range(pair: Sequence[float | None] | None) -> str:
    low, high = pair or (None, None)
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
