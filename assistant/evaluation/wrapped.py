"""Generalist and specialists behind a thin layer: answers that are remembered, images that are left out.

A layer changes nothing of an answer but what its name says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage

from assistant.evaluation.cache import Cache, key_of
from assistant.evaluation.cases import Asked, Domain, Similar
from assistant.generalist.generalist import Generalist
from assistant.steps import Case
from specialists.core import registry
from specialists.core.errors import UnknownSpecialist
from specialists.core.findings import Classification, Finding, Refusal
from specialists.core.study import Study
from specialists.datasets.layout import Sample


class CachedScores:
    """A generalist whose scores are remembered by weights, messages (images in them) and options."""

    def __init__(self, generalist: Any, cache: Cache) -> None:
        """Take a generalist as far as evaluation needs it."""
        self.generalist, self.cache = generalist, cache
        self._weights = named(generalist.revision())

    @property
    def look_record(self) -> Mapping[str, float]:
        """Validated F1 of the labels that it names in words."""
        return getattr(self.generalist, "look_record", None) or {}

    def revision(self) -> dict[str, Any]:
        """Return what identifies the weights."""
        return self.generalist.revision()

    def score(self, messages: Sequence[Any], options: Sequence[str]) -> dict[str, float]:
        """Return log-probabilities over the options."""
        return self.score_many([messages], [options])[0]

    def score_many(self, conversations: Sequence[Any], options: Sequence[Sequence[str]]) -> list[dict[str, float]]:
        """Return the scores of each conversation; only the unknown ones are asked for."""
        keys = [key_of(self._weights, list(messages), list(given))
                for messages, given in zip(conversations, options, strict=True)]
        found = {key: known for key in keys if (known := self.cache.get(key)) is not None}
        places = [place for place, key in enumerate(keys) if key not in found]
        if places:
            asked = self.generalist.score_many([conversations[i] for i in places], [options[i] for i in places])
            fresh = {keys[i]: dict(scores) for i, scores in zip(places, asked, strict=True)}
            self.cache.add(fresh)
            found |= fresh
        return [found[key] for key in keys]


class TextOnly:
    """A generalist that gets the words without the images: what it scores, it owes to the words."""

    def __init__(self, generalist: Generalist) -> None:
        """Take an open generalist."""
        self.generalist = generalist

    @property
    def look_record(self) -> Mapping[str, float]:
        """Nothing: without an image there is no look."""
        return {}

    def revision(self) -> dict[str, Any]:
        """Return what identifies the weights, and that no image is shown."""
        return {**self.generalist.revision(), "images": "none"}

    def score(self, messages: Sequence[Any], options: Sequence[str]) -> dict[str, float]:
        """Return log-probabilities over the options."""
        return self.score_many([messages], [options])[0]

    def score_many(self, conversations: Sequence[Any], options: Sequence[Sequence[str]]) -> list[dict[str, float]]:
        """Return the scores of each conversation without its images."""
        return self.generalist.score_many([without_images(messages) for messages in conversations], options)

    def reply_many(self, conversations: Sequence[Any], *, tools: Sequence[Mapping[str, Any]] | None = None,
                   **settings: Any) -> list[AIMessage]:
        """Return the reply to each conversation without its images."""
        return self.generalist.reply_many([without_images(m) for m in conversations], tools=tools, **settings)


class CachedSpecialist:
    """A specialist whose classifications and refusals are remembered by its card, with the weights' hash, and image."""

    def __init__(self, weights: str, specialist: Asked, cache: Cache) -> None:
        """Take a specialist with what identifies it and its weights."""
        self.weights, self.specialist, self.cache = weights, specialist, cache

    def predict_many(self, studies: Sequence[Study]) -> list[Finding]:
        """Return a finding or a refusal for each study; only the unknown ones are asked for."""
        keys = [key_of(self.weights, study.sha256) for study in studies]
        found = {key: _finding(row) for key in keys if (row := self.cache.get(key)) is not None}
        places = [place for place, key in enumerate(keys) if key not in found]
        if places:
            asked = self.specialist.predict_many([studies[i] for i in places])
            fresh = {keys[i]: finding for i, finding in zip(places, asked, strict=True)}
            self.cache.add({key: row for key, finding in fresh.items() if (row := _row(finding)) is not None})
            found |= fresh
        return [found[key] for key in keys]


def cached_domain(domain: Domain, cache: Cache, neighbors: int) -> Domain:
    """Return the domain with remembered specialists and, so many of each, similar cases."""
    weights = {card.name: f"{card.name} {hashlib.sha256(repr(card).encode()).hexdigest()}" for card in domain.cards}
    specialists = {name: CachedSpecialist(weights[name], one, cache) for name, one in domain.specialists.items()}
    similar = domain.similar and _cached_similar(domain.similar, f"{neighbors} of {index_of(domain.name)}", cache)
    return replace(domain, specialists=specialists, similar=similar)


def index_of(domain: str) -> str:
    """Return what identifies the cases that a domain's similar ones are found among; empty where there are none."""
    try:
        index = registry.load_index(domain)
    except UnknownSpecialist:
        return ""
    return hashlib.sha256(repr((index.card, index.rows)).encode() + index.features.tobytes()).hexdigest()


def without_images(messages: Sequence[Any]) -> list[Any]:
    """Return dict messages without their image parts."""
    made = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            content = [part for part in content if part["type"] not in ("image", "image_url")]
        made.append({**message, "content": content})
    return made


def named(revision: Mapping[str, Any]) -> dict[str, Any]:
    """Return a revision with folders by their last name alone: weights that moved are the same weights."""
    return {name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
            for name, value in revision.items()}


def _cached_similar(similar: Similar, index: str, cache: Cache) -> Callable[..., list[list[Case]]]:
    def search(studies: Sequence[Study], samples: Sequence[Sample]) -> list[list[Case]]:
        keys = [key_of(index, study.sha256, sample.patient, sample.group)
                for study, sample in zip(studies, samples, strict=True)]
        found = {key: [Case(**row) for row in rows] for key in keys if (rows := cache.get(key)) is not None}
        places = [place for place, key in enumerate(keys) if key not in found]
        if places:
            asked = similar([studies[i] for i in places], [samples[i] for i in places])
            fresh = {keys[i]: list(cases) for i, cases in zip(places, asked, strict=True)}
            cache.add({key: [asdict(case) for case in cases] for key, cases in fresh.items()})
            found |= fresh
        return [found[key] for key in keys]
    return search


def _row(finding: Finding) -> dict[str, Any] | None:
    """Return a classification or a refusal as JSON; other findings are not remembered."""
    if isinstance(finding, Classification):
        return {"specialist": finding.specialist, "probabilities": dict(finding.probabilities)}
    if isinstance(finding, Refusal):
        return {"specialist": finding.specialist, "reason": finding.reason}
    return None


def _finding(row: Mapping[str, Any]) -> Finding:
    return Refusal(**row) if "reason" in row else Classification(**row)
