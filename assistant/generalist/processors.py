"""A checkpoint's processor and chat template, whatever its family: the same text and tokens for serving and tuning.

It runs no model and reads no image file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoConfig, AutoProcessor
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from assistant.errors import GeneralistError
from assistant.generalist.boxes import BoxCodec, JsonPixels, codec_for
from assistant.generalist.turns import written_call

Row = dict[str, torch.Tensor]
"""One prompt, or a batch, as the model takes it: ids (B, L) and masks of their shape, pixels, grids."""
PROBE = "An answer that no template writes by itself."


def load_processor(path: str | Path) -> Any:
    """Return the checkpoint's processor; where torchvision is missing, the same without its video part.

    transformers' video processors need torchvision, and AutoProcessor refuses the whole for their sake. A
    processor got this way must not be saved over the checkpoint: its file would lack the video block.
    """
    try:
        return AutoProcessor.from_pretrained(path)
    except (ImportError, RuntimeError) as error:
        kind: Any = PROCESSOR_MAPPING.get(type(AutoConfig.from_pretrained(path)), None)
        if kind is None or "video_processor" not in kind.get_attributes():
            raise GeneralistError(f"No processor for {path}: {error}") from error
        kept = [name for name in kind.get_attributes() if name != "video_processor"]
        still = type(kind.__name__, (kind,), {"get_attributes": classmethod(lambda cls: kept)})
        return still.from_pretrained(path)


def codec_of(path: str | Path) -> BoxCodec:
    """Return how the checkpoint writes boxes; where that is in pixels, in those of its own processor's resize."""
    codec = codec_for(str(AutoConfig.from_pretrained(path).model_type))
    if not isinstance(codec, JsonPixels):
        return codec
    seen = load_processor(path).image_processor
    return JsonPixels(seen.patch_size * seen.merge_size, seen.size["shortest_edge"], seen.size["longest_edge"])


def written(
    processor: Any, turns: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = (), *, ask: bool
) -> str:
    """Return the conversation as the checkpoint's template writes it; with `ask` an answer is opened at its end.

    Templates such as LLaVA's and Idefics3's read parts alone and drop a plain text without a word: they get parts.
    """
    given = list(turns)
    if PROBE not in _applied(processor, [{"role": "user", "content": PROBE}]):
        given = [_in_parts(turn) for turn in given]
    return _applied(processor, given, tools=list(tools) or None, add_generation_prompt=ask)


def _applied(processor: Any, turns: Sequence[Mapping[str, Any]], **kwargs: Any) -> str:
    return str(processor.apply_chat_template(list(turns), tokenize=False, **kwargs))


def _in_parts(turn: Mapping[str, Any]) -> dict[str, Any]:
    content = turn.get("content") or ""
    return {**turn, "content": [{"type": "text", "text": content}] if isinstance(content, str) else content}


@dataclass(frozen=True)
class Frame:
    """What a template writes round an answer."""

    lead: str
    """Between the opening of an answer and its words, e.g. a blank."""
    end: str
    """The token that ends an answer, as text."""
    calls: bool
    """It writes calls of tools as `turns.written_call` does."""


def frame(processor: Any) -> Frame:
    """Return how the template frames an answer; where it ends none (LLaVA), the tokenizer's end of text does."""
    question = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
    opened = written(processor, [question], ask=True)
    whole = written(processor, [question, {"role": "assistant", "content": PROBE}], ask=False)
    if not whole.startswith(opened) or PROBE not in whole:
        raise GeneralistError("The chat template writes an answer otherwise than it opens one; it cannot be used.")
    lead, _, after = whole[len(opened) :].partition(PROBE)
    tokenizer = processor.tokenizer
    marks = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special and str(t) in after]
    end = min(marks, key=after.index, default=tokenizer.eos_token)
    return Frame(lead, str(end), _calls_in_tags(processor))


def _calls_in_tags(processor: Any) -> bool:
    """Tell whether the template writes a call as JSON between the tags that `turns` reads, name first."""
    function = {"name": "ask", "arguments": {"k": 3, "of": ["a", "b"]}}
    turns = [{"role": "user", "content": "Hello"},
             {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}]
    try:
        return written_call(**function) in written(processor, turns, ask=False)
    except (TemplateError, TypeError):
        return False


def tokens(processor: Any, text: str, images: Sequence[Any], **kwargs: Any) -> Any:
    """Return what the processor makes of a rendered conversation and its images; no begin token comes twice."""
    begins = text.startswith(processor.tokenizer.bos_token or "\0")
    return processor(text=[text], images=list(images) or None, add_special_tokens=not begins, **kwargs)


def joined(rows: Sequence[Row], fills: Mapping[str, int], *, left: bool) -> Row:
    """Return rows as one batch: token rows (1, L) padded with `fills` (else 0), images one after the other."""
    longest = max(row["input_ids"].shape[1] for row in rows)
    batch: Row = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        having = [row for row in rows if name in row]
        if having[0][name].shape == having[0]["input_ids"].shape:
            batch[name] = torch.cat([_padded(row[name], longest, fills.get(name, 0), left) for row in having])
        else:
            batch[name] = _stacked([row[name] for row in having])
    return batch


def _padded(value: torch.Tensor, length: int, fill: int, left: bool) -> torch.Tensor:
    missing = length - value.shape[1]
    return torch.nn.functional.pad(value, (missing, 0) if left else (0, missing), value=fill)


def _stacked(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the values one after the other; where all but the first sizes differ (tiles of an image), zeros fill."""
    shape = [max(sizes) for sizes in zip(*(v.shape[1:] for v in values), strict=True)]
    room = torch.zeros(sum(len(v) for v in values), *shape, dtype=values[0].dtype)
    at = 0
    for value in values:
        room[(slice(at, at + len(value)), *(slice(0, n) for n in value.shape[1:]))] = value
        at += len(value)
    return room
