"""Turns a net of PyTorch into an ONNX file and proves that both answer alike; keeps no file.

The exporter that traces (`dynamo=False`) takes 0.3 to 0.8 s a net of this size on one busy core, the newer one 4 to
13 s; hence a net is exported at once when it is first asked, and the same question has one answer from the start.
"""

from __future__ import annotations

import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper

from specialists.core.card import Card
from specialists.core.eager import Eager
from specialists.core.errors import BadStudy, NotExported
from specialists.core.inputs import to_input
from specialists.core.onnx_files import BROKEN, OnnxNet
from specialists.core.study import read_study

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference of any output or feature, as a part of the largest one or of 1."""
UNEXPORTABLE = (RuntimeError, TypeError, ValueError, AttributeError, LookupError)
"""What the exporter raises about a net that it cannot write, besides its own errors, which are RuntimeErrors."""
_exporting = threading.Lock()  # the exporter keeps its state in globals


def export(card: Card, eager: Eager) -> tuple[bytes, OnnxNet]:
    """Return the file of a net and the net that it holds, proved equal; raises NotExported with the reason."""
    images = _examples(card, eager)
    try:
        data = _traced(eager, images[:2])
        own = eager.read is not to_input
        data = _described(data, {"name": card.name, "method": card.method, "own_input": "yes" if own else "no"})
        net = OnnxNet(data, card.method)
        far = difference(eager, net, images)
    except (*UNEXPORTABLE, *BROKEN) as error:
        first = str(error).strip().partition("\n")[0]
        raise NotExported(f"the net of {card.name} has no ONNX form ({type(error).__name__}: {first}).") from error
    if not far <= TOLERANCE:  # a NaN is no equal answer either
        raise NotExported(f"the ONNX form of {card.name} answers otherwise: outputs differ by {far:.1e}, "
                          f"wanted at most {TOLERANCE:.0e}.")
    return data, net


def difference(one: Eager | OnnxNet, other: Eager | OnnxNet, images: np.ndarray) -> float:
    """Return the largest difference of outputs and features, for all images at once and for one alone.

    It is a part of the largest absolute value that `one` gives, or of 1 where that is smaller.
    """
    found = [0.0]
    for batch in (images, images[:1]):
        for a, b in zip(one(batch), other(batch), strict=True):
            if a.shape != b.shape:
                return float("inf")
            found.append(float(np.abs(a - b).max() / max(1.0, np.abs(a).max())))
    return float(np.max(found))  # NaN where one is


def _examples(card: Card, eager: Eager) -> np.ndarray:
    """Return three inputs (3, C, ...) of the shape that the method makes of a study: noise of different contrast."""
    blank = read_study(np.zeros((32, 32, 3), dtype=np.uint8))
    try:
        shape = eager.read(blank, int(card.input["size"])).shape
    except BadStudy as error:
        raise NotExported(f"the shape of what {card.name} sees depends on the study ({error}).") from error
    noise = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    contrast = np.asarray([1.0, 0.5, 0.1], dtype=np.float32).reshape(-1, *[1] * len(shape))
    return noise * contrast


def _traced(eager: Eager, images: np.ndarray) -> bytes:
    names = ["outputs", "features"]
    with _exporting, warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of the exporter: its age, and each size that it takes for fixed
        file = Path(folder) / "net.onnx"
        torch.onnx.export(eager.served, (torch.from_numpy(images),), file, input_names=["images"],
                          output_names=names, dynamic_axes={name: {0: "batch"} for name in ("images", *names)},
                          opset_version=OPSET, do_constant_folding=False, dynamo=False)
        return file.read_bytes()


def _described(data: bytes, words: dict[str, str]) -> bytes:
    model = onnx.load_model_from_string(data)
    helper.set_model_props(model, words)
    return model.SerializeToString()
