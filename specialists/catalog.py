"""The whole zoo of methods, one line each: read this first. A method trained on one set is a specialist."""

from __future__ import annotations

import importlib
from types import ModuleType

from specialists.core.errors import UnknownSpecialist

METHODS: dict[str, dict[str, str]] = {
    "classification": {
        "small_cnn": "plain convolutional net (Simonyan 2015)",
        "residual": "small residual net (He 2016)",
        "hybrid": "compact convolutional transformer (Hassani 2021)",
    },
    "segmentation": {
        "unet": "U-Net (Ronneberger 2015)",
    },
}

TASKS = {"classification": "which disease, or which kind of image?", "segmentation": "where exactly?"}


def method_module(method: str) -> ModuleType:
    """Return the module of a method; raises UnknownSpecialist naming those that exist."""
    for task, methods in METHODS.items():
        if method in methods:
            return importlib.import_module(f"specialists.{task}.{method}")
    known = ", ".join(name for methods in METHODS.values() for name in methods)
    raise UnknownSpecialist(f"No method named {method!r}. Known: {known}.")
