"""An item's file as a browser can show it: as it is, or decoded and made smaller."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from PIL import Image
from starlette.responses import FileResponse

from vaeneer.data.image_files import check_sides
from vaeneer.data.images import header_size, read_rgb
from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Item

SHOWN = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
}
"""Media types of what browsers show, by Pillow's names."""
_MODES = frozenset({"1", "L", "P", "RGB"})  # not CMYK, which few show right, nor alpha
_QUALITY = 90
_JPEG_SIDE_PX = 65_500  # that libjpeg writes
_LAST_DATE_S = 253_402_300_799  # the end of the year 9999, in seconds of Unix


class DatedFile(FileResponse):
    """A file as an answer; a time that no HTTP header can say is the nearest that one can."""

    def set_stat_headers(self, stat_result: os.stat_result) -> None:
        """Length, date and tag."""
        seconds = min(max(stat_result[stat.ST_MTIME], 0), _LAST_DATE_S)
        fields = list(stat_result[:10])
        fields[stat.ST_MTIME] = seconds
        super().set_stat_headers(os.stat_result(fields))


def shown_as(item: Item) -> str | None:
    """The media type of a file that a browser shows as it is; None for others."""
    return SHOWN.get(item.format) if item.mode in _MODES else None


def megapixels_of(path: Path) -> float:
    """Megapixels of the header, before anything is decoded.

    Raises ImageFileError for what is no image, or has too long a side.
    """
    size = header_size(path)
    if size is None:
        read_rgb(path, max_megapixels=0)  # says why; it cannot be decoded with 0
        raise ImageFileError(path, "not an image")
    check_sides(path, size)
    return size[0] * size[1] / 1e6


def as_jpeg(path: Path, max_px: int | None, max_megapixels: float) -> bytes:
    """A JPEG file of a picture, upright, its long side up to `max_px`. Raises ImageFileError."""
    picture = read_rgb(path, max_megapixels=max_megapixels, at_least_px=max_px)
    longest = min(max_px or _JPEG_SIDE_PX, _JPEG_SIDE_PX)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    return stream.getvalue()
