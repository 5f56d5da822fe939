"""Records to batches: the chat template that serving uses, loss on answers alone, never a truncated image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from finetune.nano import SIZE, grid, patches
from instruct_data.records import Record
from specialists.core.errors import BadData
from specialists.core.inputs import to_square
from specialists.core.study import read_study

IMAGE_TOKENS = (SIZE // 32) ** 2
IMAGE_SIDE = SIZE // 32


@dataclass(frozen=True)
class Sequenced:
    """One conversation as tokens."""

    ids: np.ndarray
    """int32 (L,)."""
    answer: np.ndarray
    """bool (L,): tokens whose prediction is trained."""
    positions: np.ndarray
    """int32 (3, L): time, row, column, as Qwen3-VL counts them."""
    images: tuple[str, ...]


class Encoder:
    """Renders records by the tokenizer's chat template and marks the answers."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """The template must open an answer with a fixed text, as ChatML does."""
        self.tokenizer = tokenizer
        message = [{"role": "user", "content": "x"}]
        plain = str(tokenizer.apply_chat_template(message, tokenize=False))
        opened = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
        self.opening = tokenizer(opened[len(plain):], add_special_tokens=False)["input_ids"]
        self.image = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self.end = tokenizer.eos_token_id

    def text(self, record: Record) -> str:
        """Return the conversation as serving renders it."""
        tools = [{k: v for k, v in t.items() if k != "specialist"} for t in record.tools] or None
        return str(self.tokenizer.apply_chat_template(list(record.messages), tools=tools, tokenize=False))

    def encode(self, record: Record) -> Sequenced:
        """Return the tokens; raises BadData when images and image parts differ or no answer is found."""
        raw = self.tokenizer(self.text(record), add_special_tokens=False)["input_ids"]
        places = [i for i, t in enumerate(raw) if t == self.image]
        if len(places) != len(record.images):
            raise BadData(f"{record.id}: {len(places)} image parts for {len(record.images)} images; wanted one each.")
        ids: list[int] = []
        for token in raw:
            ids += [token] * (IMAGE_TOKENS if token == self.image else 1)
        answer = self._answers(ids)
        if not any(answer):
            raise BadData(f"{record.id}: no answer to learn; the last message must be the assistant's.")
        return Sequenced(np.array(ids, np.int32), np.array(answer), self._positions(ids), record.images)

    def _answers(self, ids: list[int]) -> list[bool]:
        marked, inside, size = [False] * len(ids), False, len(self.opening)
        for i, token in enumerate(ids):
            marked[i] = inside
            if inside and token == self.end:
                inside = False
            elif not inside and i + 1 >= size and ids[i + 1 - size:i + 1] == self.opening:
                inside = True
        return marked

    def _positions(self, ids: list[int]) -> np.ndarray:
        rows: list[tuple[int, int, int]] = []
        at = i = 0
        while i < len(ids):
            if ids[i] != self.image:
                rows.append((at, at, at))
                at, i = at + 1, i + 1
                continue
            rows += [(at, at + r, at + c) for r in range(IMAGE_SIDE) for c in range(IMAGE_SIDE)]
            at, i = at + IMAGE_SIDE, i + IMAGE_TOKENS
        return np.array(rows, np.int32).T


class Images:
    """Decoded training images: uint8 (160, 160, 3) by path, read once."""

    def __init__(self, root: Path) -> None:
        """`root` is the data folder that record paths are relative to."""
        self.root = root
        self.seen: dict[str, np.ndarray] = {}

    def __call__(self, path: str) -> np.ndarray:
        """Return the image."""
        if path not in self.seen:
            self.seen[path] = to_square(read_study(self.root / path).image(), SIZE)
        return self.seen[path]


@dataclass(frozen=True)
class Batch:
    """What one step sees; padding is on the right."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    """(3, B, L)."""
    labels: torch.Tensor
    """(B, L), -100 where nothing is learned."""
    pixel_values: torch.Tensor | None
    image_grid_thw: torch.Tensor | None


def batches(rows: Sequence[Sequenced], images: Images, size: int, pad: int, generator: np.random.Generator,
            jitter: bool = True) -> Iterator[Batch]:
    """Yield batches of rows of like length in random order; images are relit and shifted a little."""
    order = generator.permutation(len(rows))
    pool = size * 32
    for start in range(0, len(order), pool):
        chunk = sorted(order[start:start + pool], key=lambda i: len(rows[i].ids))
        groups = [chunk[i:i + size] for i in range(0, len(chunk), size)]
        for g in generator.permutation(len(groups)):
            yield collate([rows[i] for i in groups[g]], images, pad, generator if jitter else None)


def collate(rows: Sequence[Sequenced], images: Images, pad: int, generator: np.random.Generator | None) -> Batch:
    """Return one batch; lengths are multiples of 16, else a CPU keeps a compiled kernel for every length there is."""
    length = -(-max(len(r.ids) for r in rows) // 16) * 16
    ids = torch.full((len(rows), length), pad)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    positions = torch.zeros(3, len(rows), length, dtype=torch.long)
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n] = torch.from_numpy(row.ids.astype(np.int64))
        mask[i, :n] = 1
        labels[i, :n] = torch.where(torch.from_numpy(row.answer), ids[i, :n], -100)
        positions[:, i, :n] = torch.from_numpy(row.positions.astype(np.int64))
    paths = [p for r in rows for p in r.images]
    if not paths:
        return Batch(ids, mask, positions, labels, None, None)
    pixels = torch.from_numpy(np.stack([images(p) for p in paths])).permute(0, 3, 1, 2).float() / 255
    if generator is not None:
        pixels = _jitter(pixels, generator)
    return Batch(ids, mask, positions, labels, patches(pixels), grid(len(paths)))


def _jitter(pixels: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Relight and shift by up to 8 pixels; sides stay sides, boxes stay right within a bin or two."""
    count = len(pixels)
    contrast = torch.from_numpy(generator.uniform(0.8, 1.2, (count, 1, 1, 1))).float()
    light = torch.from_numpy(generator.uniform(-0.1, 0.1, (count, 1, 1, 1))).float()
    shift = generator.integers(-6, 7, 2)
    padded = torch.nn.functional.pad(pixels, (6, 6, 6, 6), mode="replicate")
    moved = padded[:, :, 6 + shift[0]:6 + shift[0] + SIZE, 6 + shift[1]:6 + shift[1] + SIZE]
    return ((moved - 0.5) * contrast + 0.5 + light).clamp(0, 1)
