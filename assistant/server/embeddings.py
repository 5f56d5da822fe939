"""The route of embeddings: images by the features that triage knows them by, texts by a sentence encoder.

The two are spaces of their own: an image's vector says nothing beside a text's. `consilium.spaces` names each.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import Field

from assistant.collaboration.texts import MiniLM
from assistant.server.asked import NOTICE, Place, Unsupported
from assistant.server.service import Service, owner
from assistant.server.streaming import unless_gone
from assistant.server.wire import Body, FilePart, ImagePart, TextPart
from specialists.core import registry
from specialists.core.errors import BadData
from specialists.core.study import read_study

Input = str | Annotated[TextPart | ImagePart | FilePart, Field(discriminator="type")]
MOST = 256
"""Inputs of one request."""


class EmbeddingRequest(Body):
    """A request; a text that is a data URL of an image is that image."""

    model: str
    input: Input | list[Input] = Field(union_mode="left_to_right")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


def routes(service: Service) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embeddings(body: EmbeddingRequest, request: Request) -> dict[str, Any]:
        service.check(body.model)
        if body.dimensions is not None:
            raise Unsupported("dimensions", "Vectors come as long as they are; leave dimensions out.")
        given = body.input if isinstance(body.input, list) else [body.input]
        if not 1 <= len(given) <= MOST:
            raise Unsupported("input", f"Got {len(given)} inputs; wanted 1 to {MOST}.")
        read = service.reader(owner(request))
        steps = service.room.steps(lambda: _vectors(given, read))
        vectors = await unless_gone(request, anext(steps))
        await steps.aclose()
        data = [{"object": "embedding", "index": i, "embedding": _encoded(vector, body.encoding_format)}
                for i, (_, vector) in enumerate(vectors)]
        return {"object": "list", "model": body.model, "data": data, "usage": {"prompt_tokens": 0, "total_tokens": 0},
                "consilium": {"spaces": [space for space, _ in vectors], "notice": NOTICE}}

    return router


def _vectors(given: Sequence[Input], read: Callable[[Place], bytes]) -> Iterator[list[tuple[str, np.ndarray]]]:
    places = {i: place for i, one in enumerate(given) if (place := _place(one)) is not None}
    words = {i: one if isinstance(one, str) else one.text for i, one in enumerate(given)
             if isinstance(one, str | TextPart) and i not in places}
    if not all(text.strip() for text in words.values()):
        raise Unsupported("input", "An input is empty; wanted some text, or an image.")
    found: dict[int, tuple[str, np.ndarray]] = {}
    if places:
        triage: Any = registry.triage()
        vectors = triage.embed_many([read_study(read(place)) for place in places.values()])
        found |= {i: ("image: triage", vector) for i, vector in zip(places, vectors, strict=True)}
    if words:
        found |= {i: (f"text: {MiniLM.name}", v) for i, v in zip(words, _texts(list(words.values())), strict=True)}
    yield [found[i] for i in range(len(given))]


def _place(one: Input) -> Place | None:
    if isinstance(one, str):
        return Place(url=one) if one.startswith("data:image/") else None
    if isinstance(one, ImagePart):
        return Place(url=one.image_url.url)
    return Place(url=one.file.file_data, file_id=one.file.file_id) if isinstance(one, FilePart) else None


@cache
def _encoder() -> MiniLM:
    return MiniLM()


def _texts(words: list[str]) -> np.ndarray:
    try:
        vectors = _encoder().encode(words)
    except BadData as fault:
        raise Unsupported("input", str(fault)) from fault
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _encoded(vector: np.ndarray, form: str) -> list[float] | str:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]
