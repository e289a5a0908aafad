"""Orientation of a picture by its EXIF, whatever else is damaged in it."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DAMAGED_EXIF = "metadata dropped: EXIF is damaged"

SIDEWAYS = frozenset({5, 6, 7, 8})
"""Orientations that swap width and height."""

_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FORMATS = {1: "B", 3: "H", 4: "I"}  # TIFF's types that hold a small number


def orientation_of(image: Image.Image) -> tuple[int, bool]:
    """Orientation of an open picture, 1 to 8, and whether its EXIF could be read."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes) and orientation_in(exif) != 1:
        stored = orientation_in(exif)
        return stored or 1, stored is not None
    try:
        stored = image.getexif().get(_TAG, 1)  # XMP and TIFF too
    except Exception:  # rubbish makes Pillow raise nearly anything
        return 1, False
    return (stored if isinstance(stored, int) and stored in _TURNS else 1), True


def orientation_in(exif: bytes) -> int | None:
    """Orientation in the bytes of an EXIF block; 1 where it names none, None if damaged."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, first)
        for at in range(first + 2, first + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", exif, at)
            if tag == _TAG:
                if kind not in _FORMATS or number != 1:
                    return None
                (value,) = struct.unpack_from(order + _FORMATS[kind], exif, at + 8)
                return value if value in _TURNS else 1
    except struct.error:
        return None
    return 1


def orientation_exif(orientation: int) -> bytes:
    """EXIF block with an orientation and nothing else, behind the six bytes that name it."""
    exif = Image.Exif()
    exif[_TAG] = orientation
    return exif.tobytes()


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture upright; itself where it is."""
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def upright_values(values: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Turn an array (H, W) or (H, W, C) upright, as a view."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)  # 5: over the main diagonal
    rows, columns = {
        2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1),
    }.get(orientation, (1, 1))  # fmt: skip
    return values[::rows, ::columns]
