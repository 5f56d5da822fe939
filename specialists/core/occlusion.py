"""Where does a classifier's opinion hang? The image is covered piece by piece, and the label's probability looked at.

Occlusion sensitivity (Zeiler and Fergus 2014, arXiv 1311.2901). It tells what the net rests on, not where a disease is:
a net that rests on a ruler shows the ruler. Covering is blurring, so that no edge is added.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter

from specialists.core.calibrate import softmax
from specialists.core.errors import UnknownSpecialist
from specialists.core.pictures import HeatMap
from specialists.core.specialist import Specialist
from specialists.core.study import Study, read_study

GRID = 10
"""Places a side; each cover is three places wide, so that it hides what lies on a border too."""
MOST_SIDE = 512
"""The image is made no larger than this first: the nets look at fewer pixels."""
LEAST = 0.02
"""Where no cover takes more than this from the probability, no place stands out."""
BATCH = 20


def heat_map(specialist: Specialist, study: Study, label: str | None = None) -> HeatMap:
    """Return where covering the key frame lowers the probability of a label (None: the most probable).

    Raises UnknownSpecialist where it is no classifier, or has no such label.
    """
    card = specialist.card
    if card.task != "classification":
        raise UnknownSpecialist(f"{card.name} does not classify but answers {card.task}; wanted a classifier. "
                                "Choose one that gave an opinion.")
    picture = study.image()
    picture.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.LANCZOS)
    names = card.label_names
    before = _probabilities(specialist, [np.asarray(picture)])[0]
    label = label or names[int(before.argmax())]
    if label not in names:
        raise UnknownSpecialist(f"{card.name} has no label {label!r}; wanted one of {', '.join(names)}.")
    place = list(names).index(label)
    falls = before[place] - _probabilities(specialist, list(_covered(picture)))[:, place]
    most = float(falls.max())
    if most < LEAST:
        meaning = f"covering any one place takes less than {100 * LEAST:.0f} points from {label}"
        return HeatMap(card.name, label, np.zeros((GRID, GRID), dtype=np.float32), meaning)
    values = (np.clip(falls, 0, None) / most).reshape(GRID, GRID).astype(np.float32)
    return HeatMap(card.name, label, values, f"covering the brightest place takes {100 * most:.0f} points from {label}")


def _covered(picture: Image.Image) -> Iterator[np.ndarray]:
    """Yield the picture (H, W, 3) with one place after the other covered, row by row."""
    pixels = np.asarray(picture)
    height, width = pixels.shape[:2]
    cover = np.asarray(picture.filter(ImageFilter.GaussianBlur(min(width, height) / 8)))
    for row in range(GRID):
        for column in range(GRID):
            made = pixels.copy()
            rows = slice(max(row - 1, 0) * height // GRID, (row + 2) * height // GRID)
            columns = slice(max(column - 1, 0) * width // GRID, (column + 2) * width // GRID)
            made[rows, columns] = cover[rows, columns]
            yield made


def _probabilities(specialist: Specialist, pictures: list[np.ndarray]) -> np.ndarray:
    """Return the calibrated probabilities (N, L) over the card's labels."""
    temperature = float(specialist.card.calibration.get("temperature", 1.0))
    said = []
    for start in range(0, len(pictures), BATCH):
        outputs, _ = specialist.raw([read_study(one) for one in pictures[start:start + BATCH]])
        said += [softmax(row / temperature) for row in outputs]
    return np.stack(said)
