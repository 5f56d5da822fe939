"""Records to batches for any family: the template and processor that serving uses, loss on answers alone.

An image is shown to the processor as serving shows it and never cut; what consilium-nano does faster stands in
`squares`. It trains nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image

from assistant.generalist.boxes import BoxCodec
from assistant.generalist.processors import Row, frame, joined, tokens, written
from assistant.template import shown, shown_size
from finetune.nano import SIZE
from instruct_data.records import Record, image_path, rendered
from specialists.core.errors import BadData, BadStudy, UnreadableImage
from specialists.core.inputs import to_square
from specialists.core.study import read_study

NOT_LEARNED = -100
"""Label of a token whose prediction is not trained."""


class Read(Protocol):
    """A conversation as a reader keeps it between the steps: light, without pixels."""

    @property
    def length(self) -> int:
        """Tokens, those of images included."""
        ...


Kept = TypeVar("Kept", bound=Read)


class Reader(Protocol[Kept]):
    """From records to batches, for one checkpoint."""

    images: Images

    def read(self, record: Record) -> Kept:
        """Return what is kept, once its images were read.

        Raises BadData when images and image parts differ or there is no answer to learn, and BadStudy for images.
        """
        ...

    def collate(self, rows: Sequence[Kept], generator: np.random.Generator | None) -> Row:
        """Return a batch with "labels" (B, L); where a generator is given, images may be varied by it."""
        ...


class Images:
    """Images of records, by path."""

    def __init__(self, root: Path, built: Path | None = None) -> None:
        """`root` is the data folder that record paths are relative to, `built` holds the images of the build."""
        self.root, self.built = root, built or root
        self.squares: dict[str, np.ndarray] = {}

    def open(self, path: str) -> Image.Image:
        """Return the whole image, RGB; raises BadStudy that names the path."""
        try:
            return read_study(image_path(path, self.root, self.built)).image()
        except BadStudy as fault:
            raise UnreadableImage(f"{path!r}: {fault}") from fault

    def __call__(self, path: str) -> np.ndarray:
        """Return the image as consilium-nano sees it, uint8 (160, 160, 3), kept once read."""
        if path not in self.squares:
            self.squares[path] = to_square(self.open(path), SIZE)
        return self.squares[path]


@dataclass(frozen=True)
class Conversation:
    """A conversation as the template writes it."""

    text: str
    answers: tuple[tuple[int, int], ...]
    """Where the text of each answer begins and ends, its end token included."""
    images: tuple[str, ...]
    length: int


class Conversations:
    """Reader for a checkpoint of any family, by its own processor."""

    def __init__(self, processor: Any, codec: BoxCodec, images: Images) -> None:
        """`codec` is how the family writes boxes."""
        self.processor, self.codec, self.images = processor, codec, images
        self.frame = frame(processor)
        self.pad = processor.tokenizer.pad_token_id or 0

    def read(self, record: Record) -> Conversation:
        """Return the rendered conversation and its length; its images are read once for that.

        Boxes are written for images of the size that the processor gets.
        """
        parts = sum(p["type"] == "image" for m in record.messages if isinstance(m.get("content"), list)
                    for p in m["content"])
        if parts != len(record.images):
            raise BadData(f"{record.id}: {parts} image parts for {len(record.images)} images; wanted one each.")
        sizes = record.sizes or tuple(self.images.open(path).size for path in record.images)
        text, answers = self._written(rendered(replace(record, sizes=tuple(map(shown_size, sizes))), self.codec))
        if not answers:
            raise BadData(f"{record.id}: no answer to learn; the last message must be the assistant's.")
        kept = Conversation(text, answers, record.images, 0)
        return replace(kept, length=self.encode(kept)["input_ids"].shape[1])

    def _written(self, record: Record) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Return the conversation's text and the spans of its answers.

        The answers stand between what the template writes of the turns before, an answer opened, and the end token.
        """
        turns, tools = list(record.messages), offered(record)
        text, end = written(self.processor, turns, tools, ask=False), self.frame.end
        spans: list[tuple[int, int]] = []
        for i, turn in enumerate(turns):
            if turn["role"] != "assistant":
                continue
            before = written(self.processor, turns[:i], tools, ask=True)
            until = len(written(self.processor, turns[:i + 1], tools, ask=False))
            if not text.startswith(before):
                raise BadData(f"{record.id}: the chat template rewrites earlier turns; leave such conversations out.")
            at = text.rfind(end, len(before), until)
            spans.append((len(before), at + len(end) if at >= 0 else len(text[:until].rstrip())))
        if spans and not text[:spans[-1][1]].endswith(end):  # LLaVA's template ends no answer; its training does
            text = text[:spans[-1][1]] + end
            spans[-1] = (spans[-1][0], len(text))
        return text, tuple(spans)

    def encode(self, row: Conversation) -> Row:
        """Return one conversation as the model takes it, with "labels" (1, L)."""
        images = [shown(self.images.open(path)) for path in row.images]
        asked = {"return_offsets_mapping": True, "return_text_replacement_offsets": True}
        made = tokens(self.processor, row.text, images, **asked)
        offsets, moved = made.pop("offset_mapping")[0], (made.pop("text_replacement_offsets", None) or [[]])[0]
        made = dict(made.convert_to_tensors("pt"))
        labels = torch.full_like(made["input_ids"], NOT_LEARNED)
        for start, end in _expanded(row.answers, moved):
            learned = torch.tensor([a < end and b > start for a, b in offsets])
            labels[0, learned] = made["input_ids"][0, learned]
        return {**made, "labels": labels}

    def collate(self, rows: Sequence[Conversation], generator: np.random.Generator | None) -> Row:
        """Return one batch, padded on the right; images are as they are."""
        return joined([self.encode(row) for row in rows], {"input_ids": self.pad, "labels": NOT_LEARNED}, left=False)


def offered(record: Record) -> list[dict[str, Any]]:
    """Return the tools of a record as serving offers them."""
    return [{k: v for k, v in tool.items() if k != "specialist"} for tool in record.tools]


def _expanded(spans: Sequence[tuple[int, int]], moved: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Return spans of the text as they lie once every mark of an image has become its tokens."""
    ends = [place["span"][1] for place in moved]
    gained = [0, *(place["new_span"][1] - place["span"][1] for place in moved)]
    return [(start + gained[bisect_right(ends, start)], end + gained[bisect_right(ends, end)]) for start, end in spans]


def batches(reader: Reader[Kept], rows: Sequence[Kept], size: int, generator: np.random.Generator) -> Iterator[Row]:
    """Yield batches of conversations of like length in random order."""
    order = generator.permutation(len(rows))
    pool = size * 32
    for start in range(0, len(order), pool):
        chunk = sorted(order[start:start + pool], key=lambda i: rows[i].length)
        groups = [chunk[i:i + size] for i in range(0, len(chunk), size)]
        for g in generator.permutation(len(groups)):
            yield reader.collate([rows[i] for i in groups[g]], generator)
