"""What Gradio keeps of every visit to the window, held to its size; it keeps and shows nothing itself.

For an update of a component, and for one that an event leaves as it is, Gradio (6.31) makes the component anew for the
one visit, with a new id. What it shows or is told next is kept under the new id as one more component, until the visit
is forgotten: with every question two pictures and three panels that nobody ever reads again.
"""

from __future__ import annotations

from typing import Any

from gradio.blocks import Block
from gradio.state_holder import SessionState

VISITS = 256
"""How many visits are remembered, each with what its page showed last (up to 0.6 MB); older ones start anew."""
_set = SessionState.__setitem__


def hold() -> None:
    """Let a component that is made anew keep its id, in every window of this process."""
    SessionState.__setitem__ = _set_known


def _set_known(self: SessionState, key: int, value: Any) -> None:
    if isinstance(value, Block):
        value._id = key
    _set(self, key, value)
