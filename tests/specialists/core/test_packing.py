"""Packed weights: a quarter of the size, each number within half a step of its row, the rest as it was."""

from __future__ import annotations

import numpy as np

from specialists.core.packing import pack, unpack


def test_large_tensors_take_a_byte_a_number_and_come_back_within_half_a_step():
    random = np.random.default_rng(0)
    kernel = (random.normal(size=(32, 16, 3, 3)) * np.geomspace(1e-3, 10, 32)[:, None, None, None]).astype(np.float32)
    kernel[3] = 0
    packed = pack({"a.weight": kernel})
    assert packed["a.weight"].dtype == np.int8
    assert packed["a.weight"].shape == kernel.shape
    again = unpack(packed)
    assert list(again) == ["a.weight"]
    step = np.abs(kernel).reshape(32, -1).max(axis=1) / 127
    error = np.abs(again["a.weight"] - kernel).reshape(32, -1).max(axis=1)
    assert (error <= step * 0.501 + 1e-12).all()
    assert not again["a.weight"][3].any()


def test_small_tensors_and_counts_are_kept():
    state = {"norm.weight": np.array([1.5, -2.0], np.float32), "norm.count": np.array(7, np.int64)}
    packed = pack(state)
    assert packed["norm.weight"].dtype == np.float16
    again = unpack(packed)
    assert again["norm.weight"].tolist() == [1.5, -2.0]
    assert again["norm.count"] == 7


def test_half_precision_of_an_older_file_is_read():
    again = unpack({"head.weight": np.ones((64, 64), np.float16)})
    assert again["head.weight"].dtype == np.float32
    assert again["head.weight"].sum() == 64 * 64
