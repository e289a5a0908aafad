"""One image file as a library sees it. Runs in processes of its own: no torch in here."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.images import Picture, read_image
from vaeneer.data.near_duplicates import Fingerprint, fingerprint
from vaeneer.data.pack_index import PackLayout
from vaeneer.data.shrinking import sha256_of
from vaeneer.errors import ImageFileError
from vaeneer.provenance import refuse_own_picture
from vaeneer.stamps import BLANK, stamped

SOURCE_SIDE_PX = 568
"""Short side of what crops are cut from, that of data/square_views.py."""
THUMB_PX = 256
_THUMB_QUALITY = 82
_DESCRIPTION_TAG = 0x010E  # of EXIF


@dataclass(frozen=True)
class SeeJob:
    """One image file to decode."""

    path: Path
    max_megapixels: float
    min_side_px: int


@dataclass(frozen=True)
class Seen:
    """What is kept of one image file; of a bad one the reason."""

    reason: str | None = None
    sha256: bytes = b""
    width_px: int = 0
    height_px: int = 0
    mode: str = ""
    format: str = ""
    bits: int = 8
    notes: tuple[str, ...] = ()
    mean_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)
    prints: Fingerprint | None = None
    thumb: bytes = b""
    """A WebP file, long side up to 256 px."""
    shape: tuple[int, int] = (0, 0)
    """Height and width of `pixels`."""
    pixels: bytes = b""
    """(height, width, 3) uint8, short side up to 568 px."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """The pixels as an array (height, width, 3) uint8."""
        return np.frombuffer(self.pixels, np.uint8).reshape(*self.shape, 3)


def see(job: SeeJob) -> Seen:
    """Decode one file. A bad file answers its reason instead of raising."""
    try:
        sha256 = sha256_of(job.path)  # first: a file that changes now must not look known later
        refuse_own_picture(job.path)
        picture = read_image(
            job.path, max_megapixels=job.max_megapixels, at_least_px=SOURCE_SIDE_PX
        )
    except ImageFileError as error:
        return Seen(error.reason)
    except OSError as error:
        return Seen(f"cannot be read: {error.strerror}")
    size = picture.width_px, picture.height_px
    if min(size) < job.min_side_px:
        return Seen(f"too small: {size[0]} x {size[1]} px, under {job.min_side_px} px")
    return _seen(picture, sha256)


def _seen(picture: Picture, sha256: bytes) -> Seen:
    size = PackLayout(SOURCE_SIDE_PX).stored_size(picture.width_px, picture.height_px)
    small = picture.rgb.resize(size, Image.Resampling.HAMMING)
    pixels = np.asarray(small)
    red, green, blue = (float(pixels[:, :, channel].mean()) / 255 for channel in range(3))
    return Seen(
        sha256=sha256,
        width_px=picture.width_px,
        height_px=picture.height_px,
        mode=picture.mode,
        format=picture.format,
        bits=picture.bits,
        notes=picture.notes,
        mean_rgb=(red, green, blue),
        prints=fingerprint(picture.rgb),
        thumb=_thumbnail(small),
        shape=(pixels.shape[0], pixels.shape[1]),
        pixels=pixels.tobytes(),
    )


def _thumbnail(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[_DESCRIPTION_TAG] = BLANK
    small.save(stream, "WEBP", quality=_THUMB_QUALITY, exif=exif)
    return stamped(stream.getvalue())
