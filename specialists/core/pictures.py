"""Findings that are pictures of the judged frame: where something matters (a heat map), and the frame made clearer.

Both cover the whole frame at a resolution of their own. Neither says what is there: a heat map is no segmentation, and
an enhanced image is no second look at the patient.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

SCALE = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Colors of 0, 0.25 ... 1: even steps in lightness, also for people who see few colors."""
OPAQUE = 190
"""Opacity, 0..255, of a heat map where it is 1; where it is 0 the image alone is seen."""
MOST_SIDE = 1024
"""Longest side, in pixels, of an enhanced image in JSON."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """How much each place matters for a label."""

    specialist: str
    label: str
    values: np.ndarray
    """float (h, w), 0..1, spread over the whole frame."""
    meaning: str = ""
    """What 1 stands for, in words."""

    def words(self) -> str:
        """Say what it is about and where it is strongest."""
        meant = f" ({self.meaning})" if self.meaning else ""
        if not self.values.any():
            return f"{self.specialist}: heat map of {self.label} without a place that stands out{meant}"
        row, column = np.unravel_index(int(self.values.argmax()), self.values.shape)
        across, down = (column + 0.5) / self.values.shape[1], (row + 0.5) / self.values.shape[0]
        return (f"{self.specialist}: heat map of {self.label}, strongest at {100 * across:.0f} % from the left and "
                f"{100 * down:.0f} % from the top{meant}")

    def json(self) -> dict[str, Any]:
        """Return the map as a gray PNG in base64, 255 for 1."""
        return {"type": "heat_map", "specialist": self.specialist, "label": self.label, "meaning": self.meaning,
                "png": encoded(Image.fromarray((np.clip(self.values, 0, 1) * 255).round().astype(np.uint8)))}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> HeatMap:
        """Return what `json` wrote."""
        values = np.asarray(decoded(said["png"]).convert("L"), dtype=np.float32) / 255
        return cls(said["specialist"], said["label"], values, said.get("meaning", ""))

    def tint(self) -> Image.Image:
        """Return the map as RGBA, the more opaque the higher."""
        values = np.clip(self.values, 0, 1)
        places = np.linspace(0, 1, len(SCALE))
        colors = [np.interp(values, places, [color[channel] for color in SCALE]) for channel in range(3)]
        made = np.stack([*colors, OPAQUE * values], axis=-1).round().astype(np.uint8)
        return Image.fromarray(made, "RGBA")

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return the image under the map."""
        under = image.convert("RGBA")
        over = self.tint().resize(under.size, Image.Resampling.BILINEAR)
        return Image.alpha_composite(under, over).convert("RGB")


@dataclass(frozen=True, eq=False)
class Enhanced:
    """The frame made clearer, e.g. denoised, to be compared with what it was."""

    specialist: str
    done: str
    """What was done to it, in a word or two."""
    pixels: np.ndarray
    """uint8 (h, w) or (h, w, 3), the whole frame."""

    def words(self) -> str:
        """Say what was done."""
        return f"{self.specialist}: the image enhanced ({self.done})"

    def json(self) -> dict[str, Any]:
        """Return the image as PNG in base64, no longer than `MOST_SIDE` on a side."""
        return {"type": "enhanced", "specialist": self.specialist, "done": self.done, "png": encoded(self.image())}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Enhanced:
        """Return what `json` wrote."""
        return cls(said["specialist"], said["done"], np.asarray(decoded(said["png"]).convert("RGB")))

    def image(self) -> Image.Image:
        """Return it as RGB, no longer than `MOST_SIDE` on a side."""
        picture = Image.fromarray(self.pixels).convert("RGB")
        picture.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.LANCZOS)
        return picture

    def overlay(self, image: Image.Image) -> Image.Image:
        """Return it in the size of the image."""
        return self.image().resize(image.size, Image.Resampling.BICUBIC)


def encoded(picture: Image.Image) -> str:
    """Return a picture as PNG in base64."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def decoded(text: str) -> Image.Image:
    """Return the picture of PNG in base64."""
    return Image.open(io.BytesIO(base64.b64decode(text)))
