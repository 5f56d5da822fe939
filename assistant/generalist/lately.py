"""The last things that were wanted, so that they need not be made again; bounded in number and in bytes.

It knows neither images nor models.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Lately(Generic[Thing]):
    """Remembers things by their keys, for threads to share; what was not wanted for the longest is forgotten first."""

    def __init__(self, most: int, size: int) -> None:
        """Remember at most so many things and bytes."""
        self.most, self.size = most, size
        self._lock = threading.Lock()
        self._things: OrderedDict[Hashable, tuple[Thing, int]] = OrderedDict()
        self._held = 0

    def get(self, key: Hashable) -> Thing | None:
        """Return a thing, or None where it is not known."""
        with self._lock:
            if key not in self._things:
                return None
            self._things.move_to_end(key)
            return self._things[key][0]

    def put(self, key: Hashable, thing: Thing, size: int) -> None:
        """Remember a thing of so many bytes."""
        with self._lock:
            self._held += size - self._things.pop(key, (thing, 0))[1]
            self._things[key] = thing, size
            while len(self._things) > self.most or self._held > self.size:
                self._held -= self._things.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._things.clear()
            self._held = 0
