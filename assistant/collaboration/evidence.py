"""From opinions and similar cases to the evidence of one question, in the words of the user's options.

A label and an option are the same when they are equal but for case, or else after one small normalization:
letters composed (Unicode's NFC: an accent of its own is the accented letter), outer spaces stripped, inner spaces,
hyphens and underscores made one space, and the American spellings in `SPELLINGS` made British. Nothing
cleverer: synonyms are not guessed. What cannot be said in the options is left out, and said so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

from assistant.collaboration.moed import Consulted
from assistant.collaboration.rad import SIMILAR_CASES, Retrieved
from assistant.steps import Case, Declined, Evidence, Opinion

SPELLINGS = {"tumor": "tumour", "tumors": "tumours", "hemorrhage": "haemorrhage", "edema": "oedema"}
LEAST_SHARE = 0.01
"""An opinion that gives the options together less than this is left out: it has nothing to renormalize."""


def match(label: str, options: Sequence[str]) -> str | None:
    """Return the one option that says the label, None when there is none or more than one."""
    for same in (str.casefold, normalized):
        found = [option for option in options if same(option) == same(label)]
        if len(found) == 1:
            return found[0]
    return None


def normalized(text: str) -> str:
    """Return the form in which labels and options are compared."""
    words = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", text)).strip().casefold().split(" ")
    return " ".join(SPELLINGS.get(word, word) for word in words)


def assemble(consulted: Consulted, retrieved: Retrieved | None, options: Sequence[str] | None,
             declined: Sequence[Declined] = ()) -> Evidence:
    """Return the evidence of a question; with `options`, opinions and cases speak in the options only.

    An opinion counts only when its labels cover all options, and so do the similar cases; a wider label set
    is narrowed to the options and renormalized.
    """
    retrieved = retrieved or Retrieved()
    notes = [*declined, *consulted.refusals, *retrieved.refusals]
    opinions, cases, labels = consulted.opinions, retrieved.cases, retrieved.labels
    if options is not None:
        opinions, left_out = _opinions_in(opinions, options)
        cases, more = _cases_in(cases, labels, options)
        notes += [*left_out, *more]
    return Evidence(moed=tuple(opinions), rad=tuple(cases), refusals=tuple(notes),
                    no_similar_case=retrieved.none_similar)


def _opinions_in(opinions: Sequence[Opinion], options: Sequence[str]) -> tuple[list[Opinion], list[Declined]]:
    kept, left_out = [], []
    for one in opinions:
        expressed = expressed_in(one, options)
        if isinstance(expressed, Opinion):
            kept.append(expressed)
        else:
            left_out.append(Declined(one.specialist, expressed))
    return kept, left_out


def expressed_in(one: Opinion, options: Sequence[str]) -> Opinion | str:
    """Return the opinion over the options, in their order, renormalized; or the reason why it cannot be."""
    names = _covering(list(one.probabilities), options)
    missing = [option for option in options if option not in names]
    if missing:
        return f"left out: it does not know {_listed(missing)}; it knows {_listed(list(one.probabilities))}"
    shares = {option: one.probabilities[names[option]] for option in options}
    total = sum(shares.values())
    if total < LEAST_SHARE:
        return f"left out: it gives the options less than {LEAST_SHARE:.0%} together and says {one.label}"
    shares = {option: share / total for option, share in shares.items()}
    options_of = {label: option for option, label in names.items()}
    record = {options_of.get(label, label): f1 for label, f1 in one.validated.items()
              if label in options_of or label == "macro"}
    return replace(one, label=max(shares, key=shares.__getitem__), probabilities=shares, validated=record)


def _cases_in(cases: Sequence[Case], labels: Sequence[str], options: Sequence[str]
              ) -> tuple[list[Case], list[Declined]]:
    if not cases:
        return [], []
    missing = [option for option in options if option not in _covering(labels, options)] if labels else []
    if missing:
        return [], [Declined(SIMILAR_CASES, f"left out: no case of {_listed(missing)} is in the collection")]
    named = [(case, match(case.label, options)) for case in cases]
    kept = [replace(case, label=option) for case, option in named if option is not None]
    if len(kept) == len(cases):
        return kept, []
    others = sorted({case.label for case, option in named if option is None})
    return kept, [Declined(SIMILAR_CASES, f"{len(cases) - len(kept)} of {len(cases)} similar cases left out: "
                                          f"{_listed(others)} is not among the options")]


def _covering(labels: Sequence[str], options: Sequence[str]) -> Mapping[str, str]:
    """Return option → label for every option that a label says."""
    named = {label: match(label, options) for label in labels}
    return {option: label for label, option in reversed(named.items()) if option is not None}


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
