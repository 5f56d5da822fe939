"""Linear resizing gives what PyTorch gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from specialists.core.resize import linear


@pytest.mark.parametrize(("old", "new", "mode"), [
    ((8, 12), (30, 41), "bilinear"), ((40, 30), (17, 9), "bilinear"), ((1, 5), (4, 5), "bilinear"),
    ((4, 6, 5), (9, 6, 3), "trilinear")])
def test_equals_pytorch(old, new, mode):
    values = np.random.default_rng(0).normal(size=(2, *old)).astype(np.float32)
    wanted = functional.interpolate(torch.from_numpy(values)[None], new, mode=mode)[0].numpy()
    np.testing.assert_allclose(linear(values, new), wanted, atol=2e-5)
