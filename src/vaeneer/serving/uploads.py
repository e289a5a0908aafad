"""Uploaded pictures, checked and written to files; files of items as a browser can show them."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import Request, Response
from PIL import Image
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
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


@dataclass(frozen=True)
class StoredFile:
    """A picture of a library that can be read now."""

    name: str
    """In the catalog."""
    path: Path
    facts: os.stat_result
    media_type: str | None
    """Of a file that browsers show as it is; None for others."""

    @classmethod
    def of(
        cls, name: str, path: Path, *, offline: bool, media_type: str | None = None
    ) -> StoredFile:
        """The file at a path. Raises Problem 404 where it cannot be read."""
        try:
            facts = path.stat()
        except OSError:
            what = "offline: its folder is not there now" if offline else "gone"
            raise Problem(404, f"The file is {what}; run vaeneer index again.") from None
        if not stat.S_ISREG(facts.st_mode):  # a named pipe would block for ever
            raise Problem(404, "There is no file any more, but something else of its name.")
        if not os.access(path, os.R_OK):
            raise Problem(404, "The file may not be read by the server; check its permissions.")
        return cls(name, path, facts, media_type)


def media_type_of(item: Item) -> str | None:
    """The media type of an item's file where browsers show it as it is; None for others."""
    return SHOWN.get(item.format) if item.mode in _MODES else None


def etag_of(facts: os.stat_result, max_px: int | None = None) -> str:
    """The ETag of a file, or of a picture of it whose longest side is `max_px`."""
    return f'"{facts.st_mtime_ns:x}-{facts.st_size:x}-{max_px or 0}"'


def unchanged(request: Request, headers: dict[str, str]) -> Response | None:
    """304 where the client has the content of this ETag already; None where it must be sent."""
    asked = request.headers.get("if-none-match", "")
    tags = {one.strip().removeprefix("W/") for one in asked.split(",")}
    if headers["ETag"] in tags or "*" in tags:
        return Response(status_code=304, headers=headers)
    return None


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


@asynccontextmanager
async def read_form(
    request: Request,
) -> AsyncIterator[tuple[list[Upload], dict[str, list[str]]]]:
    """The files called `image` of the form that a request brings, and its other fields.

    Raises Problem 400 for a malformed form, 415 for what is none, 422 for other files.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise Problem(415, "Send multipart/form-data, with the picture as the file image.")
    try:
        form = await request.form(
            max_files=MOST_IMAGES, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD_BYTES
        )
    except (MultiPartException, FormParserError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Problem(400, f"The form cannot be read: {reason or type(error).__name__}.") from None
    uploads: list[Upload] = []
    fields: dict[str, list[str]] = {}
    try:
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
    finally:
        await form.close()


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
