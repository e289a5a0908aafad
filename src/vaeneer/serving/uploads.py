"""Uploaded pictures, checked and written to files; files of items as a browser can show them."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import Request
from PIL import Image
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.responses import FileResponse

from vaeneer.data.image_files import check_sides
from vaeneer.data.images import header_size, read_rgb
from vaeneer.errors import ImageFileError, VaeneerError
from vaeneer.library.catalog import Item
from vaeneer.serving.problems import Problem, as_problem

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
MOST_IMAGES = 32
_MOST_FIELDS = 64
_MOST_FIELD_BYTES = 16 * 1024
_MOST_NAME_CHARACTERS = 100


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


@dataclass(frozen=True)
class Upload:
    """One file of a form."""

    name: str
    """What the client calls it, without folders; only ever shown."""
    stream: BinaryIO


@contextmanager
def read_as_form(form: FormData) -> Iterator[tuple[list[Upload], dict[str, list[str]]]]:
    """The files called `image` of a form, and its other fields. Raises Problem 422."""
    uploads: list[Upload] = []
    fields: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "image":
                raise Problem(422, f"{name[:60]}: files are called image.")
            uploads.append(Upload(_shown(value.filename), value.file))
        elif name == "image":
            raise Problem(422, "image: send a file, with a file name.")
        elif "\0" in value:
            raise Problem(422, f"{name[:60]}: a text has no NUL characters.")
        else:
            fields.setdefault(name, []).append(value)
    yield uploads, fields


async def form_of(request: Request) -> FormData:
    """The form that a request brings. Raises Problem 400 for a malformed one, 415 for another."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise Problem(415, "Send multipart/form-data, with the picture as the file image.")
    try:
        return await request.form(
            max_files=MOST_IMAGES, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD_BYTES
        )
    except (MultiPartException, FormParserError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Problem(400, f"The form cannot be read: {reason or type(error).__name__}.") from None


@contextmanager
def save_uploads(
    uploads: Sequence[Upload], max_megapixels: float
) -> Iterator[tuple[list[Path], float]]:
    """Temporary files of what was sent, and the megapixels of the largest.

    An error that names such a file, in the block or here, becomes a Problem with the client's name
    of it. Nothing is decoded here.
    """
    with tempfile.TemporaryDirectory(prefix="vaeneer-") as folder:
        paths = [Path(folder) / f"image-{number}" for number in range(len(uploads))]
        names = {str(path): one.name for path, one in zip(paths, uploads, strict=True)}
        try:
            largest = 0.0
            for path, upload in zip(paths, uploads, strict=True):
                largest = max(largest, _laid(upload, path, max_megapixels))
            yield paths, largest
        except VaeneerError as error:
            problem = as_problem(error)
            raise Problem(problem.status_code, renamed(str(error), names)) from None


def renamed(text: str, names: dict[str, str]) -> str:
    """A text with temporary files called as the client does."""
    for path, name in names.items():
        text = text.replace(path, name)
    return text


def _laid(upload: Upload, path: Path, max_megapixels: float) -> float:
    with path.open("wb") as target:
        upload.stream.seek(0)
        shutil.copyfileobj(upload.stream, target)
    found = megapixels_of(path)
    if found > max_megapixels:
        reason = f"{found:,.0f} megapixels, over {max_megapixels:g}; send a smaller picture"
        raise ImageFileError(path, reason)
    return found


def _shown(name: Any) -> str:
    """A file name as it may be shown: the last part, printable, not long."""
    last = str(name or "").replace("\\", "/").rpartition("/")[2]
    clean = "".join(sign if sign.isprintable() else "?" for sign in last)
    return clean[:_MOST_NAME_CHARACTERS] or "image"
