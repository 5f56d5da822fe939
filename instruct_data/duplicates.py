"""Finds the same thing twice: conversations about one image in nearly the same words, and nearly the same images.

Words are compared by MinHash (datasketch) or by meaning (sentence-transformers), images by their
256-bit difference hash. It takes nothing away: what to do about a pair is the caller's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from datasketch import MinHash, MinHashLSH

from assistant.collaboration.texts import Encoder

ALIKE = 0.9
"""Share of common word triples from which on two texts are near-duplicates."""
PERMUTATIONS, BANDS = 64, (8, 8)
"""Bands times rows: two texts of 0.9 meet with 99 %."""
MEANING = 0.97
"""Cosine of sentence embeddings from which on two texts mean the same."""
SAME_IMAGE = 14
"""Bits of 256 in which two hashes of nearly the same image may differ."""
BLOCK = 256

Pair = tuple[int, int]


def alike(texts: Sequence[str], threshold: float = ALIKE) -> Iterator[Pair]:
    """Yield (earlier, later) places of texts that share most word triples; each later text once."""
    if len(texts) < 2:
        return
    index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS)
    start = MinHash(num_perm=PERMUTATIONS)
    sketches: list[MinHash] = []
    for place, text in enumerate(texts):
        sketch = start.copy()
        sketch.update_batch([t.encode() for t in triples(text)])
        near = sorted(int(str(n)) for n in index.query(sketch))
        same = next((n for n in near if sketches[n].jaccard(sketch) >= threshold), None)
        if same is not None:
            yield same, place
        index.insert(place, sketch, check_duplication=False)
        sketches.append(sketch)


def triples(text: str) -> set[str]:
    """Return the word triples of a text, numbers and boxes included; of a shorter one the whole."""
    words = re.findall(r"[\w.]+", text.lower())
    return {" ".join(words[i:i + 3]) for i in range(max(1, len(words) - 2))}


def same_meaning(texts: Sequence[str], encoder: Encoder, threshold: float = MEANING) -> Iterator[Pair]:
    """Yield (earlier, later) places of texts whose sentence embeddings are alike; each later text once."""
    if len(texts) < 2:
        return
    vectors = np.asarray(encoder.encode(texts), np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    for start in range(0, len(texts), BLOCK):
        near = vectors[start:start + BLOCK] @ vectors.T >= threshold
        for row, place in enumerate(range(start, min(start + BLOCK, len(texts)))):
            first = int(near[row, :place].argmax()) if place else 0
            if place and near[row, first]:
                yield first, place


def near_images(hashes: Sequence[bytes], sides: Sequence[str], most: int = SAME_IMAGE) -> Iterator[Pair]:
    """Yield pairs of places whose 256-bit hashes differ in few bits and whose sides (splits) differ."""
    if len(hashes) < 2:
        return
    words = np.frombuffer(b"".join(hashes), np.uint64).reshape(len(hashes), -1)
    names = np.asarray(sides)
    for start in range(0, len(hashes), BLOCK):
        block = words[start:start + BLOCK]
        apart = np.zeros((len(block), len(hashes)), np.uint16)
        for word in range(words.shape[1]):
            apart += np.bitwise_count(block[:, word, None] ^ words[None, :, word])
        near = (apart <= most) & (names[start:start + BLOCK, None] != names[None, :])
        yield from ((start + int(i), int(j)) for i, j in zip(*np.nonzero(near), strict=True) if start + i < j)
