"""What picture files hold beside the colours of their first frame: alpha, further pages and frames.

Two decals of one colour and other shapes look like copies by their colours; so does a page of a
document beside the whole. Near copies are told apart by what is here. It is read where the colours
of files are near copies, and remembered in the catalog until the file changes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.decoders import decode, format_of, pages
from vaeneer.data.image_files import ImageSource, check_pixels, decode_file, first_bytes
from vaeneer.data.image_headers import orientation_of, upright_values
from vaeneer.data.pixel_digest import spare_channel
from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Catalog
from vaeneer.library.duplicates.registration import THUMB_PX, oriented

MAX_ALPHA_LEVELS = 4.0
"""By which a cell of two alpha channels of 64 x 64 may differ, where the pictures have one size."""

MAX_SCALED_ALPHA_LEVELS = 16.0
"""The same of pictures of two sizes, after a blur. Hard edges scaled to half differ by up to 12, a
hole of a ten thousandth of the picture by more."""

_MAX_MEGAPIXELS = 500.0  # as `read_image`
_BARE_FORMATS = frozenset({"JPEG", "MPO", "PPM"})  # without alpha; the rest of an MPO is previews


@dataclass(frozen=True, eq=False)
class ExtraContent:
    """What one file holds beside the colours of its first frame."""

    alpha: NDArray[np.uint8] | None = None
    """(64, 64), of the upright first frame; None where all of it is opaque."""

    frames: bytes = b""
    """SHA-256 of the further pages or frames; empty where there are none."""

    def __bool__(self) -> bool:
        return self.alpha is not None or bool(self.frames)

    def agrees(self, other: ExtraContent, orientation: int, *, scaled: bool) -> bool:
        """Whether both hold the same, this one turned to one of `likeness.ORIENTATIONS`.

        scaled: whether the pictures have different numbers of pixels.
        """
        import cv2

        if self.frames != other.frames:
            return False
        if self.alpha is None or other.alpha is None:
            return self.alpha is other.alpha
        turned = oriented(self.alpha[..., None].astype(np.float32), orientation)[..., 0]
        difference = turned - other.alpha
        if scaled:
            difference = np.asarray(cv2.GaussianBlur(difference, (0, 0), 1.0), np.float32)
        most = MAX_SCALED_ALPHA_LEVELS if scaled else MAX_ALPHA_LEVELS
        return float(np.abs(difference).max()) <= most


def read_extra(path: Path) -> ExtraContent:
    """Extra content of a picture file. Raises ImageFileError."""
    kind = format_of(first_bytes(path))

    def look(image: Image.Image, source: ImageSource) -> ExtraContent:
        check_pixels(path, image.size, _MAX_MEGAPIXELS)
        spare = spare_channel(image, source)
        return _extra(image) if spare is None else ExtraContent(_small(spare, 1))

    if kind in (None, "TIFF"):
        try:
            return decode_file(path, look)
        except ImageFileError:
            if kind is None:
                raise
    return _deep_extra(path)


def content_classes(
    extras: Sequence[ExtraContent | None], agree: Callable[[int, int], bool]
) -> list[list[int]]:
    """Numbers of the files that hold something, grouped by what; an unknown one (None) is alone.

    agree: whether the extra content of two numbers is the same.
    """
    classes: list[list[int]] = []
    for number, extra in enumerate(extras):
        if extra is not None and not extra:
            continue
        known = (own for own in classes if extra is not None and agree(number, own[0]))
        own = next(known, None)
        if own is None:
            classes.append([number])
        else:
            own.append(number)
    return classes


def known_extras(catalog: Catalog) -> dict[int, ExtraContent]:
    """Extra content of the items where it was read before."""
    rows = catalog.execute("SELECT id, alpha, frames FROM items WHERE alpha NOT NULL")
    return {one: ExtraContent(_unpacked(alpha), frames) for one, alpha, frames in rows}


def keep_extras(catalog: Catalog, found: dict[int, ExtraContent]) -> None:
    """Remember extra content until the files change."""
    rows = [(_packed(extra.alpha), extra.frames, item) for item, extra in found.items()]
    with catalog.writing() as connection:
        connection.executemany("UPDATE items SET alpha = ?, frames = ? WHERE id = ?", rows)


def _extra(image: Image.Image) -> ExtraContent:
    if image.format in _BARE_FORMATS:
        return ExtraContent()
    alpha = _alpha(image) if image.has_transparency_data else None
    digest, count = hashlib.sha256(), getattr(image, "n_frames", 1)
    for number in range(1, count):
        image.seek(number)
        frame = image.convert("RGBA")
        digest.update(f"{frame.width} {frame.height} ".encode())
        digest.update(frame.tobytes())
    return ExtraContent(alpha, digest.digest() if count > 1 else b"")


def _deep_extra(path: Path) -> ExtraContent:
    """The same of a file that Pillow does not read."""
    decoded = decode(path, max_megapixels=_MAX_MEGAPIXELS)
    values = decoded.values
    channels = values.shape[2] if values.ndim == 3 else 1
    alpha = None
    if channels in (2, 4) and not decoded.mode.startswith("CMYK"):
        white = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1.0
        share = np.clip(values[..., -1].astype(np.float32) / white, 0, 1)
        alpha = _small(np.rint(share * 255).astype(np.uint8), decoded.orientation)
    digest, more = hashlib.sha256(), False
    for number, page in enumerate(pages(path)):  # the first has all channels of the picture
        if number or page.size > channels * values.shape[0] * values.shape[1]:
            digest.update(page.tobytes())
            more = True
    return ExtraContent(alpha, digest.digest() if more else b"")


def _alpha(image: Image.Image) -> NDArray[np.uint8] | None:
    values = np.asarray(image.convert("RGBA").getchannel("A"))
    return _small(values, orientation_of(image)[0])


def _small(alpha: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8] | None:
    """An alpha channel (H, W), upright and (64, 64); None where all of it is opaque."""
    import cv2

    if alpha.min() == 255:
        return None
    turned = np.ascontiguousarray(upright_values(alpha, orientation))
    return np.asarray(
        cv2.resize(turned, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA), np.uint8
    )


def _packed(alpha: NDArray[np.uint8] | None) -> bytes:
    return b"" if alpha is None else zlib.compress(alpha.tobytes())


def _unpacked(stored: bytes) -> NDArray[np.uint8] | None:
    if not stored:
        return None
    return np.frombuffer(zlib.decompress(stored), np.uint8).reshape(THUMB_PX, THUMB_PX)
