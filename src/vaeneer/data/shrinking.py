"""One image made as small as a pack keeps it. Runs in processes of its own: no torch in here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.images import read_image, resize_rgb
from vaeneer.data.pack_index import PackLayout
from vaeneer.errors import ImageFileError


@dataclass(frozen=True)
class ShrinkJob:
    """One image file to decode and make smaller."""

    path: Path
    layout: PackLayout


@dataclass(frozen=True)
class Shrunk:
    """What became of it: pixels, or a reason."""

    sha256: bytes = b""
    reason: str | None = None
    size_px: tuple[int, int] = (0, 0)
    """Upright width and height in the file."""
    stored_px: tuple[int, int] = (0, 0)
    mean_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pixels: bytes = b""


def shrink(job: ShrinkJob) -> Shrunk:
    """Decode one file and make it as small as the layout says. A bad file answers its reason."""
    sha256 = b""
    try:
        sha256 = sha256_of(job.path)  # first: a file that changes now must not look known later
        pixels, size_px = shrunk_pixels(job.path, job.layout)
    except ImageFileError as error:
        return Shrunk(sha256, error.reason)
    except OSError as error:
        return Shrunk(sha256, f"cannot be read: {error.strerror}")
    height, width = pixels.shape[:2]
    red, green, blue = (  # ten times quicker than a mean over both axes
        float(pixels[:, :, channel].sum(dtype=np.int64)) / (255 * height * width)
        for channel in range(3)
    )
    return Shrunk(sha256, None, size_px, (width, height), (red, green, blue), pixels.tobytes())


def shrunk_pixels(path: Path, layout: PackLayout) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The (h, w, 3) uint8 pixels that a pack keeps, and width and height of the whole image."""
    draft_px = None if layout.square else layout.side_px
    picture = read_image(path, at_least_px=draft_px)
    full = picture.width_px, picture.height_px
    if layout.square:
        return resize_rgb(picture.rgb, layout.side_px), full
    size = layout.stored_size(*full)
    return np.asarray(picture.rgb.resize(size, Image.Resampling.HAMMING)), full


def sha256_of(path: Path) -> bytes:
    """The 32 bytes of a file's SHA-256. Raises ImageFileError for what is no file, and OSError."""
    if not path.is_file():  # a named pipe would block for ever
        raise ImageFileError(path, "not a file" if path.exists() else "no such file")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
