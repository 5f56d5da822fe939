"""What runs a specialist's net: ONNX Runtime where its outputs are PyTorch's, else PyTorch, which is loaded then only.

ONNX Runtime answers about twice as fast and starts without PyTorch. A net is exported when it is first asked, before
it answers (`onnx_export` says how long that takes), so that the same question never has answers of two runtimes.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np

from specialists.core import onnx_files
from specialists.core.card import Card
from specialists.core.errors import NotExported
from specialists.core.inputs import Reader

LOG = logging.getLogger(__name__)
Runtime = Literal["torch", "onnx", "auto"]


class Net(Protocol):
    """A net ready to answer: its runtime, the bytes it holds, and what makes a study its input."""

    runtime: str
    nbytes: int
    read: Reader

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return outputs (B, ...) and features (B, D) of images (B, C, ...) in 0..1."""
        ...


def open_net(card: Card, tensors: Mapping[str, np.ndarray], sha256: str, runtime: Runtime, device: str) -> Net:
    """Return the net of a card with these tensors, of which `sha256` is that of their file.

    "auto" takes ONNX on the processor, and PyTorch where that is not to be had, with the reason in the log; "onnx"
    raises NotExported there. Raises BadCard or MissingWeights.
    """
    if runtime == "torch" or (runtime == "auto" and device != "cpu"):
        return _eager(card, tensors, device)
    try:
        if device != "cpu":
            raise NotExported(f"ONNX runs on the processor here; got the device {device!r}.")
        return _onnx(card, tensors, sha256)
    except NotExported as reason:
        if runtime == "onnx":
            raise
        LOG.warning("%s answers by PyTorch: %s", card.name, reason)
        return _eager(card, tensors, device)


def _eager(card: Card, tensors: Mapping[str, np.ndarray], device: str) -> Net:
    return importlib.import_module("specialists.core.eager").Eager(card, tensors, device)


def _onnx(card: Card, tensors: Mapping[str, np.ndarray], sha256: str) -> Net:
    key = onnx_files.key_of(card, sha256)
    found = onnx_files.find(card, key)
    if found is not None:
        return found
    try:
        onnx_files.folder().mkdir(parents=True, exist_ok=True)  # where it cannot be kept it is not made
        exporter = importlib.import_module("specialists.core.onnx_export")
        data, net = exporter.export(card, _eager(card, tensors, "cpu"))
        onnx_files.keep(card, key, data)
    except OSError as error:
        raise NotExported(f"{onnx_files.folder()} cannot be written ({error}); set CONSILIUM_HOME to a folder that "
                          "can.") from error
    return net
