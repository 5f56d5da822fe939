"""A trained specialist: a card, its network and what it answers about a study.

Does not train, and does not judge by kind of image: that is `scope.in_scope`, asked by the caller before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from torch.nn import functional

from specialists.catalog import method_module
from specialists.core.calibrate import softmax
from specialists.core.card import Card
from specialists.core.errors import BadCard, MissingWeights
from specialists.core.findings import Classification, Masks, Refusal
from specialists.core.inputs import to_input
from specialists.core.scope import UNKNOWN, Scope, distance, from_tensors, to_tensors, too_far
from specialists.core.study import Study

EVEN = 6
"""An image whose gray values (of 256) differ by less shows nothing: triage calls it unknown."""
Answer = Classification | Masks | Refusal


class Specialist:
    """A card with its network; holds no state that an answer changes, so threads may share it."""

    def __init__(self, card: Card, folder: Path, device: str = "cpu") -> None:
        """Load the weights that stand beside the card; raises MissingWeights or BadCard."""
        self.card = card
        self.device = torch.device(device)
        tensors = _read_weights(card, folder)
        self.scope: Scope | None = from_tensors(tensors)
        module = method_module(card.method)
        try:
            config = module.Config(**_frozen(card.config))
            self.model: torch.nn.Module = module.build(config)
        except (TypeError, ValueError) as error:
            raise BadCard(f"Card {card.name}: its config does not fit the method {card.method!r} ({error}); "
                          "wanted the arguments of its Config. Train it again.") from error
        state = {name.removeprefix("model."): torch.from_numpy(_full_precision(value))
                 for name, value in tensors.items() if name.startswith("model.")}
        try:
            self.model.load_state_dict(state)
        except RuntimeError as error:
            raise MissingWeights(f"The weights of {card.name} do not fit the method {card.method!r} as its "
                                 "card configures it; wanted those it was trained with.") from error
        self.model.eval().requires_grad_(False).to(self.device)

    def predict(self, study: Study) -> Answer:
        """Answer about one study, or refuse it when its features lie too far from those of training."""
        return self.predict_many([study])[0]

    def predict_many(self, studies: Sequence[Study], batch: int = 32) -> list[Answer]:
        """Answer about several studies, in their order."""
        answers: list[Answer] = []
        for part in _batches(studies, batch):
            logits, features = self._forward(self._inputs(part))
            far = None if self.scope is None or features is None else distance(features, self.scope)
            for place, study in enumerate(part):
                answers.append(self._answer(study, logits[place], None if far is None else float(far[place])))
        return answers

    def embed(self, study: Study) -> np.ndarray:
        """Return the L2-normalized features (D,) of one study."""
        return self.embed_many([study])[0]

    def embed_many(self, studies: Sequence[Study], batch: int = 32) -> np.ndarray:
        """Return the L2-normalized features (N, D) of several studies."""
        found = [self._features(self._inputs(part)) for part in _batches(studies, batch)]
        features = np.concatenate(found) if found else np.zeros((0, 0), dtype=np.float32)
        return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)

    def raw(self, studies: Sequence[Study], batch: int = 32) -> tuple[np.ndarray, np.ndarray]:
        """Return logits (N, L) or (N, L, h, w) before the temperature, and features (N, D) as they are."""
        logits, features = [], []
        for part in _batches(studies, batch):
            images = self._inputs(part)
            part_logits, part_features = self._forward(images)
            logits.append(part_logits)
            features.append(self._features(images) if part_features is None else part_features)
        return np.concatenate(logits), np.concatenate(features)

    def _inputs(self, studies: Sequence[Study]) -> torch.Tensor:
        size = int(self.card.input["size"])
        images = np.stack([to_input(study, size) for study in studies])  # (B, 3, H, W)
        return torch.from_numpy(images).to(self.device)

    @torch.inference_mode()
    def _forward(self, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        """Return logits and features, both averaged over the mirror image where the card says so."""
        views = self._views(images)
        dense = self.card.task == "segmentation"
        if dense:
            found = [self.model(view) for view in views]
            logits = _mean([one.flip(-1) if place else one for place, one in enumerate(found)])
            features = None if self.scope is None else self._mean_features(views)
            return _array(logits), None if features is None else _array(features)
        each = [self.model.features(view) for view in views]  # type: ignore[operator]
        logits = _mean([self.model.head(one) for one in each])  # type: ignore[operator]
        return _array(logits), _array(_mean(each))

    @torch.inference_mode()
    def _features(self, images: torch.Tensor) -> np.ndarray:
        return _array(self._mean_features(self._views(images)))

    def _views(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (images, images.flip(-1)) if self.card.input.get("flip") is True else (images,)

    def _mean_features(self, views: Sequence[torch.Tensor]) -> torch.Tensor:
        return _mean([self.model.features(view) for view in views])  # type: ignore[operator]

    def _answer(self, study: Study, logits: np.ndarray, far: float | None) -> Answer:
        limit = np.inf if self.scope is None else self.scope.threshold
        outside = far is not None and far > limit
        if far is not None and outside and self.card.task != "triage":
            return too_far(self.card, far, limit)
        if self.card.task == "segmentation":
            return self._masks(study, logits)
        probabilities = softmax(logits / float(self.card.calibration.get("temperature", 1.0)))
        named = {name: float(p) for name, p in zip(self.card.label_names, probabilities, strict=True)}
        if self.card.task == "triage":
            outside = outside or int(np.ptp(study.rgb())) < EVEN
            zeros = dict.fromkeys(named, 0.0)
            named = {**zeros, UNKNOWN: 1.0} if outside else {**named, UNKNOWN: named.get(UNKNOWN, 0.0)}
        return Classification(self.card.name, named)

    def _masks(self, study: Study, logits: np.ndarray) -> Masks:
        """Resize the probabilities (L, h, w) to the image and cut them at the card's thresholds."""
        width, height = study.size
        dense = torch.sigmoid(torch.from_numpy(logits))[None]  # (1, L, h, w)
        probabilities = functional.interpolate(dense, (height, width), mode="bilinear")[0]  # (L, H, W)
        wanted = self.card.input
        masks: dict[str, np.ndarray] = {}
        absent: list[str] = []
        for name, probability in zip(self.card.label_names, probabilities.numpy(), strict=True):
            mask = probability > float(wanted.get("mask_threshold", 0.5))
            sure = float(probability.max()) >= float(wanted.get("present", 0.5))
            if mask.any() and sure and mask.mean() >= float(wanted.get("min_area", 0.0)):
                masks[name] = mask
            else:
                absent.append(name)
        spacing = study.spacing_mm and (study.spacing_mm[1], study.spacing_mm[2])
        return Masks(self.card.name, masks, spacing, tuple(absent))


def save_weights(model: torch.nn.Module, scope: Scope | None, path: Path) -> dict[str, str | int]:
    """Write a network in half precision with its scope; return the card's `weights` object."""
    tensors = {f"model.{name}": value.detach().cpu().contiguous().numpy()  # safetensors drops strides without a word
               for name, value in model.state_dict().items()}
    halves = {name: value.astype(np.float16) if value.dtype.kind == "f" else value
              for name, value in tensors.items()}
    data = save_tensors({**halves, **(to_tensors(scope) if scope else {})})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _read_weights(card: Card, folder: Path) -> dict[str, np.ndarray]:
    path = folder / str(card.weights.get("file", f"{card.name}.safetensors"))
    try:
        data = path.read_bytes()
    except OSError:
        raise MissingWeights(f"The weights of {card.name} are not there; wanted {path}. "
                             "Train it again or copy the file beside its card.") from None
    wanted = card.weights.get("sha256")
    if wanted and hashlib.sha256(data).hexdigest() != wanted:
        raise MissingWeights(f"{path} is not the file that the card of {card.name} names: got {len(data):,} "
                             "bytes with another sha256. Restore the weights or the card.")
    try:
        return load_tensors(data)
    except SafetensorError:
        raise MissingWeights(f"{path} is cut off or damaged; wanted the safetensors of {card.name}. "
                             "Copy it again.") from None


def _mean(views: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(views)).mean(dim=0)


def _array(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _frozen(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a card's config with lists as tuples, as frozen dataclasses hold them."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}


def _full_precision(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype == np.float16 else values.copy()


def _batches(studies: Sequence[Study], size: int) -> Iterator[Sequence[Study]]:
    for start in range(0, len(studies), size):
        yield studies[start:start + size]
