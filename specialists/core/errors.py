"""Errors of specialists, as one tree; says nothing about what the generalist does with them.

SpecialistsError
├── BadStudy (also a ValueError): the image given cannot be used
│   ├── EmptyInput: nothing was given
│   ├── UnreadableImage: missing, damaged or cut off
│   ├── ImageTooLarge: over a limit, found before decoding
│   ├── UnsupportedFormat: not one of the formats that are read
│   └── BadPixels: decoded, yet not an image (NaN, wrong shape, ...)
├── UnknownSpecialist: no specialist or index of that name
├── MissingWeights: a card without its weights, or with other weights than it names
├── NotExported: a net that cannot be had as ONNX
├── BadData: a folder of training data that cannot be used
└── BadCard: a card file that breaks the contract

Every message says what was got, what is wanted and what to do; none holds a value from an image's header.
"""

from __future__ import annotations


class SpecialistsError(Exception):
    """Anything that goes wrong in this package."""


class BadStudy(SpecialistsError, ValueError):
    """The image given cannot be used."""


class EmptyInput(BadStudy):
    """Nothing was given: no image, an empty file, an empty array."""


class UnreadableImage(BadStudy):
    """The file is missing, damaged or cut off."""


class ImageTooLarge(BadStudy):
    """The image is over a limit; found before its pixels are decoded."""


class UnsupportedFormat(BadStudy):
    """The content is not one of the formats that are read."""


class BadPixels(BadStudy):
    """The pixels are no image: NaN, infinite, or of a wrong shape or type."""


class UnknownSpecialist(SpecialistsError):
    """There is no specialist or index of that name."""


class MissingWeights(SpecialistsError):
    """A card's weights are absent, or are not the ones that the card names."""


class NotExported(SpecialistsError):
    """A net has no ONNX form, or one that answers otherwise."""


class BadData(SpecialistsError):
    """Training data that cannot be used."""


class BadCard(SpecialistsError):
    """A card that breaks the contract."""
