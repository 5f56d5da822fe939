"""What is said of kept things: escaped, and nothing where there is nothing."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from assistant.errors import CannotExport
from assistant.records import Feedback
from ui import kept

ODD = '<img src=x onerror="1">'


@pytest.mark.parametrize(("feedback", "words"), [
    (None, ""), (Feedback("t", "agree"), "Noted: you agree."), (Feedback("t", "disagree"), "Noted: you disagree."),
    (Feedback("t", "disagree", "too sure.", "benign"), "you disagree; label: benign; reason: too sure.<")])
def test_what_was_said_is_repeated(feedback, words):
    assert words in kept.said(feedback)


@pytest.mark.parametrize(("words", "count", "shown"), [
    ("", 3, ""), ("  ", 0, "is kept here"), ("brain", 2, "2 found"),
    ("brain", 0, "No conversation holds all these words")])
def test_a_search_says_how_many(words, count, shown):
    assert shown in kept.found(words, count)
    assert bool(shown) is bool(kept.found(words, count))


def test_nothing_of_a_reader_or_a_file_becomes_markup():
    header = Dataset()
    header.PatientComments = ODD
    for shown in (kept.said(Feedback("t", "disagree", ODD, ODD)), kept.header(header), kept.problem(CannotExport(ODD))):
        assert "<img" not in shown
        assert "&lt;img" in shown


def test_without_a_header_it_says_what_to_do():
    assert "Add the file again" in kept.header(None)
