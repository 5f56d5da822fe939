"""Parity: does a server give the same next-token log-probabilities as transformers gives in this process?

It starts no server (`make test-vllm` does), measures no accuracy and needs no data: its samples are made.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import torch
import transformers
from PIL import Image, ImageDraw

from assistant import template
from assistant.errors import BadReply, ServerUnreachable
from assistant.generalist.local import LocalGeneralist
from assistant.steps import Case, Evidence, Opinion

TOLERANCE = 0.05
"""Nats by which a log-probability may differ."""
TOP = 20
"""Alternatives of a token that a server lists."""
OPTIONS = ("glioma", "meningioma", "no tumour")
QUESTION = "What is the diagnosis?"
EVIDENCE = Evidence(
    moed=(Opinion("brain_mri_residual", "glioma", {"glioma": 0.71, "meningioma": 0.2, "no tumour": 0.09},
                  {"glioma": 0.9}),
          Opinion("brain_mri_hybrid", "meningioma", {"meningioma": 0.55, "glioma": 0.4, "no tumour": 0.05},
                  {"meningioma": 0.85})),
    rad=(Case("case-1", "glioma", 0.93, "drawn"), Case("case-2", "meningioma", 0.88, "drawn")))
TOOL = {"type": "function", "function": {
    "name": "similar_cases", "description": "Find similar cases with their diagnoses.",
    "parameters": {"type": "object", "properties": {"k": {"type": "integer", "description": "How many."}},
                   "required": ["k"]}}}


@dataclass(frozen=True)
class Sample:
    """One conversation whose next token is compared."""

    name: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Compared:
    """One sample as both sides read it."""

    name: str
    here: int
    """Tokens of the prompt in this process."""
    there: int
    """Tokens of the prompt on the server."""
    alternatives: int
    """Next tokens that were compared: the most likely ones on the server."""
    difference: float
    """Largest difference of a log-probability, in nats."""
    same_first: bool
    """Both sides find the same token most likely."""


@dataclass(frozen=True)
class Report:
    """All samples, and whether they agree."""

    served: str
    rows: tuple[Compared, ...]
    tolerance: float = TOLERANCE
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """The largest difference of all, in nats."""
        return max(row.difference for row in self.rows)

    @property
    def agrees(self) -> bool:
        """Whether every prompt has the same tokens and every difference is within the tolerance."""
        return self.worst <= self.tolerance and all(row.here == row.there for row in self.rows)

    def table(self) -> str:
        """Return the comparison for people, a line a sample."""
        head = f"{'sample':<34}{'tokens':>8}{'there':>8}{'compared':>10}{'nats':>9}  first token"
        lines = [f"{r.name:<34}{r.here:>8}{r.there:>8}{r.alternatives:>10}{r.difference:>9.5f}  "
                 f"{'same' if r.same_first else 'OTHER'}" for r in self.rows]
        verdict = "agrees" if self.agrees else "DIFFERS"
        return "\n".join([head, *lines, f"{self.served}: {verdict}; largest difference {self.worst:.5f} nats, "
                                        f"tolerance {self.tolerance}"])

    def json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {"served": self.served, "agrees": self.agrees, "largest_difference_nats": round(self.worst, 6),
                "tolerance_nats": self.tolerance, "versions": dict(self.versions),
                "samples": [asdict(row) | {"difference": round(row.difference, 6)} for row in self.rows]}


def compare(generalist: LocalGeneralist, url: str, *, api_key: str | None = None, tolerance: float = TOLERANCE,
            count: int | None = None) -> Report:
    """Ask both sides every sample (or the first `count`); `url` is http://HOST:PORT/v1[#MODEL], else its first model.

    Raises ServerUnreachable, and BadReply where the server refuses a sample or gives no log-probabilities of token ids.
    """
    address, _, name = url.rstrip("/").partition("#")
    asked = [*samples(generalist)][:count]
    try:
        with openai.OpenAI(base_url=address, api_key=api_key or "none", timeout=600, max_retries=0) as client:
            name = name or next(iter(client.models.list())).id
            rows = tuple(_compared(generalist, client, name, sample) for sample in asked)
    except openai.APIConnectionError as error:
        raise ServerUnreachable(f"No answer from {address}: wanted vLLM's OpenAI server.") from error
    except openai.APIStatusError as error:
        raise BadReply(f"The server {address} answered {error.status_code}: {error.message}") from error
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "server": _version(address)}
    return Report(name, rows, tolerance, versions)


def samples(generalist: LocalGeneralist) -> Iterator[Sample]:
    """Yield eight conversations, with and without images, evidence, tools and earlier turns.

    The images are those that the generalist sees: where it was taught on squares, they are squares already, because a
    server knows nothing of that.
    """
    wide, high, dark = (_url(generalist.as_taught(drawn(seed, size)))
                        for seed, size in enumerate(((448, 300), (260, 448), (320, 320))))
    yield Sample("text alone", template.opening("What can you do?", []))
    yield Sample("an image, openly", template.opening("What does the image show?", [wide], kind="brain MRI"))
    yield Sample("an image, options", template.decision(QUESTION, [high], OPTIONS, evidence=None))
    yield Sample("evidence, as calibrated", template.decision(QUESTION, [wide], OPTIONS, evidence=EVIDENCE,
                                                              kind="brain MRI"))
    yield Sample("evidence, as published", template.decision(QUESTION, [dark], OPTIONS, evidence=EVIDENCE,
                                                             style="published"))
    yield Sample("evidence, openly, two images", template.opening("What do they show?", [wide, dark],
                                                                  evidence=EVIDENCE))
    earlier = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]},
               {"role": "assistant", "content": "Most likely glioma."}]
    yield Sample("an earlier turn", template.opening("Where is it?", [high], history=earlier))
    yield Sample("a tool offered", template.opening(QUESTION, [dark], options=OPTIONS), (TOOL,))


def drawn(seed: int, size: tuple[int, int]) -> Image.Image:
    """Return a noisy disc with a brighter spot in it: structure at every scale, and nobody's image."""
    random = np.random.default_rng(seed)
    width, height = size
    image = Image.new("RGB", size, (12, 12, 16))
    draw = ImageDraw.Draw(image)
    draw.ellipse((width // 8, height // 8, width - width // 8, height - height // 8), fill=(90 + 30 * seed, 96, 100))
    left, top = random.integers(min(size) // 4, min(size) // 2, 2).tolist()
    draw.ellipse((left, top, left + width // 6, top + height // 6), fill=(210, 190, 170))
    noisy = np.asarray(image, np.float32) + random.normal(0, 14, (height, width, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _compared(generalist: LocalGeneralist, client: openai.OpenAI, name: str, sample: Sample) -> Compared:
    here = generalist.next_tokens(sample.messages, sample.tools)
    given: dict[str, Any] = {"tools": list(sample.tools)} if sample.tools else {}
    completions: Any = client.chat.completions
    reply = completions.create(model=name, messages=list(sample.messages), max_tokens=1, temperature=0.0, logprobs=True,
                               top_logprobs=TOP, extra_body={"return_tokens_as_token_ids": True}, **given)
    there = _listed(reply)
    difference = max(abs(float(here[token]) - value) for token, value in there.items())
    return Compared(sample.name, generalist.count_prompt(sample.messages, sample.tools), reply.usage.prompt_tokens,
                    len(there), difference, int(here.argmax()) == max(there, key=there.__getitem__))


def _listed(reply: Any) -> dict[int, float]:
    """Return token id -> log-probability of the reply's first token."""
    tokens = reply.choices[0].logprobs and reply.choices[0].logprobs.content
    rows = tokens[0].top_logprobs if tokens else []
    found = {row.token: row.logprob for row in rows if row.token.startswith("token_id:")}
    if not found:
        raise BadReply("The server gives no log-probabilities of token ids; wanted vLLM's OpenAI server.")
    return {int(token.partition(":")[2]): float(value) for token, value in found.items()}


def _version(address: str) -> str:
    """Return vLLM's version, as its server tells it beside /v1; another server tells none."""
    try:
        return str(httpx.get(f"{address.removesuffix('/v1')}/version").json()["version"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return "unknown"


def _url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def opened(model: Path, adapter: Path | None = None) -> LocalGeneralist:
    """Return the checkpoint in this process, in float32 on the CPU."""
    return LocalGeneralist(model, adapter=adapter, device="cpu")
