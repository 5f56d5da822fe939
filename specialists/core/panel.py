"""The specialists of one domain, asked together: their mean, or why most of them refuse.

It weighs nobody: all count alike, as calibrated. The generalist hears each of them by itself and not this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from specialists.core import registry
from specialists.core.card import Card
from specialists.core.errors import UnknownSpecialist
from specialists.core.findings import Classification, Finding, Refusal
from specialists.core.scope import in_scope
from specialists.core.study import Source, Study, read_study


class Panel:
    """All classifiers of a domain under the domain's name."""

    def __init__(self, domain: str) -> None:
        """Raise UnknownSpecialist where no classifier is of that domain."""
        known = registry.domains()
        if domain not in known:
            raise UnknownSpecialist(f"No domain {domain!r}. Known: {', '.join(known) or 'none'}. "
                                    "Choose one of these or train it.")
        self.name = domain
        self.members: tuple[str, ...] = known[domain]

    @property
    def cards(self) -> tuple[Card, ...]:
        """Return the members' cards."""
        return tuple(registry.cards()[name] for name in self.members)

    def predict(self, image: Source | Path, any_kind: bool = False) -> Finding:
        """Return the mean of the members' calibrated probabilities, or a refusal where most of them refuse.

        `any_kind` asks them about images of other kinds too.
        """
        study = read_study(image)
        refusal = None if any_kind else self._wrong_kind(study)
        return refusal or self.agreed([registry.load(name).predict(study) for name in self.members])

    def agreed(self, findings: Sequence[Finding]) -> Finding:
        """Return what findings of the members, one each, come to."""
        said = [finding for finding in findings if isinstance(finding, Classification)]
        refused = [finding for finding in findings if isinstance(finding, Refusal)]
        if refused and 2 * len(said) <= len(findings):
            return dataclasses.replace(refused[0], specialist=self.name)
        labels = list(said[0].probabilities)
        mean = np.mean([[finding.probabilities[label] for label in labels] for finding in said], axis=0)
        return Classification(self.name, {label: float(p) for label, p in zip(labels, mean, strict=True)})

    def _wrong_kind(self, study: Study) -> Refusal | None:
        if "triage" not in registry.cards():
            return None
        kind = registry.triage().predict(study)
        if not isinstance(kind, Classification):
            return None
        refused = [in_scope(card, kind) for card in self.cards]
        first = refused[0]
        if first is None or None in refused:
            return None
        return dataclasses.replace(first, specialist=self.name)
