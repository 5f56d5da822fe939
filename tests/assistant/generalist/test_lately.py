"""What is remembered is bounded in number and bytes; what was not wanted for the longest goes first."""

from __future__ import annotations

from assistant.generalist.lately import Lately


def known(lately: Lately[str]) -> str:
    return "".join(thing for thing, _ in lately._things.values())


def test_the_longest_unwanted_goes_first() -> None:
    lately: Lately[str] = Lately(3, 100)
    for letter in "abc":
        lately.put(letter, letter, 1)
    assert (lately.get("a"), lately.get("z")) == ("a", None)
    lately.put("d", "d", 1)
    assert (lately.get("b"), known(lately)) == (None, "cad")


def test_bytes_are_counted_once_and_given_back() -> None:
    lately: Lately[str] = Lately(9, 10)
    lately.put("a", "a", 4)
    lately.put("a", "A", 6)
    lately.put("b", "b", 4)
    assert (known(lately), lately._held) == ("Ab", 10)
    lately.put("c", "c", 1)
    assert (known(lately), lately._held) == ("bc", 5)
    lately.put("d", "d", 11)
    assert (known(lately), lately._held) == ("", 0), "larger than all room"
    lately.put("e", "e", 2)
    lately.clear()
    assert (known(lately), lately._held) == ("", 0)
