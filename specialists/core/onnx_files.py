"""Exported nets in CONSILIUM_HOME/onnx, and ONNX Runtime that runs them; it makes none and needs no PyTorch.

A file is NAME-KEY-CHECK.onnx: KEY says of what it was made (weights, configuration, code, versions), CHECK is the
beginning of its own sha256. So a file of another state is never taken, a damaged one is seen, and of two processes
that write at once both leave a whole file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as faults  # pyright: ignore[reportAttributeAccessIssue]

from specialists.catalog import method_module, method_path
from specialists.core import registry
from specialists.core.card import Card
from specialists.core.inputs import reader

LOG = logging.getLogger(__name__)
FORMAT = 1
"""Of the files; another number makes all of them again."""
DIGITS = 16
"""Of KEY and CHECK each, hexadecimal."""
MOST_THREADS = 4
"""More do not speed up nets as small as these."""
COPIES = 2
"""How often the weights stand in memory: as stored, and laid out for the processor."""
BATCH = 8
"""Images that a net sees at once: more are no faster, and take more memory, which ONNX Runtime keeps."""
BROKEN = (faults.Fail, faults.InvalidArgument, faults.InvalidGraph, faults.InvalidProtobuf, faults.NotImplemented,
          faults.RuntimeException)
"""What ONNX Runtime raises about a file that it cannot run."""
_threads: list[int] = []


def threads() -> int:
    """Return how many threads one answer takes: as set, else OMP_NUM_THREADS, else the cores, four at most."""
    if _threads:
        return _threads[-1]
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def set_threads(count: int) -> None:
    """Set the threads of one answer; what stands loaded is let go, so that it holds for all."""
    if count < 1:
        raise ValueError(f"Got {count} threads; wanted 1 or more.")
    _threads[:] = [count]
    registry.LOADED.clear()


class OnnxNet:
    """An exported net as ONNX Runtime runs it, on the processor; threads may share it."""

    runtime = "onnx"

    def __init__(self, data: bytes, method: str) -> None:
        """Take a file's content; raises one of BROKEN where it is no such file."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # a damaged file is told by what is raised
        # a waiting thread must not keep a core from the nets asked next
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        own = self._session.get_modelmeta().custom_metadata_map.get("own_input") == "yes"
        self.read = reader(method_module(method) if own else None)  # importing a method's file takes PyTorch
        self.nbytes = COPIES * len(data)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return outputs (B, ...) and features (B, D) of images (B, C, ...) in 0..1."""
        parts = [self._session.run(None, {"images": images[start:start + BATCH]})
                 for start in range(0, len(images), BATCH)]
        outputs, features = (np.concatenate(each) for each in zip(*parts, strict=True))
        return outputs, features


def folder() -> Path:
    """Return where exported nets are kept: onnx/ in CONSILIUM_HOME, by default in ~/.consilium."""
    return registry.home().parent / "onnx"


def key_of(card: Card, sha256: str) -> str:
    """Return what names the state of a net: its weights' sha256, its card, the code it is of, and the versions."""
    made_of = {"format": FORMAT, "weights": sha256, "method": card.method, "config": card.config,
               "flip": card.input.get("flip") is True, "size": card.input.get("size"),
               "code": _code(method_path(card.method).split(".")[1]), "onnxruntime": ort.__version__}
    return _digest(json.dumps(made_of, sort_keys=True).encode())


def find(card: Card, key: str) -> OnnxNet | None:
    """Return the exported net of this state, None where there is none; a damaged file is removed."""
    for path in sorted(folder().glob(f"{card.name}-{key}-*.onnx")):
        try:
            data = path.read_bytes()
            if path.stem.endswith(f"-{_digest(data)}"):
                return OnnxNet(data, card.method)
            reason = "it is not as it was written"
        except OSError as error:
            LOG.warning("%s could not be read (%s); it is made again.", path, error)
            continue
        except BROKEN as error:
            reason = type(error).__name__
        LOG.warning("%s is damaged (%s); it is made again.", path, reason)
        path.unlink(missing_ok=True)
    return None


def keep(card: Card, key: str, data: bytes) -> None:
    """Write an exported net whole or not at all, and remove those of other states; raises OSError."""
    place = folder()
    handle, name = tempfile.mkstemp(dir=place, prefix=f".{card.name}-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, place / f"{card.name}-{key}-{_digest(data)}.onnx")
    finally:
        Path(name).unlink(missing_ok=True)
    mine = re.compile(rf"{re.escape(card.name)}-(?P<key>[0-9a-f]{{{DIGITS}}})-[0-9a-f]{{{DIGITS}}}\.onnx")
    for path in place.iterdir():
        found = mine.fullmatch(path.name)
        if found and found["key"] != key:
            path.unlink(missing_ok=True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGITS]


@lru_cache(maxsize=16)
def _code(task: str) -> str:
    """Return the digest of the code that a net of a task's methods may be made of."""
    core = Path(__file__).resolve().parent
    files = [*sorted(core.glob("*.py")), *sorted((core.parent / task).glob("*.py"))]
    return _digest(b"\0".join(path.read_bytes() for path in files))
