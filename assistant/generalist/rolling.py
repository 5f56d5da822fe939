"""A batch that replies enter and leave token by token: what comes is read and joins, what is over makes room.

For models that keep keys and values of all tokens and nothing else; any other's replies are written by
`decoding.write`. It loads no model; which replies come next is `local`'s business.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import GenerationConfig
from transformers.cache_utils import DynamicCache, DynamicLayer

from assistant.generalist.batching import More
from assistant.generalist.decoding import Writing, bound, end, hand
from assistant.generalist.processors import Row
from assistant.generalist.scoring import turning

PLAIN = {"bos_token_id", "eos_token_id", "pad_token_id", "do_sample", "temperature", "top_p", "top_k",
         "max_length", "max_new_tokens", "transformers_version", "use_cache", "cache_implementation"}
"""Settings of a checkpoint that change no token's score."""


def rolls(model: Any, settings: GenerationConfig) -> bool:
    """Tell whether a model's replies can be written here, as far as can be told before it runs."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    takes = set(inspect.signature(base.forward).parameters)
    return (set(settings.to_diff_dict()) <= PLAIN and not settings.cache_implementation
            and {"position_ids", "past_key_values", "logits_to_keep"} <= takes)


PAUSE = 4
"""Tokens between two looks for replies that came meanwhile: those of some tokens' time are read as one batch."""


class Rolling:
    """The replies that are being written: a row each, padded on the left."""

    def __init__(self, model: Any, tokenizer: Any, ends: Sequence[int],
                 batched: Callable[[Sequence[Writing]], Row]) -> None:
        """Begin with none; `batched` makes one batch of the prompts of replies."""
        self.model, self.tokenizer, self.ends, self.batched = model, tokenizer, ends, batched
        self.replies: list[Writing] = []
        self._cache: Any = None
        self._mask = self._places = self._tokens = torch.empty(0)

    def run(self, replies: list[Writing], most: int, more: More) -> list[Writing]:
        """Write replies and those that come meanwhile, `most` at once, until there are none; each holds its own fault.

        Return replies that are still to be written: those at hand where the model's cache shows that no row can join.
        """
        tokens = 0
        while replies or self.replies:
            replies, now = [], [reply for reply in replies if not reply.over]
            try:
                if now and not self._enter(now):
                    return now
                self._step()
            except BaseException as fault:  # noqa: BLE001 it is raised again where the replies are read
                self._end(fault, now)
            tokens += 1
            if not self.replies or tokens % PAUSE == 0:
                try:
                    replies = more(most - len(self.replies))
                except CancelledError as fault:
                    self._end(fault)
        return []

    def _end(self, fault: BaseException, entering: Sequence[Writing] = ()) -> None:
        end([*entering, *self.replies], fault, self.tokenizer)
        self.replies, self._cache = [], None

    def _enter(self, replies: list[Writing]) -> bool:
        """Read the prompts of replies and write their first tokens; False where the model keeps more than rows."""
        batch = self.batched(replies)
        mask = batch["attention_mask"]
        moved = turning(self.model)
        for module in moved:
            module.rope_deltas = None       # else a prompt without an image is read with the last one's
        counted = {} if moved and "image_grid_thw" in batch else {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
        read = self.model(**batch, **counted, logits_to_keep=1, use_cache=True)
        cache, places = read.past_key_values, mask.sum(-1, keepdim=True)
        if not _plain(cache, mask.shape[1]):
            assert not self.replies, "its first cache held rows alone"
            return False
        for module in moved:
            if module.rope_deltas is not None:
                places = places + module.rope_deltas.to(places.device)
        tokens = self._write(replies, read.logits)
        if self.replies:
            _join(self._cache, cache, mask.shape[1] - self._mask.shape[1])
            longest = max(mask.shape[1], self._mask.shape[1])
            mask = torch.cat([pad(one, (longest - one.shape[1], 0)) for one in (self._mask, mask)])
            places, tokens = torch.cat([self._places, places]), torch.cat([self._tokens, tokens])
        else:
            self._cache = cache
        self.replies = [*self.replies, *replies]
        self._mask, self._places, self._tokens = mask, places, tokens
        self._leave()
        return True

    def _step(self) -> None:
        """Write the next token of each reply."""
        self._leave()       # whose readers have left
        if not self.replies:
            return
        self._mask = pad(self._mask, (0, 1), value=1)
        made = self.model(input_ids=self._tokens, attention_mask=self._mask, position_ids=self._places,
                          past_key_values=self._cache, logits_to_keep=1, use_cache=True)
        self._places = self._places + 1
        self._tokens = self._write(self.replies, made.logits)
        self._leave()

    def _write(self, replies: Sequence[Writing], logits: torch.Tensor) -> torch.Tensor:
        """Hand each reply its next token, the likeliest or a drawn one, and return them (B, 1)."""
        scores = bound(replies, logits[:, -1].float())
        tokens = scores.argmax(-1)
        for row, reply in enumerate(replies):
            if reply.sampler is not None:
                tokens[row] = reply.sampler(scores[row])
        hand(replies, tokens.tolist(), self.ends, self.tokenizer)
        return tokens[:, None]

    def _leave(self) -> None:
        """Let go of the rows that are over, and of padding that nobody needs any more."""
        staying = [row for row, reply in enumerate(self.replies) if not reply.over]
        if len(staying) == len(self.replies):
            return
        for reply in self.replies:
            if reply.over:
                reply.close(self.tokenizer)
        self.replies = [self.replies[row] for row in staying]
        if not staying:
            self._cache = None
            return
        rows = torch.tensor(staying, device=self._mask.device)
        self._mask, self._places, self._tokens = self._mask[rows], self._places[rows], self._tokens[rows]
        empty = int(self._mask.any(0).int().argmax())
        self._mask = self._mask[:, empty:]
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[rows, :, empty:], layer.values[rows, :, empty:]


def _plain(cache: Any, length: int) -> bool:
    """Tell whether a cache holds keys and values of all tokens, layer by layer, and nothing else."""
    return type(cache) is DynamicCache and all(
        type(layer) is DynamicLayer and layer.get_seq_length() == length
        for layer in cache.layers)


def _join(cache: Any, other: Any, longer: int) -> None:
    """Put the rows of another cache, which is `longer` by so many tokens, under those of the first."""
    for ours, theirs in zip(cache.layers, other.layers, strict=True):
        def both(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.cat([pad(a, (0, 0, max(0, longer), 0)), pad(b, (0, 0, max(0, -longer), 0))])
        ours.keys, ours.values = both(ours.keys, theirs.keys), both(ours.values, theirs.values)
