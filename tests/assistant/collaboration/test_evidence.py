"""Tests of how opinions and cases are put into the words of the options."""

from __future__ import annotations

import pytest

from assistant.collaboration.evidence import assemble, expressed_in, match
from assistant.collaboration.moed import Consulted
from assistant.collaboration.rad import Retrieved
from assistant.steps import Case, Declined, Opinion

LABELS = ("glioma", "meningioma", "pituitary tumour")
SHARES = dict(zip(LABELS, (0.6, 0.2, 0.2), strict=True))
OPINION = Opinion("s", "glioma", SHARES, {"glioma": 0.9, "macro": 0.8})


@pytest.mark.parametrize(("label", "options", "expected"), [
    ("glioma", ["Glioma", "other"], "Glioma"),
    ("pituitary tumour", ["PITUITARY TUMOR", "x"], "PITUITARY TUMOR"),
    ("no tumour", ["  no_tumor ", "x"], "  no_tumor "),
    ("no tumour", ["no  tumour", "x"], "no  tumour"),
    ("glioma", ["gliomas", "x"], None),
    ("tumour", ["tumor", "tumour"], "tumour"),
    ("no tumour", ["no-tumor", "no tumor"], None),
    ("\u00e9osinophile", ["e\u0301osinophile", "x"], "e\u0301osinophile"),
    ("E\u0301osinophile", ["\u00e9osinophile", "x"], "\u00e9osinophile"),
])
def test_match(label, options, expected):
    assert match(label, options) == expected


def test_without_options_nothing_is_changed():
    case = Case("1", "glioma", 0.9, "set")
    refusal = Declined("t", "no")
    consulted = Consulted((OPINION,), (refusal,))
    evidence = assemble(consulted, Retrieved((case,)), None, [Declined("u", "other kind")])
    assert evidence.moed == (OPINION,)
    assert evidence.rad == (case,)
    assert [r.specialist for r in evidence.refusals] == ["u", "t"]


def test_an_opinion_is_narrowed_to_the_options_and_renormalized():
    one = expressed_in(OPINION, ["Meningioma", "Pituitary tumor"])
    assert isinstance(one, Opinion)
    assert one.probabilities == pytest.approx({"Meningioma": 0.5, "Pituitary tumor": 0.5})
    assert one.validated == {"macro": 0.8}
    same = expressed_in(OPINION, ["GLIOMA", "meningioma", "pituitary tumour"])
    assert isinstance(same, Opinion)
    assert same.label == "GLIOMA"
    assert same.validated == {"GLIOMA": 0.9, "macro": 0.8}


def test_an_opinion_that_does_not_cover_the_options_is_left_out_and_said_so():
    evidence = assemble(Consulted((OPINION,)), None, ["glioma", "abscess"])
    assert evidence.moed == ()
    assert evidence.refusals[0].specialist == "s"
    assert "abscess" in evidence.refusals[0].reason


def test_an_opinion_without_mass_on_the_options_is_left_out():
    sure = Opinion("s", "glioma", {"glioma": 1.0, "meningioma": 0.0, "pituitary tumour": 0.0}, {})
    assert "says glioma" in str(expressed_in(sure, ["meningioma", "pituitary tumour"]))


def test_cases_speak_in_the_options():
    cases = (Case("1", "glioma", 0.9, "set"), Case("2", "pituitary tumour", 0.8, "set"))
    evidence = assemble(Consulted(), Retrieved(cases, labels=LABELS), ["Glioma", "meningioma"])
    assert [(c.id, c.label) for c in evidence.rad] == [("1", "Glioma")]
    assert "1 of 2 similar cases left out" in evidence.refusals[0].reason
    foreign = assemble(Consulted(), Retrieved(cases, labels=LABELS), ["glioma", "abscess"])
    assert foreign.rad == ()
    assert "abscess" in foreign.refusals[0].reason


def test_no_similar_case_is_kept():
    assert assemble(Consulted(), Retrieved(none_similar=True), ["a", "b"]).no_similar_case
    assert not assemble(Consulted(), None, None).no_similar_case
