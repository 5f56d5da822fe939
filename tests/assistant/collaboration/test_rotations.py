"""Each option carries each letter once, and what a letter alone is worth cancels."""

from __future__ import annotations

import pytest

from assistant import template
from assistant.collaboration.rotations import joined, rotations


@pytest.mark.parametrize("options", [("a",), ("a", "b"), ("a", "b", "c"), ("a", "b", "c", "d")])
def test_every_option_stands_once_in_every_place(options):
    orders = rotations(options)
    assert orders[0] == options
    assert all(sorted(place) == sorted(options) for place in zip(*orders, strict=True))


def test_a_preference_for_letters_cancels_and_one_for_an_option_stays():
    options, letter_bias = ("a", "b", "c"), {"A": 0.8, "B": 0.15, "C": 0.05}
    seen = {"a": 0.2, "b": 0.5, "c": 0.3}
    def said(weigh):
        found = []
        for order in rotations(options):
            shares = {o: letter_bias[x] * weigh[o] for x, o in zip(template.letters(3), order, strict=True)}
            found.append({o: share / sum(shares.values()) for o, share in shares.items()})
        return joined(found)
    assert said(dict.fromkeys(options, 1.0)) == pytest.approx(dict.fromkeys(options, 1 / 3))
    assert said(seen) == pytest.approx(seen)


def test_one_is_itself_and_no_rotation_alone_rules_out():
    assert joined([{"a": 0.7, "b": 0.3}]) == pytest.approx({"a": 0.7, "b": 0.3})
    assert joined([{"a": 0.0, "b": 1.0}, {"a": 1.0, "b": 0.0}]) == pytest.approx({"a": 0.5, "b": 0.5})
