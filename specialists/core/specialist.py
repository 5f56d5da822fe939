"""A trained specialist: a card, its network and what it answers about a study.

Does not train, and does not judge by kind of image: that is `scope.in_scope`, asked by the caller before. It loads no
PyTorch: that is `runtimes`' affair, where a net is to be exported or has no ONNX form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from specialists.catalog import task_module
from specialists.core.card import Card
from specialists.core.errors import MissingWeights
from specialists.core.findings import Finding
from specialists.core.packing import pack
from specialists.core.runtimes import Runtime, open_net
from specialists.core.scope import Scope, distance, from_tensors, to_tensors, too_far
from specialists.core.study import Study

if TYPE_CHECKING:
    import torch


class Specialist:
    """A card with its network; holds no state that an answer changes, so threads may share it."""

    def __init__(self, card: Card, folder: Path, device: str = "cpu", runtime: Runtime = "torch") -> None:
        """Load the weights that stand beside the card; raises MissingWeights, BadCard or NotExported.

        `runtime` is "torch", "onnx" (NotExported where it cannot be had), or "auto": ONNX where it can.
        """
        self.card = card
        tensors, sha256 = _read_weights(card, folder)
        self.scope: Scope | None = from_tensors(tensors)
        self._net = open_net(card, tensors, sha256, runtime, device)
        self._task = task_module(card.task)

    def predict(self, study: Study) -> Finding:
        """Answer about one study, or refuse it when its features lie too far from those of training."""
        return self.predict_many([study])[0]

    def predict_many(self, studies: Sequence[Study], batch: int = 32) -> list[Finding]:
        """Answer about several studies, in their order."""
        answers: list[Finding] = []
        for part in _batches(studies, batch):
            outputs, features = self.raw(part)
            far = [None] * len(part) if self.scope is None else distance(features, self.scope).tolist()
            answers += [self._answer(*row) for row in zip(part, outputs, far, strict=True)]
        return answers

    def embed(self, study: Study) -> np.ndarray:
        """Return the L2-normalized features (D,) of one study."""
        return self.embed_many([study])[0]

    def embed_many(self, studies: Sequence[Study], batch: int = 32) -> np.ndarray:
        """Return the L2-normalized features (N, D) of several studies."""
        found = [self.raw(part)[1] for part in _batches(studies, batch)]
        features = np.concatenate(found) if found else np.zeros((0, 0), dtype=np.float32)
        return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)

    @property
    def runtime(self) -> str:
        """Return what runs the net: "onnx" or "torch"."""
        return self._net.runtime

    @property
    def nbytes(self) -> int:
        """Return about how much memory the net holds."""
        return self._net.nbytes

    def raw(self, studies: Sequence[Study]) -> tuple[np.ndarray, np.ndarray]:
        """Return the net's outputs (N, ...), e.g. logits (N, L) or (N, L, h, w), and features (N, D) as they are."""
        size = int(self.card.input["size"])
        return self._net(np.stack([self._net.read(study, size) for study in studies]))  # (N, C, ...)

    def _answer(self, study: Study, outputs: np.ndarray, far: float | None) -> Finding:
        limit = np.inf if self.scope is None else self.scope.threshold
        outside = far is not None and far > limit
        if self.card.task == "triage":
            return self._task.answer(self.card, study, outputs, outside)
        if far is not None and outside:
            return too_far(self.card, far, limit)
        return self._task.answer(self.card, study, outputs)


def save_weights(model: torch.nn.Module, scope: Scope | None, path: Path) -> dict[str, str | int]:
    """Write a network, packed, with its scope; return the card's `weights` object."""
    state = {name: value.detach().cpu().contiguous().numpy()  # safetensors drops strides without a word
             for name, value in model.state_dict().items()}
    packed = {f"model.{name}": value for name, value in pack(state).items()}
    data = save_tensors({**packed, **(to_tensors(scope) if scope else {})})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _read_weights(card: Card, folder: Path) -> tuple[dict[str, np.ndarray], str]:
    """Return the tensors beside a card, and the sha256 of their file."""
    path = folder / str(card.weights.get("file", f"{card.name}.safetensors"))
    try:
        data = path.read_bytes()
    except OSError:
        raise MissingWeights(f"The weights of {card.name} are not there; wanted {path}. "
                             "Train it again or copy the file beside its card.") from None
    wanted = card.weights.get("sha256")
    sha256 = hashlib.sha256(data).hexdigest()
    if wanted and sha256 != wanted:
        raise MissingWeights(f"{path} is not the file that the card of {card.name} names: got {len(data):,} "
                             "bytes with another sha256. Restore the weights or the card.")
    try:
        return load_tensors(data), sha256
    except SafetensorError:
        raise MissingWeights(f"{path} is cut off or damaged; wanted the safetensors of {card.name}. "
                             "Copy it again.") from None


def _batches(studies: Sequence[Study], size: int) -> Iterator[Sequence[Study]]:
    for start in range(0, len(studies), size):
        yield studies[start:start + size]
