"""The figures in words: where collaboration helps, where it does not, and by how much; it computes no figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {"generalist": "the generalist alone", "rad": "the generalist with similar cases",
         "moed": "the generalist with specialists", "gsco_published": "GSCo as published",
         "best_specialist": "the best specialist", "majority": "the majority of specialists",
         "mean_probability": "the specialists' mean probability", "knn": "the vote of similar cases",
         "arbiter": "the arbiter"}
MEANS = {"mean": "all sets", "mean_in_domain": "sets that the generalist was taught",
         "mean_out_of_domain": "sets that it was never taught", "mean_patients_known": "sets with patient ids"}
RATES = {"copy": "says what the specialists' mean says", "uphold": "stays right where it was right alone",
         "correction": "becomes right where it was wrong alone and the evidence right",
         "harm": "was right alone and is wrong with evidence", "gain": "was wrong alone and is right with evidence"}


def told(result: Mapping[str, Any]) -> list[str]:
    """Return sentences about the figures of `report.figures_of`, and about its "conditions" where it has any."""
    return [*_means(result), *_against(result), *_foreseen(result), *_by_set(result), *_trust(result),
            *_conditions(result)]


def verdict(difference: float, ci95: Sequence[float]) -> str:
    """Return what a paired difference and its interval say."""
    low, high = ci95
    if low > 0:
        return "helps"
    if high < 0:
        return "costs"
    return "level: the interval holds zero" if difference else "equal"


def points(difference: float, ci95: Sequence[float]) -> str:
    """Return a difference of macro-F1 in points with its interval."""
    low, high = ci95
    return f"{100 * difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def _means(result: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, of in MEANS.items():
        mean = result.get(key, {}).get("gsco")
        if mean and mean["macro_f1"] is not None:
            low, high = mean["ci95"]
            lines.append(f"GSCo, mean macro-F1 over {mean['sets']} ({of}): {_percent(mean['macro_f1'])} "
                         f"({_percent(low)} to {_percent(high)}).")
    return lines


def _against(result: Mapping[str, Any]) -> list[str]:
    lines = []
    for pair, found in result.get("paired", {}).items():
        if not _known(found["mean_difference"], found["ci95"]):
            continue
        other = pair.removeprefix("gsco-")
        test = result.get("mcnemar", {}).get(pair)
        said = (f" Right alone in {test['only_gsco']} cases, the other in {test['only_other']}; McNemar p = "
                f"{test['p']:.2g}." if test else "")
        lines.append(f"Against {NAMES.get(other, other)}: {points(found['mean_difference'], found['ci95'])}, "
                     f"{verdict(found['mean_difference'], found['ci95'])}.{said}")
    return lines


def _foreseen(result: Mapping[str, Any]) -> list[str]:
    part = result.get("foreseen", {}).get("mean")
    if not part or not _known(part["difference"], part["ci95"]):
        return []
    return [f"Against {NAMES[part['best']]}, the part that was best on another split: "
            f"{points(part['difference'], part['ci95'])}, {verdict(part['difference'], part['ci95'])}."]


def _by_set(result: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, part in result.get("parts", {}).items():
        if part and name != "mean" and _known(part["difference"], part["ci95"]):
            said = verdict(part["difference"], part["ci95"]), points(part["difference"], part["ci95"])
            lines.append(f"{name}: {'; '.join(said)} against {NAMES[part['best']]}, its best part "
                         f"({_percent(part['macro_f1'])}).")
    return lines


def _trust(result: Mapping[str, Any]) -> list[str]:
    found = result.get("trust") or {}
    where = {"natural": "Of all cases", "conflict": "Where image alone and specialists differ"}
    return [f"{where[key]}: it " + "; ".join(f"{words} in {_percent(rates[rate]['rate'])} of {rates[rate]['n']}"
                                             for rate, words in RATES.items() if rates[rate]["n"]) + "."
            for key, rates in found.items() if rates["copy"]["n"]]


def _conditions(result: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, found in result.get("conditions", {}).items():
        row = found["mean"].get("gsco")
        if row and _known(row["minus_natural"], row["minus_natural_ci95"]):
            still = found.get("still_found", {}).get("gsco", {})
            more = (f" Of {still['n']} cases of other labels {_percent(still['rate'])} are still found."
                    if still.get("n") else "")
            lines.append(f"{name} ({found['what']}): {points(row['minus_natural'], row['minus_natural_ci95'])} "
                         f"against the natural evidence.{more}")
    return lines


def _known(difference: float | None, ci95: Sequence[float | None]) -> bool:
    return all(value is not None and value == value for value in (difference, *ci95))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
