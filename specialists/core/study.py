"""What one image, film or volume is, and how it is read from any source into one range and orientation.

Runs no model and trusts nothing: limits are checked before decoding, formats are told by content, header
values pass an allow-list. It reads one file at a time: a series of files is not put together here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagehash
import nibabel as nib
import numpy as np
import pydicom
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from PIL import Image, ImageOps
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder, pixel_array
from pydicom.uid import UID, ImplicitVRLittleEndian, JPEGExtended12Bit

from specialists.core.errors import (
    BadPixels,
    BadStudy,
    EmptyInput,
    ImageTooLarge,
    UnreadableImage,
    UnsupportedFormat,
)

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its warnings quote header values
READ = "PNG, JPEG, TIFF, WebP, DICOM (.dcm) or NIfTI (.nii, .nii.gz)"
DAMAGE = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError,
          RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error, InvalidDicomError,
          HeaderDataError, ImageFileError, WrapStructError)
"""What decoders raise on damaged files; never what this module itself raises on purpose (BadStudy passes)."""


@dataclass(frozen=True)
class Limits:
    """How large an image may be; checked before its pixels are decoded."""

    max_bytes: int = 512 * 2**20
    """Of the file, also after unpacking a .nii.gz."""
    max_pixels: int = 100_000_000
    """Of one frame."""
    max_values: int = 400_000_000
    """Of all frames and channels together."""
    max_side: int = 20_000
    max_frames: int = 10_000


@dataclass(frozen=True, eq=False)
class Study:
    """One image (or film, or volume), checked and normalized."""

    pixels: np.ndarray = field(repr=False)
    """float32 (frames, H, W, C), C 1 or 3, range 0..1 after the window; read-only."""
    spacing_mm: tuple[float | None, float, float] | None
    """Between frames, rows and columns; None where the file does not say."""
    modality: str | None
    """DICOM code ("CT", "MR", "US", ...), only if the file says so."""
    format: str
    """"png", "jpeg", "tiff", "webp", "dicom", "nifti" or "array"."""
    volume: bool
    """The frames are slices in space (not moments, not pages)."""
    window: tuple[float, float] | None
    """Center and width that were used on `values`."""
    header: Mapping[str, str]
    """Technical DICOM values by allow-list: nothing of patients, places, dates; no UIDs, no free text."""
    sha256: str
    """Of the decoded pixels and their shape."""
    values: np.ndarray | None = field(default=None, repr=False)
    """float32 (frames, H, W, 1) in the file's units (HU for CT); None for 8-bit and color."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[1])

    @property
    def frames(self) -> int:
        """Number of frames."""
        return int(self.pixels.shape[0])

    @property
    def key_frame(self) -> int:
        """The frame shown and judged unless another is asked for: the middle one."""
        return self.frames // 2

    def rgb(self, frame: int | None = None) -> np.ndarray:
        """Return a frame (the key frame by default) as uint8 (H, W, 3)."""
        chosen = self.pixels[self.key_frame if frame is None else frame]
        gray_or_color = (chosen * 255).round().astype(np.uint8)
        return np.repeat(gray_or_color, 3, axis=2) if gray_or_color.shape[2] == 1 else gray_or_color

    def image(self, frame: int | None = None) -> Image.Image:
        """Return a frame (the key frame by default) as an RGB picture."""
        return Image.fromarray(self.rgb(frame))

    def dhash(self) -> bytes:
        """Return the 256-bit difference hash of the key frame: near-duplicates differ in few bits."""
        return np.packbits(imagehash.dhash(self.image(), hash_size=16).hash).tobytes()


Source = str | os.PathLike | bytes | np.ndarray | Image.Image | Study


def read_study(source: Source | None, *, limits: Limits = Limits()) -> Study:  # noqa: B008 - frozen
    """Read an image from a path, bytes, PIL or an array (H, W), (H, W, C), (frames, H, W[, C]).

    Raises a BadStudy error that says what was got, what is wanted and what to do.
    """
    if isinstance(source, Study):
        return source
    if source is None:
        raise EmptyInput(f"Got no image; wanted one as {READ}. Give a path, bytes, a picture or an array.")
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    if isinstance(source, Image.Image):
        _check_size(source.width, source.height, 1, len(source.getbands()), limits)
        with _damage_as_unreadable("the picture"):
            return _from_frames([_picture(source)], "array")
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(bytes(source), "the data", limits)
    if isinstance(source, str | os.PathLike):
        return _from_path(source, limits)
    raise UnsupportedFormat(f"Got an object of type {type(source).__name__}; wanted a path, bytes, a PIL "
                            "picture or a numpy array. Convert it first, e.g. with numpy.asarray.")


# --- where it comes from


def _from_path(source: str | os.PathLike, limits: Limits) -> Study:
    try:
        path = Path(os.fsdecode(source))
        name = repr(path.name or str(path))
        if not str(source):
            raise EmptyInput(f"Got an empty path; wanted the path of an image ({READ}). Name a file.")
        if path.is_dir():
            raise UnreadableImage(f"{name} is a folder; wanted an image file ({READ}). Name one inside it.")
        if not path.is_file():
            raise UnreadableImage(f"There is no file {name}; wanted an image ({READ}). Check the path.")
        size = path.stat().st_size
        if size > limits.max_bytes:
            raise _too_many_bytes(name, size, limits)
        data = path.read_bytes()
    except BadStudy:
        raise
    except (OSError, ValueError) as error:  # no permission, a name with a null byte, ...
        raise UnreadableImage(f"The file could not be opened ({type(error).__name__}); wanted a readable "
                              f"image ({READ}). Check its path and permissions.") from None
    return _from_bytes(data, name, limits)


def _from_bytes(data: bytes, name: str, limits: Limits) -> Study:
    if not data:
        raise EmptyInput(f"Got an empty file ({name}, 0 bytes); wanted an image ({READ}). Copy it again.")
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(name, len(data), limits)
    with warnings.catch_warnings():  # decoders warn about files that we judge ourselves
        warnings.simplefilter("ignore")
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _from_picture(data, "png", name, limits)
        if data[:3] == b"\xff\xd8\xff":
            return _from_picture(data, "jpeg", name, limits)
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and data[128:132] != b"DICM":
            return _from_picture(data, "tiff", name, limits)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _from_picture(data, "webp", name, limits)
        if data[128:132] == b"DICM" or _looks_like_bare_dicom(data):
            return _from_dicom(data, name, limits)
        if data[:2] == b"\x1f\x8b":
            data = _unpacked(data, name, limits)
        if data[344:348] == b"n+1\0" or data[4:8] == b"n+2\0":
            return _from_nifti(data, name, limits)
    raise UnsupportedFormat(f"{name} holds {_guess(data)}, whatever its name says; wanted {READ}. "
                            "Export the original image in one of these formats.")


def _from_array(array: np.ndarray, limits: Limits) -> Study:
    wanted = "wanted (H, W), (H, W, C), (frames, H, W) or (frames, H, W, C) with C of 1, 3 or 4"
    if array.size == 0:
        raise EmptyInput(f"Got an empty array of shape {array.shape}; {wanted}. Give an array with pixels.")
    if array.dtype.kind not in "buif":
        raise BadPixels(f"Got an array of type {array.dtype}; wanted integers, floats or booleans.")
    channels_last = array.ndim in (3, 4) and array.shape[-1] in (1, 3, 4)
    if array.ndim == 2 or (array.ndim == 3 and not channels_last):
        array = array[..., None]
    elif not channels_last:
        raise BadPixels(f"Got an array of shape {array.shape}; {wanted}. Reshape or select first.")
    frames = array[None] if array.ndim == 3 else array
    _check_size(frames.shape[2], frames.shape[1], frames.shape[0], frames.shape[3], limits)
    _check_finite(frames)
    if frames.shape[3] == 4:  # alpha is dropped over black, in the array's own range
        top = np.iinfo(frames.dtype).max if frames.dtype.kind in "ui" else 1
        frames = (frames[..., :3] * (frames[..., 3:] / top)).astype(frames.dtype)
    return _from_frames(frames, "array")


def _from_frames(frames: list[np.ndarray] | np.ndarray, kind: str) -> Study:
    """Make a study of frames (H, W, C): bytes by range, floats in 0..1 as they are, the rest min-max."""
    stack = np.asarray(frames)
    if stack.dtype == np.uint8:
        return _study(stack.astype(np.float32) / 255, kind)
    values = stack.astype(np.float32)
    _check_finite(values)
    low, high = float(values.min()), float(values.max())
    if stack.dtype == bool or (stack.dtype.kind == "f" and low >= 0 and high <= 1):
        return _study(values, kind)
    window = ((low + high) / 2, high - low)
    gray = values.shape[3] == 1
    return _study(_windowed(values, window), kind, window=window, values=values if gray else None)


def _study(pixels: np.ndarray, kind: str, **known: Any) -> Study:
    pixels = np.ascontiguousarray(pixels, dtype=np.float32)
    pixels.setflags(write=False)
    values = known.pop("values", None)
    if values is not None:
        values.setflags(write=False)
    sha256 = hashlib.sha256(repr(pixels.shape).encode())
    sha256.update(pixels.data)
    unknown: dict[str, Any] = dict.fromkeys(("spacing_mm", "modality", "window"))
    fields = {**unknown, "volume": False, "header": {}, **known}
    return Study(pixels=pixels, format=kind, sha256=sha256.hexdigest(), values=values, **fields)


# --- pictures: PNG, JPEG, TIFF, WebP


def _from_picture(data: bytes, kind: str, name: str, limits: Limits) -> Study:
    if kind == "png" and len(data) >= 24:  # before the decoder sees it, to name the size
        width, height = struct.unpack(">II", data[16:24])
        _check_size(width, height, 1, 1, limits)
    with _damage_as_unreadable(name):
        picture = Image.open(io.BytesIO(data), formats=[kind.upper()])
        pages = getattr(picture, "n_frames", 1) if kind == "tiff" else 1  # of a film only the first frame
        size = picture.size
        _check_size(*size, pages, len(picture.getbands()), limits)
        frames = []
        for page in range(pages):
            picture.seek(page)
            if picture.size != size:  # smaller copies of the first page (a pyramid, a thumbnail)
                break
            frames.append(_picture(picture))
        same = [frame for frame in frames if (frame.shape, frame.dtype) == (frames[0].shape, frames[0].dtype)]
        return _from_frames(same, kind)


def _picture(picture: Image.Image) -> np.ndarray:
    """Return a decoded frame (H, W, C): uint8, or the wider type of the file; alpha is dropped over black."""
    inverted = getattr(picture, "tag_v2", {}).get(262) == 0 and picture.mode.startswith("I")  # white is zero
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        values = np.asarray(picture)[..., None]
        return values.max() - values if inverted else values
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture.convert("RGBA"))
        mode = "L" if mode in ("1", "L", "LA", "La") else "RGB"
    picture = picture.convert("L" if mode in ("1", "L") else "RGB")
    return np.atleast_3d(np.asarray(picture))


# --- DICOM

CODES = "CR CT DX ES GM IO IVUS MG MR NM OCT OP OPT OT PT PX RF RG RTDOSE RTIMAGE SC SEG SM US XA XC"
BODY_PARTS = """
ABDOMEN ANKLE AORTA ARM BLADDER BRAIN BREAST CAROTID CERVIX CHEST CLAVICLE COCCYX COLON CSPINE ELBOW
ESOPHAGUS EXTREMITY EYE FEMUR FINGER FOOT HAND HEAD HEART HIP HUMERUS JAW KIDNEY KNEE LEG LIVER LSPINE LUNG
MANDIBLE NECK NOSE ORBIT PANCREAS PELVIS PROSTATE RETINA RIB SHOULDER SKIN SKULL SPINE SPLEEN SSPINE STERNUM
STOMACH TESTIS THIGH THORAX THYROID TIBIA TOE TSPINE UTERUS WRIST"""
VIEWS = "AP PA LL RL LLD RLD LLO RLO LAO RAO CC MLO ML LM XCCL XCCM CV AT"
COLORS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB",
          "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
ALLOWED = {
    "Modality": frozenset(CODES.split()),
    "BodyPartExamined": frozenset(BODY_PARTS.split()),
    "ViewPosition": frozenset(VIEWS.split()),
    "Laterality": frozenset("RLUB"),
    "ImageLaterality": frozenset("RLUB"),
    "PhotometricInterpretation": frozenset(COLORS),
}
"""Only these values of these coded elements are kept: a name typed into a coded element does not pass."""
NUMBERS = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored",
           "SliceThickness")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
IN_SPACE = frozenset(("CT", "MR", "PT", "RTDOSE"))
"""Modalities whose several frames are slices of a volume."""


def _looks_like_bare_dicom(data: bytes) -> bool:
    return data[:2] in (b"\x08\0", b"\x02\0", b"\0\x08") and len(data) > 256


def _from_dicom(data: bytes, name: str, limits: Limits) -> Study:
    with _damage_as_unreadable(name):
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        if "Rows" not in dataset or not any(element in dataset for element in PIXELS):
            raise UnreadableImage(f"{name} is a DICOM object without pixels (a report, a plan, or a file cut "
                                  "off before them); wanted a DICOM image. Export it or copy it again.")
        frames = int(dataset.get("NumberOfFrames") or 1)
        samples = int(dataset.get("SamplesPerPixel") or 1)
        _check_size(int(dataset.Columns), int(dataset.Rows), frames, samples, limits)
        stored = _decoded(dataset, name)
        stack = stored.reshape(frames, int(dataset.Rows), int(dataset.Columns), -1)
        header = _header(dataset)
        known: dict[str, Any] = {
            "header": header, "modality": header.get("Modality"), "spacing_mm": _dicom_spacing(dataset),
            "volume": frames > 1 and header.get("Modality") in IN_SPACE}
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            colors = apply_color_lut(stored, dataset)
            colors = colors.reshape(*stack.shape[:3], 3) / np.float32(np.iinfo(colors.dtype).max)
            return _study(colors, "dicom", **known)
        if samples >= 3:
            return _study(stack[..., :3] / np.float32(2 ** int(dataset.BitsStored) - 1), "dicom", **known)
        return _gray_dicom(dataset, stack, known)


def _decoded(dataset: pydicom.Dataset, name: str) -> np.ndarray:
    """Return the stored values, or tell a compression that is not read from a damaged file."""
    if not hasattr(dataset.file_meta, "TransferSyntaxUID"):  # no first part: the standard's default
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        return pixel_array(dataset)
    except DAMAGE:
        twelve_bit = syntax == JPEGExtended12Bit
        if syntax.is_compressed and (twelve_bit or not _can_decode(syntax)):
            how = syntax.name if syntax.name != str(syntax) else "something unknown"
            raise UnsupportedFormat(f"{name} is a DICOM image compressed as {how}, which is not "
                                    "read here; wanted uncompressed, RLE, JPEG baseline, JPEG-LS or JPEG 2000. "
                                    "Decompress it, e.g. with gdcmconv --raw.") from None
        raise UnreadableImage(f"{name} is a DICOM image whose pixels are cut off or damaged; wanted "
                              f"{dataset.Rows} x {dataset.Columns} whole pixels. Copy it again.") from None


def _can_decode(syntax: UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _gray_dicom(dataset: pydicom.Dataset, stack: np.ndarray, known: dict[str, Any]) -> Study:
    """Apply rescale, window (the first of several) and MONOCHROME1, in this order; padding is black in the end."""
    if "ModalityLUTSequence" in dataset:
        values = np.asarray(apply_modality_lut(stack, dataset), dtype=np.float32)
        plain = False
    else:
        scale = [(_number(dataset, "RescaleSlope", 1.0, f), _number(dataset, "RescaleIntercept", 0.0, f))
                 for f in range(stack.shape[0])]
        slope, intercept = np.asarray(scale, dtype=np.float32).T.reshape(2, -1, 1, 1, 1)
        values = stack.astype(np.float32) * slope + intercept
        plain = set(scale) == {(1.0, 0.0)}
    _check_finite(values)
    padding = _padding(dataset, stack)
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    function = str(_functional(dataset, "VOILUTFunction") or "LINEAR")
    window: tuple[float, float] | None = None
    if center is not None and width is not None and width > (1 if function == "LINEAR" else 0):
        window = (center, width)
        pixels = _voi(values, center, width, function)
    elif "VOILUTSequence" in dataset:
        looked_up = np.asarray(apply_voi_lut(stack, dataset), dtype=np.float32)
        seen = _without(padding, looked_up)
        low, high = float(seen.min()), float(seen.max())
        pixels = _windowed(looked_up, ((low + high) / 2, high - low))
    elif plain and int(dataset.get("BitsStored") or 16) <= 8 and values.min() >= 0:
        top = 2.0 ** int(dataset.BitsStored) - 1  # a screen picture: its range is its window
        pixels = np.clip(values / np.float32(top), 0, 1)
    else:
        window = _robust_window(_without(padding, values))
        pixels = _windowed(values, window)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = 1 - pixels
    if padding is not None:
        pixels = np.where(padding, np.float32(0), pixels)
    return _study(pixels, "dicom", window=window, values=values, **known)


def _padding(dataset: pydicom.Dataset, stack: np.ndarray) -> np.ndarray | None:
    """Return which stored values (not rescaled ones) are no part of the image, DICOM PS3.3 C.7.5.1.1.2; None: all are.

    Padding alone would be no image: then nothing is. A bound may be written with the other sign than the pixels have.
    """
    value = _number(dataset, "PixelPaddingValue")
    if value is None or stack.dtype.kind not in "iu":
        return None
    bounds = (value, _number(dataset, "PixelPaddingRangeLimit", value))
    bits = int(dataset.BitsAllocated)
    least = -(2 ** (bits - 1)) if int(dataset.get("PixelRepresentation") or 0) else 0
    low, high = sorted((int(bound) - least) % 2 ** bits + least for bound in bounds)
    padding = (stack >= low) & (stack <= high)
    return padding if padding.any() and not padding.all() else None


def _without(padding: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    return values if padding is None else values[~padding]


def _voi(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -60, 60)))
    if function == "LINEAR_EXACT":
        return _windowed(values, (center, width))
    return _windowed(values, (center - 0.5, width - 1))


def _functional(dataset: pydicom.Dataset, name: str, frame: int = 0) -> Any:
    """Return an element from the top, or from the (shared, per-frame) groups of an enhanced image."""
    if name in dataset:
        return dataset[name].value
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for group in [*(dataset.get("SharedFunctionalGroupsSequence") or [])[:1], *per_frame[frame:frame + 1]]:
        for element in group:
            if element.VR == "SQ" and element.value and name in element.value[0]:
                return element.value[0][name].value
    return None


def _number(dataset: pydicom.Dataset, name: str, default: Any = None, frame: int = 0) -> Any:
    value = _functional(dataset, name, frame)
    if isinstance(value, MultiValue | list | tuple):
        value = value[0] if len(value) else None
    if value is None or value == "":
        return default
    return float(value) if np.isfinite(float(value)) else default


def _dicom_spacing(dataset: pydicom.Dataset) -> tuple[float | None, float, float] | None:
    between = _number(dataset, "SpacingBetweenSlices") or _number(dataset, "SliceThickness")
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = _functional(dataset, name)
        if pair is not None and len(pair) == 2 and all(np.isfinite(float(v)) and float(v) > 0 for v in pair):
            return between or None, float(pair[0]), float(pair[1])
    regions = dataset.get("SequenceOfUltrasoundRegions") or []
    if len(regions) == 1 and {regions[0].get(f"PhysicalUnits{axis}Direction") for axis in "XY"} == {3}:
        row, column = (abs(float(regions[0].get(f"PhysicalDelta{axis}") or 0)) * 10 for axis in "YX")  # cm
        if row and column:
            return None, row, column
    return None


def _header(dataset: pydicom.Dataset) -> dict[str, str]:
    kept = {}
    for name, values in ALLOWED.items():
        value = str(dataset.get(name) or "").strip().upper()
        if value in values:
            kept[name] = value
    for name in NUMBERS:
        value = _number(dataset, name)
        if value is not None:
            kept[name] = f"{value:g}"
    return kept


# --- NIfTI


def _unpacked(data: bytes, name: str, limits: Limits) -> bytes:
    """Return what a gzip file holds, refusing before more than the limit is unpacked."""
    with _damage_as_unreadable(name):
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(data)).read(limits.max_bytes + 1)
    if len(unpacked) > limits.max_bytes:
        raise _too_many_bytes(name + ", unpacked", len(unpacked), limits)
    return unpacked


def _from_nifti(data: bytes, name: str, limits: Limits) -> Study:
    """Read slices from feet to head, shown as radiologists do: the patient's right on the left, front up."""
    with _damage_as_unreadable(name):
        picture = (nib.Nifti1Image if data[344:348] == b"n+1\0" else nib.Nifti2Image).from_bytes(data)
        shape = [*picture.shape, 1, 1][:max(3, len(picture.shape))]
        if len(picture.shape) < 2 or min(shape) < 1:
            raise BadPixels(f"{name} is a NIfTI file of shape {picture.shape}; wanted an image or a volume "
                            "(x, y[, z[, time]]). Export the image itself.")
        moments = len(shape) == 4 and shape[2] == 1
        _check_size(shape[0], shape[1], shape[3] if moments else shape[2], 1, limits)
        if not moments and len(shape) > 3:
            picture = picture.slicer[(slice(None),) * 3 + (0,) * (len(shape) - 3)]  # the first volume
        if np.dtype(picture.get_data_dtype()).kind == "c":
            raise BadPixels(f"{name} holds complex numbers; wanted real intensities. Export the magnitude.")
        picture = nib.as_closest_canonical(picture)
        stored = np.asanyarray(picture.dataobj)
        color = stored.dtype.names is not None
        array = np.stack([stored[c] for c in "RGB"], axis=-1) if color else stored[..., None]
        array = array.reshape(*[*picture.shape, 1, 1][:2], -1, array.shape[-1])  # (x, y, frames, C)
        values = np.ascontiguousarray(array[::-1, ::-1].transpose(2, 1, 0, 3), dtype=np.float32)
        _check_finite(values)
        volume = values.shape[0] > 1 and not moments
        known: dict[str, Any] = {"spacing_mm": _nifti_spacing(picture), "volume": volume}
        if color:
            return _study(values / 255, "nifti", **known)
        window = _robust_window(values)
        return _study(_windowed(values, window), "nifti", window=window, values=values, **known)


def _nifti_spacing(picture: Any) -> tuple[float | None, float, float] | None:
    unit = {"meter": 1000.0, "micron": 0.001}.get(picture.header.get_xyzt_units()[0], 1.0)
    x, y, z = ([float(v) * unit for v in picture.header.get_zooms()] + [0.0, 0.0])[:3]
    if not (np.isfinite([x, y, z]).all() and x > 0 and y > 0):
        return None
    return (z if z > 0 and len(picture.shape) > 2 else None), y, x


# --- ranges, limits, words


def _windowed(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    center, width = window
    if not width > 0:
        return np.zeros_like(values, dtype=np.float32)
    return np.clip((values - np.float32(center - width / 2)) / np.float32(width), 0, 1)


def _robust_window(values: np.ndarray) -> tuple[float, float]:
    """Return the window from the 1st to the 99th percentile; from minimum to maximum where these coincide."""
    flat = values.reshape(-1)
    low, high = np.percentile(flat[::max(1, flat.size // 2_000_000)], (1, 99))
    if not high > low:
        low, high = flat.min(), flat.max()
    return float(low + high) / 2, float(high - low)


def _check_finite(values: np.ndarray) -> None:
    if values.dtype.kind != "f":
        return
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise BadPixels(f"Got {bad:,} of {values.size:,} pixels that are NaN or infinite; wanted finite "
                        "numbers. Replace them, e.g. by the background, with numpy.nan_to_num.")


def _check_size(width: int, height: int, frames: int, channels: int, limits: Limits) -> None:
    several = f" and {frames:,} frames" if frames != 1 else ""
    got = f"Got an image of {width:,} x {height:,} pixels{several}"
    if min(width, height, frames) < 1:
        raise UnreadableImage(f"{got}; wanted at least one pixel. Export or copy it again.")
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise ImageTooLarge(f"{got}; wanted at most {limits.max_side:,} a side and {limits.max_pixels:,} a "
                            "frame. Reduce its size or cut out the region of interest.")
    if frames > limits.max_frames or width * height * frames * channels > limits.max_values:
        raise ImageTooLarge(f"{got}; wanted at most {limits.max_frames:,} frames and {limits.max_values:,} "
                            "values in all. Select fewer frames.")


def _too_many_bytes(name: str, size: int, limits: Limits) -> ImageTooLarge:
    most = f"{limits.max_bytes / 2**20:,.0f} MiB"
    return ImageTooLarge(f"{name} has {size / 2**20:,.0f} MiB or more; wanted at most {most}. "
                         "Reduce its size or select fewer frames.")


@contextmanager
def _damage_as_unreadable(name: str) -> Iterator[None]:
    """Turn what decoders raise into one error, without their words: those may quote the header."""
    try:
        yield
    except BadStudy:
        raise
    except Image.DecompressionBombError:
        raise ImageTooLarge(f"{name} declares far more pixels than an image here may have; wanted at most "
                            f"{Limits.max_pixels:,} a frame. Reduce its size.") from None
    except DAMAGE:
        raise UnreadableImage(f"{name} is cut off or damaged: its pixels cannot be decoded; wanted a whole "
                              f"image ({READ}). Export or copy it again.") from None


def _guess(data: bytes) -> str:
    for magic, words in ((b"GIF8", "a GIF"), (b"BM", "a BMP"), (b"%PDF", "a PDF"),
                         (b"PK\x03\x04", "a ZIP"), (b"\0\0\0\x0cjP", "a JPEG 2000 picture")):
        if data.startswith(magic):
            return words
    head = data[:512]
    if all(32 <= byte < 127 or byte in b"\t\r\n" or byte >= 128 for byte in head):
        return "text"
    return "no known image format"
