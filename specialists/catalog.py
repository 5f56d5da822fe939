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
    "grading": {
        "dr_recipe": "recipe for ordered grades (Huang 2023)",
    },
    "anomaly": {
        "lesion_paste": "lesions of one case pasted into normal images (Huang 2022)",
    },
    "detection": {
        "centernet": "CenterNet, objects as points (Zhou 2019)",
    },
    "instances": {
        "distance_map": "U-Net with a distance map (Naylor 2019)",
    },
    "volumetry": {
        "unet3d": "3D U-Net (Cicek 2016)",
    },
}

TASKS = {"classification": "which disease, or which kind of image?", "segmentation": "where exactly?",
         "grading": "how far along an ordered scale?", "detection": "which things, where, how many?",
         "instances": "each one apart, and how many?", "volumetry": "how large, in a volume?",
         "anomaly": "is anything abnormal here?"}


def task_module(task: str) -> ModuleType:
    """Return the module of a task, which reads its targets and makes its answers; triage is a classification."""
    return importlib.import_module(f"specialists.{'classification' if task == 'triage' else task}.task")


def method_module(method: str) -> ModuleType:
    """Return the module of a method; raises UnknownSpecialist naming those that exist."""
    return importlib.import_module(method_path(method))


def method_path(method: str) -> str:
    """Return the dotted path of a method's module, without loading it; raises UnknownSpecialist."""
    for task, methods in METHODS.items():
        if method in methods:
            return f"specialists.{task}.{method}"
    known = ", ".join(name for methods in METHODS.values() for name in methods)
    raise UnknownSpecialist(f"No method named {method!r}. Known: {known}.")
