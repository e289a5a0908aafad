"""Which cosines of an image the `surface` network codes, and how large they are in surfaces.

The numbers were read once off crops of photographed surfaces (docs/lab-notebook.md). They are
the values that the network's weights start from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

IMAGE_SIDE_PX = 254
LATENT_SIZE = 512
STYLES = 4
COEFFICIENTS = LATENT_SIZE - STYLES
FREQUENCIES = 52  # half waves across an image: 0 .. 51
_CHROMA = (3, 1)  # coefficients of red - blue and of magenta - green; brightness has the others

Array = NDArray[np.floating[Any]]


class Coefficients(NamedTuple):
    """Which cosine coefficient each of the 508 latents after the styles is; arrays (508,)."""

    place: NDArray[np.int64]
    """Index into (3, FREQUENCIES, FREQUENCIES), flattened."""
    log_scale: Array
    """Logarithm of the standard deviation that is typical of photographed surfaces."""
    patterns: Array
    """(STYLES, 508): what one unit of each style adds to the logarithm of the scale."""


def cosines(count: int, at_px: Array) -> Array:
    """Cosines of 0 .. count - 1 half waves, orthonormal over the 254 pixel centres.

    Returns (count, places): their values at the given places in pixels.
    """
    waves = np.cos(np.pi * np.arange(count)[:, None] * at_px / IMAGE_SIDE_PX)
    waves *= np.sqrt(np.where(np.arange(count) == 0, 1.0, 2.0) / IMAGE_SIDE_PX)[:, None]
    return waves


def coefficients() -> Coefficients:
    """The coefficients that vary most over surfaces: low frequencies, and those along an axis."""
    y, x = np.indices((FREQUENCIES, FREQUENCIES)).reshape(2, -1).astype(float)
    order = np.argsort(np.sqrt(y) + np.sqrt(x), kind="stable")
    counts = (COEFFICIENTS - sum(_CHROMA), *_CHROMA)
    which = np.concatenate([order[:count] for count in counts])
    colour = np.repeat([0, 1, 2], counts)
    y, x = y[which], x[which]
    radius = np.maximum(np.hypot(y, x), 1)
    flat, along_axis = np.hypot(y, x) == 0, np.minimum(y, x) == 0
    variance = 80 * radius**-1.04 * np.where(along_axis, 2.4, 1) / np.array([1, 40, 120])[colour]
    variance[flat] = np.square([410, 113, 46])
    patterns = 0.5 * np.stack([
        np.full_like(radius, 1.58),  # contrast
        0.61 * (np.log(radius) - 2.9),  # fine against coarse
        0.23 * (np.log1p(y) - np.log1p(x)),  # rows against columns
        0.54 * (np.log1p(np.minimum(y, x)) - 1.0),  # oblique against along an axis
    ])  # fmt: skip
    place = colour * FREQUENCIES**2 + which
    return Coefficients(place, 0.5 * np.log(variance), np.where(flat, 0, patterns))
