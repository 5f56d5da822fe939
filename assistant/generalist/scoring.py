"""How likely a model finds each of several replies to a prompt: prompts are read once, the replies after them together.

It loads no model and renders no conversation; what the rows and the replies are is `local`'s business.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from assistant.generalist.processors import Row

Tail = Sequence[int]
"""The tokens of a reply, the one that ends it included."""


def next_tokens(model: Any, batch: Row) -> torch.Tensor:
    """Return the log-probability (B, vocabulary) of each token as the next, float32 on the CPU."""
    return _shares(model(**batch, logits_to_keep=1, use_cache=False))[:, -1]


def sums(model: Any, batch: Row, tails: Sequence[Sequence[Tail]], most: int) -> list[list[float]]:
    """Return the log-probability of each reply to its row (B, L); at most `most` rows are read after the prompts."""
    for module in turning(model):
        module.rope_deltas = None       # else a prompt without an image is read with the last one's
    read = model(**batch, logits_to_keep=1, use_cache=True)
    first, cache = _shares(read)[:, -1], read.past_key_values
    count, width = max(map(len, tails)), max(1, most // len(tails))
    found: list[list[float]] = [[] for _ in tails]
    for start in range(0, count, width):
        some = [own[start:start + width] for own in tails]
        rows = min(width, count - start)
        prompt = cache if start + width >= count else copy.deepcopy(cache)
        prompt.batch_repeat_interleave(rows)
        after = _after(model, prompt, batch["attention_mask"].repeat_interleave(rows, dim=0), some, rows)
        for b, own in enumerate(some):
            found[b] += [float(first[b, tail[0]] + after[b * rows + i, range(len(tail) - 1), list(tail[1:])].sum())
                         for i, tail in enumerate(own)]
    return found


def _after(model: Any, cache: Any, mask: torch.Tensor, tails: Sequence[Sequence[Tail]], rows: int) -> torch.Tensor:
    """Return the log-probabilities (B * rows, longest - 1, vocabulary) after each token of the replies but the last.

    `mask` (B * rows, L) is that of the prompts in the cache; a row of fewer replies is filled with empty ones.
    """
    longest = max(len(tail) for own in tails for tail in own) - 1
    ids = torch.zeros(len(tails) * rows, longest, dtype=torch.long)
    there = torch.zeros_like(ids)
    for b, own in enumerate(tails):
        for i, tail in enumerate(own):
            ids[b * rows + i, :len(tail) - 1] = torch.tensor(tail[:-1])
            there[b * rows + i, :len(tail) - 1] = 1
    whole = torch.cat([mask, there.to(mask)], dim=1)
    return _shares(model(input_ids=ids.to(mask.device), attention_mask=whole, past_key_values=cache, use_cache=True,
                         **_places(model, whole, longest)))


def _places(model: Any, mask: torch.Tensor, length: int) -> dict[str, torch.Tensor]:
    """Return the positions of the last tokens where the model counts an image as fewer than its tokens (Qwen's)."""
    shifts = [module.rope_deltas for module in turning(model) if module.rope_deltas is not None]
    if not shifts:
        return {}
    shift = shifts[0].repeat_interleave(len(mask) // len(shifts[0]), dim=0).to(mask.device)
    return {"position_ids": (mask.cumsum(-1) - 1)[:, -length:] + shift}


def turning(model: Any) -> list[Any]:
    """Return the part that keeps how far the images of its last prompt moved the positions, where there is one."""
    return [module for module in model.modules() if hasattr(module, "rope_deltas")]


def _shares(output: Any) -> torch.Tensor:
    return output.logits.float().log_softmax(-1).cpu()
