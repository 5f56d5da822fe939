"""Studies as inputs of nets: resized once for all who look, and a method's own ways of reading them."""

from __future__ import annotations

import gc
from types import ModuleType, SimpleNamespace
from typing import cast

import numpy as np
from PIL import Image

from specialists.core import inputs
from specialists.core.study import Study, read_study


def study() -> Study:
    """Return an image of noise."""
    return read_study(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))


def method(**own: object) -> ModuleType:
    """Return what stands for a method's module."""
    return cast(ModuleType, SimpleNamespace(**own))


def test_a_study_is_resized_once_a_side_and_forgotten_with_it(monkeypatch):
    resized = []
    plain = inputs.to_square
    monkeypatch.setattr(inputs, "to_square", lambda image, size: resized.append(size) or plain(image, size))
    one, before = study(), len(inputs._squares)
    first = inputs.to_input(one, 32)
    first[:] = 0  # who changes what it was given changes nothing for others
    assert inputs.to_input(one, 32).max() > 0.5
    assert inputs.to_input(one, 16).shape == (3, 16, 16)
    assert resized == [32, 16]
    del one
    gc.collect()
    assert len(inputs._squares) <= before


def test_a_method_reads_a_study_in_its_own_way():
    one = study()
    assert inputs.reader(None) is inputs.reader(method()) is inputs.to_input
    dark = inputs.reader(method(prepare=lambda image: Image.eval(image, lambda value: value // 2)))
    assert dark(one, 32).max() <= 127 / 255
    assert dark(one, 32).shape == (3, 32, 32)
    volumes = inputs.reader(method(inputs=lambda study, size: np.ones((1, size, size, size), np.float32)))
    assert volumes(one, 4).shape == (1, 4, 4, 4)
