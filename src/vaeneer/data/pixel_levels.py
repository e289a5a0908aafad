"""Decoded pixels of any depth, and their 8-bit levels.

What becomes what:

- Unsigned integers of up to 16 bits: their full range, rounded.
- 32-bit integers: up to 65535 they are 16-bit levels, larger ones the full range of their type.
- Signed integers: below 0 is black, the largest value of 8 or 16 bits is white.
- Floats that a display shows as they are ("srgb"): values up to 1 are a share of white, up to 255
  are levels, up to 65535 are 16-bit levels; below 0 is black; NaN, infinity and larger values are
  refused. Of fractions the brightest 1 % do not count and are clipped; where 99 % reach up to 16,
  that is white.
- Linear light ("linear": EXR, HDR, 32-bit PSD): brought to sRGB's primaries; the exposure
  is reduced until 99 % of the pixels are at most white in each channel, never raised; then the
  sRGB curve. Values in 0..1 are thus changed by the sRGB curve alone. NaN and infinity are black.
- Alpha is dropped and the colours under it kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.color import encode_srgb

DAMAGED = "the picture data are damaged"
"""The reason where a decoder gives none that a reader understands."""
WHITE_PERCENTILE = 99.0
"""Share of the pixels of linear light, in percent, that the exposure keeps at or below white."""

_BRIGHTEST_SHARE = 16.0  # a picture of levels is not so dark
_OVERSHOOT = 1.1  # what resampling with a sharp filter adds to the brightest value
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF
_SAMPLED_PIXELS = 1 << 20  # enough for a percentile; a 16k render has 256 times as many

Array = NDArray[Any]
CheckSize = Callable[[int, int], None]
"""Gets width and height in pixels before they are decoded; raises ImageFileError to refuse."""
Space = Literal["srgb", "linear"]


@dataclass(frozen=True)
class Decoded:
    """Pixels of one image file as they are stored, before any loss of depth."""

    values: Array
    """(H, W) or (H, W, C) with 1 to 4 channels, of the file's own dtype, not turned upright."""

    space: Space
    """Whether a display shows the values as they are or they are linear light."""

    orientation: int
    """EXIF orientation, 1 to 8; 1 is upright."""

    mode: str
    """Pillow's name of the pixels where there is one, else in its manner: RGB;16, L;32F, CMYK."""

    format: str
    """Name of the file format: TIFF, EXR, HDR, PSD, HEIF, JXL."""

    bits: int
    """Bits of each channel in the file."""

    notes: tuple[str, ...] = ()
    """What was changed or dropped, for the user."""

    profile: bytes | None = None
    """Embedded ICC profile of the values."""

    matrix: Array | None = None
    """(3, 3): linear light of the file's primaries to that of sRGB's; None where they are equal."""


def name_mode(base: str, values: Array, bits: int) -> str:
    """Pillow's manner of naming pixels: `RGB` of 8 bits, `RGB;16`, `L;32F`, `L;16S`."""
    kind = {"f": "F", "i": "S"}.get(values.dtype.kind, "")
    return base if bits == 8 and not kind else f"{base};{bits}{kind}"


def to_image(decoded: Decoded) -> Image.Image:
    """8-bit picture of decoded pixels: mode L, RGB or CMYK, not turned upright, without alpha.

    `info["icc_profile"]` is the embedded profile. Linear light comes out with the sRGB curve.
    Raises ValueError for floats that are no picture.
    """
    values = decoded.values
    cmyk = decoded.mode.startswith("CMYK")
    if values.ndim == 3 and not cmyk:  # grey + alpha, RGB + alpha
        values = values[..., 0] if values.shape[2] < 3 else values[..., :3]
    if decoded.space == "linear":
        levels = _encode_light(values, decoded.bits, decoded.matrix)
    else:
        levels = _scale(values, decoded.bits)
    image = Image.fromarray(levels, "CMYK") if cmyk else Image.fromarray(levels)
    if decoded.profile:
        image.info["icc_profile"] = decoded.profile
    return image


def to_16_bits(decoded: Decoded) -> Array:
    """Grey (H, W) or colours (H, W, 3) as uint16, without alpha; not for CMYK.

    Raises ValueError for floats that are no picture.
    """
    values = decoded.values
    if values.ndim == 3:
        values = values[..., 0] if values.shape[2] < 3 else values[..., :3]
    return _scale(values, decoded.bits, np.uint16)


def deep_grey(image: Image.Image) -> NDArray[np.uint16]:
    """Grey of mode I;16 as (H, W), black 0 and white 65535; Pillow leaves 12 bits as they are."""
    values = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    if tags.get(_BITS) == (12,):
        values = np.rint(np.minimum(values, 4095) * (65535 / 4095)).astype(np.uint16)
    return 65535 - values if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else values


def float_levels(values: Array, kind: type[np.unsignedinteger[Any]] = np.uint8) -> Array:
    """Levels of floats that a display shows as they are; the scales are in the docstring."""
    if not np.isfinite(values).all():
        raise ValueError("float pixels that are NaN or infinite")
    top = float(values.max())
    if top > _OVERSHOOT * 65535:
        raise ValueError(f"float pixels up to {top:g}, which no picture has")
    white = _white_of(values, top)
    scaled = np.clip(values / values.dtype.type(white), 0, 1).astype(np.float32)
    levels: Array = np.rint(scaled * np.float32(np.iinfo(kind).max)).astype(kind)
    return levels


def _white_of(values: Array, top: float) -> float:
    """Value that is white; a few fractions above 1 do not make levels of shares."""
    if top > 1 and bool((values != np.rint(values)).any()):
        top = _common_maximum(values)
        if 1 < top <= _BRIGHTEST_SHARE:
            return top
        top /= _OVERSHOOT
    return 1.0 if top <= 1 else 255.0 if top <= 255 else 65535.0


def _common_maximum(values: Array) -> float:
    """Value that 99 % of the pixels reach at most, in each channel."""
    step = max(1, int(np.sqrt(values.shape[0] * values.shape[1] / _SAMPLED_PIXELS)))
    sample = values[::step, ::step]
    brightest = sample.max(axis=2) if sample.ndim == 3 else sample
    return float(np.percentile(brightest, WHITE_PERCENTILE))


def blacken_non_finite(values: Array) -> tuple[Array, tuple[str, ...]]:
    """Values with NaN and infinity replaced by 0, and a note where there were any."""
    if values.dtype.kind != "f":
        return values, ()
    bad = ~np.isfinite(values)
    pixels = int((bad.any(axis=2) if bad.ndim == 3 else bad).sum())
    if not pixels:
        return values, ()
    return np.where(bad, values.dtype.type(0), values), (f"NaN or infinite pixels: {pixels}",)


def _scale(values: Array, bits: int, kind: type[np.unsignedinteger[Any]] = np.uint8) -> Array:
    top = np.iinfo(kind).max
    if values.dtype.kind == "f":
        return float_levels(values, kind)
    if values.dtype == kind and bits == np.iinfo(kind).bits:
        return np.ascontiguousarray(values)
    if values.dtype == np.bool_:
        return np.where(values, kind(top), kind(0))
    white = 2**bits - 1
    if values.dtype == np.int32 and int(values.min()) < -32768:
        values = values.view(np.uint32)  # unsigned, whatever its writer called it
    if values.dtype.kind == "i" or bits > 16:
        full = 2**bits - 1 if values.dtype.kind == "u" else int(np.iinfo(values.dtype).max)
        white = 65535 if full > 65535 and int(values.max()) <= 65535 else full
    levels: Array = np.rint(np.clip(values, 0, white) * (top / white)).astype(kind)
    return levels


def _encode_light(values: Array, bits: int, matrix: Array | None) -> Array:
    """8-bit sRGB levels of linear light."""
    light = blacken_non_finite(values)[0].astype(np.float32)
    if values.dtype.kind == "u":
        light /= np.float32(2**bits - 1)
    if matrix is not None and light.ndim == 3:
        light = light @ matrix.T.astype(np.float32)
    white = max(1.0, _common_maximum(light))
    return encode_srgb(light / np.float32(white))
