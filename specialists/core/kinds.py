"""Kinds of image that a user adds: regions in the space of triage's features, beside the kinds it was taught.

Triage itself is not trained again. A region is the Mahalanobis scope of `scope.py` around the user's training images;
an image is of the added kind when it lies within, and triage calls it unknown or holds it for less like its own kinds.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from specialists.core import registry
from specialists.core.card import Card
from specialists.core.errors import BadData
from specialists.core.findings import Classification, Finding
from specialists.core.scope import EVEN, UNKNOWN, Scope, distance, fit_scope, from_tensors, to_tensors
from specialists.core.specialist import Specialist
from specialists.core.study import Study

LOG = logging.getLogger(__name__)
KEPT = 0.99
"""Part of the validation images within a region, where there are enough to tell."""
MANY = 100
"""From so many validation images on, a quantile is taken; below, the farthest one with a margin."""
PLAUSIBLE = (0.6, 0.99)
"""The share of an added kind in a finding is what it kept of validation, within these: it must outweigh the rest."""


@dataclass(frozen=True)
class AddedKind:
    """A region around a user's own images, in the features of the triage with the weights named."""

    name: str
    scope: Scope
    kept: float
    """Part of the validation images that triage calls by this name once it is added."""
    triage: str
    """sha256 of triage's weights: in the features of others the region means nothing."""


class Triage:
    """Triage that also knows added kinds; in all else the specialist that it wraps."""

    def __init__(self, specialist: Specialist, kinds: Sequence[AddedKind]) -> None:
        """Take the shipped triage; kinds of other weights are left out with a warning."""
        self.specialist = specialist
        mine = specialist.card.weights.get("sha256", "")
        self.kinds = tuple(kind for kind in kinds if kind.triage == mine)
        for kind in kinds:
            if kind.triage != mine:
                _left_out(kind.name)

    @property
    def card(self) -> Card:
        """The card of the triage that ships."""
        return self.specialist.card

    def predict(self, study: Study) -> Finding:
        """Name the kind of one image."""
        return self.predict_many([study])[0]

    def predict_many(self, studies: Sequence[Study], batch: int = 32) -> list[Finding]:
        """Name the kinds of several images, in their order."""
        found = self.specialist.predict_many(studies, batch)
        if not self.kinds or not studies:
            return found
        names = _claimed(self.kinds, self.specialist.scope, self.embed_many(studies, batch), found)
        kept = {kind.name: kind.kept for kind in self.kinds}
        return [one if name is None or not isinstance(one, Classification) or int(np.ptp(study.rgb())) < EVEN
                else _as(one, name, kept[name]) for study, one, name in zip(studies, found, names, strict=True)]

    def without(self, names: Collection[str]) -> Triage:
        """Return the same triage without the added kinds of these names."""
        return Triage(self.specialist, [kind for kind in self.kinds if kind.name not in names])

    def embed(self, study: Study) -> np.ndarray:
        """Return triage's features (D,) of one study."""
        return self.specialist.embed(study)

    def embed_many(self, studies: Sequence[Study], batch: int = 32) -> np.ndarray:
        """Return triage's features (N, D) of several studies."""
        return self.specialist.embed_many(studies, batch)


@cache
def _left_out(name: str) -> None:
    """Say so once: triage is asked at every question."""
    LOG.warning("The added kind %s is of another triage and is left out; train its domain again.", name)


def triage_without(names: Collection[str]) -> Triage:
    """Return triage with all added kinds but those of these names."""
    triage = registry.triage()
    return (triage if isinstance(triage, Triage) else Triage(triage, [])).without(names)


def fit_kind(name: str, train_studies: Iterable[Study], val_studies: Sequence[Study], folder: Path,
             beside: Triage | None = None) -> AddedKind:
    """Fit a region around training images, its limit on validation images; write it to folder/kinds.

    Raises BadData when there are too few images. `folder` is that of the user's specialists; triage knows the kind
    from then on. `beside` has the kinds that will stand beside it, by default all others that are there. Training
    studies may be a generator: each is let go once it is embedded.
    """
    beside = (beside or triage_without(())).without([name])
    triage = beside.specialist
    train, val = (_features(triage, studies) for studies in (train_studies, val_studies))
    if len(train) < 2 or not len(val):
        raise BadData(f"Got {len(train)} images to fit the kind {name!r} on and {len(val)} to set its limit; wanted "
                      "2 or more and 1 or more. Give more images.")
    free = fit_scope(train, np.zeros(len(train)), val, kept=1.0, margin=1.0)
    far = distance(val, free)
    limit = float(np.quantile(far, KEPT)) if len(far) >= MANY else float(far.max()) * (1 + 0.5 / np.sqrt(len(far)))
    kind = AddedKind(name, Scope(free.means, free.whitening, limit), 1.0, str(triage.card.weights.get("sha256", "")))
    called = _called(Triage(triage, [*beside.kinds, kind]), val_studies)
    kind = dataclasses.replace(kind, kept=called[name] / called.total())
    write_kind(kind, folder)
    return kind


def kind_of(studies: Iterable[Study], triage: Triage | None = None) -> tuple[str, float]:
    """Return the kind that triage names most of the images, and the part of them that it names so.

    `triage` is by default the one with all added kinds; ("unknown", 0.0) where no image is of a kind it knows.
    """
    called = _called(triage or triage_without(()), studies)
    known = Counter({name: count for name, count in called.items() if name != UNKNOWN})
    name, count = known.most_common(1)[0] if known else (UNKNOWN, 0)
    return name, count / max(called.total(), 1)


def _called(triage: Triage, studies: Iterable[Study]) -> Counter[str]:
    """Count what triage calls the images."""
    findings = [finding for part in _parts(studies) for finding in triage.predict_many(part)]
    return Counter(one.label if isinstance(one, Classification) else UNKNOWN for one in findings)


def write_kind(kind: AddedKind, folder: Path) -> None:
    """Write folder/kinds/NAME.safetensors and .json; blanks in the name become underscores in the file's."""
    place = _place(kind.name, folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    save_file(to_tensors(kind.scope), place.with_name(f"{place.name}.safetensors"))
    told = {"name": kind.name, "kept": round(kind.kept, 4), "triage": kind.triage}
    place.with_name(f"{place.name}.json").write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")


def remove_kind(name: str, folder: Path) -> None:
    """Take an added kind away, where there is one of just this name."""
    place = _place(name, folder)
    card = place.with_name(f"{place.name}.json")
    if card.is_file() and read_kind(card).name == name:  # "a b" and "a_b" have the same file
        card.unlink()
        place.with_name(f"{place.name}.safetensors").unlink(missing_ok=True)


def read_kind(path: Path) -> AddedKind:
    """Read what `write_kind` wrote, by its .json; raises BadData."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        scope = from_tensors(load_file(path.with_name(f"{path.stem}.safetensors")))
        if scope is None:
            raise KeyError("scope.whitening")
        return AddedKind(str(told["name"]), scope, float(told["kept"]), str(told["triage"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadData(f"The added kind {path} could not be read ({type(error).__name__}); wanted its name, kept and "
                      "triage, and its .safetensors beside it. Train its domain again.") from None


def _place(name: str, folder: Path) -> Path:
    return folder / "kinds" / name.replace(" ", "_").replace("/", "_")


def _features(triage: Specialist, studies: Iterable[Study]) -> np.ndarray:
    """Return triage's features (N, D), a batch of studies in memory at a time."""
    found = [triage.embed_many(part) for part in _parts(studies)]
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def _claimed(kinds: Sequence[AddedKind], known: Scope | None, features: np.ndarray,
             found: Sequence[Finding]) -> list[str | None]:
    """Return the added kind of each image, None where triage's own word stands.

    Distances are compared as parts of their limits.
    """
    own = np.full(len(features), np.inf) if known is None else _part(features, known)
    parts = np.stack([_part(features, kind.scope) for kind in kinds])  # (kinds, N)
    best, nearest = parts.argmin(axis=0), parts.min(axis=0)
    names: list[str | None] = []
    for place, finding in enumerate(found):
        unknown = isinstance(finding, Classification) and finding.label == UNKNOWN
        taken = nearest[place] <= 1 and (unknown or nearest[place] < own[place])
        names.append(kinds[int(best[place])].name if taken else None)
    return names


def _part(features: np.ndarray, scope: Scope) -> np.ndarray:
    return distance(features, scope) / max(scope.threshold, 1e-6)


def _as(finding: Classification, name: str, kept: float) -> Classification:
    """Return the finding with most of its share given to an added kind; an unknown image's own says nothing more."""
    share = float(np.clip(kept, *PLAUSIBLE))
    rest = {label: (1 - share) * p for label, p in finding.probabilities.items()}
    return Classification(finding.specialist, {**rest, name: share + rest.get(name, 0.0)})


def _parts(studies: Iterable[Study], size: int = 32) -> Iterator[list[Study]]:
    rest = iter(studies)
    while part := list(islice(rest, size)):
        yield part
