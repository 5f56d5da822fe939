"""The fast reader of consilium-nano: every image is one square of 25 tokens, so nothing is left to its processor.

It gives the tokens, positions and pixels that the stock processor and model would, and varies the images a little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from assistant.generalist.boxes import UNIT_1000, JsonThousandths
from assistant.generalist.processors import Row
from finetune.data import NOT_LEARNED, Images, offered
from finetune.nano import SIZE, grid, patches
from instruct_data.records import Record, rendered
from specialists.core.errors import BadData

IMAGE_TOKENS = (SIZE // 32) ** 2
IMAGE_SIDE = SIZE // 32
COARSE = JsonThousandths(step=20)
"""How boxes of its own are taught, 3 pixels of its square apart; what tools said is copied as they said it."""


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

    @property
    def length(self) -> int:
        """Tokens, those of images included."""
        return len(self.ids)


class Squares:
    """Reader for consilium-nano: renders records by the tokenizer's chat template and marks the answers."""

    def __init__(self, tokenizer: Any, images: Images) -> None:
        """The template must open an answer with a fixed text, as ChatML does."""
        self.tokenizer, self.images = tokenizer, images
        message = [{"role": "user", "content": "x"}]
        plain = str(tokenizer.apply_chat_template(message, tokenize=False))
        opened = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
        self.opening = tokenizer(opened[len(plain):], add_special_tokens=False)["input_ids"]
        self.image = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self.end, self.pad = tokenizer.eos_token_id, tokenizer.pad_token_id

    def text(self, record: Record) -> str:
        """Return the conversation as serving renders it."""
        messages = list(rendered(record, UNIT_1000 if record.tools else COARSE).messages)
        return str(self.tokenizer.apply_chat_template(messages, tools=offered(record) or None, tokenize=False))

    def read(self, record: Record) -> Sequenced:
        """Return the tokens; raises BadData when images and image parts differ or no answer is found.

        The images are read now and kept: one that cannot be read is found before the first step, not in its midst.
        """
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
        for path in record.images:
            self.images(path)
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

    def collate(self, rows: Sequence[Sequenced], generator: np.random.Generator | None) -> Row:
        """Return one batch, padded on the right; with a generator the images are relit and shifted a little.

        Lengths are multiples of 16, else a CPU keeps a compiled kernel for every length there is.
        """
        length = -(-max(r.length for r in rows) // 16) * 16
        ids = torch.full((len(rows), length), self.pad)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, NOT_LEARNED)
        positions = torch.zeros(3, len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            n = row.length
            ids[i, :n] = torch.from_numpy(row.ids.astype(np.int64))
            mask[i, :n] = 1
            labels[i, :n] = torch.where(torch.from_numpy(row.answer), ids[i, :n], NOT_LEARNED)
            positions[:, i, :n] = torch.from_numpy(row.positions.astype(np.int64))
        batch = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "labels": labels}
        paths = [p for r in rows for p in r.images]
        if paths:
            pixels = torch.from_numpy(np.stack([self.images(p) for p in paths])).permute(0, 3, 1, 2).float() / 255
            pixels = pixels if generator is None else _jitter(pixels, generator)
            batch |= {"pixel_values": patches(pixels), "image_grid_thw": grid(len(paths))}
        return batch


def _jitter(pixels: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Relight and shift by up to 6 pixels; sides stay sides, boxes stay right within a bin or two."""
    count = len(pixels)
    contrast = torch.from_numpy(generator.uniform(0.8, 1.2, (count, 1, 1, 1))).float()
    light = torch.from_numpy(generator.uniform(-0.1, 0.1, (count, 1, 1, 1))).float()
    shift = generator.integers(-6, 7, 2)
    padded = torch.nn.functional.pad(pixels, (6, 6, 6, 6), mode="replicate")
    moved = padded[:, :, 6 + shift[0]:6 + shift[0] + SIZE, 6 + shift[1]:6 + shift[1] + SIZE]
    return ((moved - 0.5) * contrast + 0.5 + light).clamp(0, 1)
