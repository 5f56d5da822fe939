"""Several replies written in one batch: each row has its own stream of text, its own stop texts and its own end.

It loads no model and knows no conversation; what the rows are and which model runs them is `local`'s business.
"""

from __future__ import annotations

import queue
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from assistant.errors import GeneralistError
from assistant.generalist.processors import Row

if TYPE_CHECKING:
    from assistant.generalist.grammar import Grammar

TOP = 50
"""Likeliest tokens that a sampled one is drawn from."""


class Sampler:
    """Draws the tokens of one reply, from the `TOP` likeliest, as its own seed says."""

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        self.temperature, self.top_p = temperature, top_p
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, scores: torch.Tensor) -> int:
        """Return a token of scores (vocabulary,): of the likeliest that together have `top_p`, by temperature."""
        best = (scores.cpu() / self.temperature).topk(min(TOP, len(scores)))
        shares = best.values.softmax(-1)
        shares[shares.cumsum(-1) - shares >= self.top_p] = 0.0      # the first that reaches it stays
        return int(best.indices[torch.multinomial(shares, 1, generator=self._random)])


@dataclass(eq=False)
class Writing:
    """One reply while it is written; `over` set by anybody ends it at its next token."""

    row: Row
    most: int
    """Tokens that it may have."""
    stop: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    grammar: Grammar | None = None
    """What binds it to a form."""
    watched: bool = True
    """Its pieces are wanted as they are made; else the text comes as one piece at the end."""
    sampler: Sampler | None = None
    """What draws its tokens; None takes the likeliest."""
    ids: list[int] = field(default_factory=list)
    """Its tokens so far, without the one that ends it."""
    made: int = 0
    """How many tokens were made, with the one that ends it."""
    text: str = ""
    over: bool = False
    finish: Literal["stop", "length"] = "length"
    fault: BaseException | None = None
    _pieces: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)
    _begin: int = 0
    _shown: int = 0

    def take(self, token: int, ends: Sequence[int], tokenizer: Any) -> None:
        """Add a token, unless the reply is over."""
        if self.over:
            return
        self.made += 1
        if token in ends:
            self.over, self.finish = True, "stop"
            return
        self.ids.append(token)
        if self.grammar is not None:
            self.grammar.take([token])
        if self.watched or self.stop:
            self._say(tokenizer)
        if any(stop in self.text for stop in self.stop):
            self.over, self.finish = True, "stop"
        self.over = self.over or len(self.ids) >= self.most

    def _say(self, tokenizer: Any, *, last: bool = False) -> None:
        """Put what is whole of the text; a character may take several tokens."""
        before = tokenizer.decode(self.ids[self._begin:self._shown], skip_special_tokens=True)
        now = tokenizer.decode(self.ids[self._begin:], skip_special_tokens=True)
        if len(now) > len(before) and (last or not now.endswith("\ufffd")):
            self.text += now[len(before):]
            self._pieces.put(now[len(before):])
            self._begin, self._shown = self._shown, len(self.ids)

    def close(self, tokenizer: Any) -> None:
        """Say the rest, and that there is no more."""
        if self._shown < len(self.ids):
            self._say(tokenizer, last=True)
        self.over = True
        self._pieces.put(None)

    def leave(self) -> None:
        """End the reply at its next token, and its pieces at once: nobody reads them any more."""
        if not self.over:
            self.over, self.fault = True, CancelledError("nobody waits for the reply")
            self._pieces.put(None)

    def pieces(self) -> Generator[str]:
        """Yield pieces of text as they are made; raises the fault that ended them. Closed early, it ends the reply."""
        try:
            while (piece := self._pieces.get()) is not None:
                yield piece
        finally:
            self.over = True
        if self.fault is not None:
            raise self.fault


class _Rows(BaseStreamer):
    """Hands each row of a batch its tokens."""

    def __init__(self, replies: Sequence[Writing], ends: Sequence[int], tokenizer: Any) -> None:
        self.replies, self.ends, self.tokenizer, self.began = replies, ends, tokenizer, False

    def put(self, value: torch.Tensor) -> None:
        """Take the prompts (B, L) at first, then a token a row (B,)."""
        if not self.began:
            self.began = True
            return
        hand(self.replies, value.reshape(-1).tolist(), self.ends, self.tokenizer)

    def end(self) -> None:
        """Do nothing: every row has its own end."""


class _Over(StoppingCriteria):
    """Ends the rows whose replies are over."""

    def __init__(self, replies: Sequence[Writing]) -> None:
        self.replies = replies

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]
        return torch.tensor([reply.over for reply in self.replies], dtype=torch.bool, device=input_ids.device)


class _Bound(LogitsProcessor):
    """Keeps the rows to their grammars."""

    def __init__(self, replies: Sequence[Writing]) -> None:
        self.replies = replies

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return bound(self.replies, scores)


def bound(replies: Sequence[Writing], scores: torch.Tensor) -> torch.Tensor:
    """Return the scores (B, vocabulary) with what a reply's grammar forbids at minus infinity."""
    if all(reply.grammar is None for reply in replies):
        return scores
    forbidden = torch.zeros(scores.shape, dtype=torch.bool)
    for row, reply in enumerate(replies):
        if reply.grammar is not None and not reply.over:
            allowed = reply.grammar.allowed()
            forbidden[row] = True
            forbidden[row, :len(allowed)] = ~allowed
    return scores.masked_fill(forbidden.to(scores.device), float("-inf"))


def hand(replies: Sequence[Writing], tokens: Sequence[int], ends: Sequence[int], tokenizer: Any) -> None:
    """Give each reply its next token; one whose grammar does not go on ends with that fault."""
    for reply, token in zip(replies, tokens, strict=True):
        try:
            reply.take(token, ends, tokenizer)
        except GeneralistError as fault:
            reply.over, reply.fault = True, fault


def parted(replies: Sequence[Writing]) -> list[list[Writing]]:
    """Return the replies that are written as one batch each: the greedy ones together, a sampled one alone."""
    greedy = [reply for reply in replies if reply.sampler is None]
    return [*([greedy] if greedy else []), *([reply] for reply in replies if reply.sampler is not None)]


def write(model: Any, batch: Row, replies: Sequence[Writing], settings: Any, tokenizer: Any) -> None:
    """Write the replies to the rows of a batch, which ends with the last of them; settings are of all."""
    forms = [_Bound(replies)] if any(reply.grammar is not None for reply in replies) else []
    model.generate(**batch, generation_config=settings, streamer=_Rows(replies, settings.eos_token_id, tokenizer),
                   stopping_criteria=StoppingCriteriaList([_Over(replies)]),
                   logits_processor=LogitsProcessorList(forms))


def likelihoods(logits: torch.Tensor, ids: Sequence[int], top: int, tokenizer: Any) -> list[dict[str, Any]]:
    """Return OpenAI's log-probabilities of tokens `ids` (L,) under logits (L, vocabulary), `top` alternatives each."""
    shares = logits.float().log_softmax(-1).cpu()

    def told(token: int, place: int) -> dict[str, Any]:
        text = tokenizer.decode([token])
        return {"token": text, "logprob": float(shares[place, token]), "bytes": list(text.encode())}
    best = shares.topk(max(top, 1), dim=-1).indices.tolist()
    return [{**told(token, i), "top_logprobs": [told(other, i) for other in best[i][:top]]}
            for i, token in enumerate(ids)]


def end(replies: Sequence[Writing], fault: BaseException | None, tokenizer: Any) -> None:
    """End replies, with the fault that ended them; what torch raises becomes GeneralistError."""
    if isinstance(fault, RuntimeError | ValueError | MemoryError):
        told = GeneralistError(f"The generalist stopped: {fault}")
        told.__cause__ = fault
        fault = told
    for reply in replies:
        reply.fault = reply.fault or fault
        reply.close(tokenizer)
