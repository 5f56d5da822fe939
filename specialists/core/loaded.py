"""What stands loaded in memory: made once, kept while it is used, let go when the budget is full; it reads no file."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast


class Sized(Protocol):
    """Anything that says how much memory it holds."""

    @property
    def nbytes(self) -> int:
        """Return the bytes it holds."""
        ...


Item = TypeVar("Item", bound=Sized)


@dataclass(eq=False)
class _Place:
    version: Hashable
    item: Sized | None = None
    making: threading.RLock = field(default_factory=threading.RLock)


class Loaded:
    """The most recently used items, together within a budget of bytes; threads may share it.

    One that is let go lives on for who still holds it. An item alone larger than the budget stays until the next.
    """

    def __init__(self, budget: int) -> None:
        """`budget` is in bytes."""
        self._budget = budget
        self._places: OrderedDict[Hashable, _Place] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, version: Hashable, make: Callable[[], Item]) -> Item:
        """Return the item of a key, made where none of this version stands; who asks meanwhile waits for the same.

        Different keys are made side by side. What `make` raises goes to who asked, and nothing is kept.
        """
        with self._lock:
            place = self._places.get(key)
            if place is None or place.version != version:
                place = self._places[key] = _Place(version)
            self._places.move_to_end(key)
        with place.making:
            if place.item is None:
                place.item = make()
                with self._lock:
                    self._let_go()
            return cast(Item, place.item)

    def resize(self, budget: int) -> None:
        """Set the budget in bytes, and let go what is over it."""
        with self._lock:
            self._budget = budget
            self._let_go()

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._places.clear()

    @property
    def nbytes(self) -> int:
        """Return the bytes of all that stands loaded."""
        with self._lock:
            return sum(self._sizes().values())

    def __contains__(self, key: Hashable) -> bool:
        """Say whether an item of this key stands loaded."""
        with self._lock:
            return key in self._sizes()

    def _sizes(self) -> dict[Hashable, int]:
        """Return the bytes of what is made, the least recently used first; what is being made counts when it is."""
        return {key: place.item.nbytes for key, place in self._places.items() if place.item is not None}

    def _let_go(self) -> None:
        sizes = self._sizes()
        over = sum(sizes.values()) - self._budget
        for key, size in list(sizes.items())[:-1]:
            if over <= 0:
                return
            del self._places[key]
            over -= size
