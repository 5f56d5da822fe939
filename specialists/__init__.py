"""Small vision models, each good at one question; knows nothing of the generalist that consults them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specialists.own.train import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    """Return `train`, loaded when it is asked for: listing specialists loads no network library."""
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("specialists.own.train").train
