"""Image files opened with Pillow, and once more without their metadata where that fails."""

from __future__ import annotations

import errno
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vaeneer.data.image_formats import (
    HEADER_BYTES,
    deep_colors,
    known_formats,
    starts_as_pillow_reads,
)
from vaeneer.data.pixel_levels import DAMAGED
from vaeneer.data.repair import (
    TIFF_PIXEL_TAGS,
    TIFF_SIZES,
    TruncatedError,
    can_rebuild,
    is_cut_jpeg,
    looks_cut,
    png_chunks,
    rebuild,
)
from vaeneer.data.tiff import is_within, seek_picture
from vaeneer.errors import ImageFileError

_T = TypeVar("_T")
MAX_SIDE_PX = 2**18
"""Longest side of a picture: each row costs, and a small file may have millions of them."""
_TAIL_BYTES = 32
_SPARE_BYTES = 2**16
# fmt: off
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # left, top and steps of each pass
# fmt: on
_RUBBISH_ERRORS = frozenset({errno.EINVAL, errno.EOVERFLOW})  # a seek to a wild offset
_LFS_START = b"version https://git-lfs"
_UNSUPPORTED = ("unsupported", "unimplemented", "cannot handle", "unknown compression")


@dataclass(frozen=True)
class ImageSource:
    """File behind an open image."""

    path: Path
    start: bytes
    """First HEADER_BYTES."""
    rebuilt: bytes | None = None
    """File without the metadata that stopped the decoder."""
    notes: tuple[str, ...] = ()
    """What that left out, as in `Picture.notes`."""

    def read(self) -> bytes:
        """All bytes of the file, as it was opened."""
        return self.path.read_bytes() if self.rebuilt is None else self.rebuilt

    def deep_colors(self) -> NDArray[np.uint16] | None:
        """16-bit colours as in `image_depth.deep_colors`."""
        return deep_colors(self.read())


def decode_file(path: Path, decode: Callable[[Image.Image, ImageSource], _T]) -> _T:
    """Open an image file and decode it; where that fails, again without its metadata.

    decode: gets the open image, whose pixels are not loaded yet.
    Raises ImageFileError with a short reason.
    """
    source = ImageSource(path, first_bytes(path))
    with PILLOW.ours():
        try:
            with Image.open(path, formats=known_formats()) as image:
                return decode(image, source)
        except (ImageFileError, MemoryError):
            raise
        except Exception as error:  # a damaged file makes Pillow raise nearly anything
            if isinstance(error, OSError) and error.strerror and error.errno not in _RUBBISH_ERRORS:
                raise ImageFileError(path, error_reason(error)) from error
            return _decode_rebuilt(source, decode, error)


def _decode_rebuilt(
    source: ImageSource, decode: Callable[[Image.Image, ImageSource], _T], error: Exception
) -> _T:
    path = source.path
    try:
        usable = can_rebuild(source.start, path.stat().st_size)
        for one in rebuild(path.read_bytes()) if usable else ():
            try:
                with Image.open(io.BytesIO(one.data), formats=known_formats()) as image:
                    if one.icc_profile is not None:
                        image.info["icc_profile"] = one.icc_profile
                    start = one.data[:HEADER_BYTES]
                    return decode(image, ImageSource(path, start, one.data, one.notes))
            except Exception as again:  # as in decode_file
                error = again
    except Exception as last:
        error = last
    if isinstance(error, ImageFileError):
        raise error
    raise ImageFileError(path, error_reason(error, source.start)) from error


def seek_checked(image: Image.Image, source: ImageSource, max_megapixels: float) -> None:
    """Turn an open file to the page that is its picture, before the pixels are loaded.

    Raises ImageFileError for a page that Pillow does not read rightly or one of too many pixels,
    TruncatedError where a rebuilt file stands in for pixels that the file does not have.
    """
    if image.format == "TIFF" and not seek_picture(image):
        raise ImageFileError(source.path, "not supported: a TIFF that Pillow does not read rightly")
    if source.rebuilt and not is_within(image, source.path.stat().st_size):
        raise TruncatedError("the pixels are cut")
    check_pixels(source.path, image.size, max_megapixels)


def load_whole(image: Image.Image, source: ImageSource) -> None:
    """Decode the pixels of an open image; refuse those that Pillow fills up where they are cut.

    Raises TruncatedError, and whatever Pillow raises.
    """
    if image.format in ("JPEG", "MPO"):
        tail = _tail(image)
        image.load()
        progressive = bool(image.info.get("progressive"))
        cut = looks_cut(image, tail) and is_cut_jpeg(source.read(), progressive=progressive)
    elif image.format == "PNG":
        tail = _tail(image)
        image.load()
        cut = (b"IEND" not in tail or _ends_empty(image)) and _is_cut_png(source.read())
    else:
        stream, tags = getattr(image, "fp", None), getattr(image, "tag_v2", None)
        cut = stream is not None and tags is not None and _is_cut_tiff(stream, tags.offset)
        image.load()
    if cut:
        raise TruncatedError("the pixels are cut")


def _tail(image: Image.Image) -> bytes:
    """The last bytes of the file of an image that is not loaded yet."""
    stream: IO[bytes] | None = getattr(image, "fp", None)
    if stream is None:
        return b""
    back = stream.tell()
    stream.seek(-min(_TAIL_BYTES, stream.seek(0, io.SEEK_END)), io.SEEK_END)
    tail = stream.read()
    stream.seek(back)
    return tail


def _ends_empty(image: Image.Image) -> bool:
    """Whether one of the last two rows is zero, as rows are that were never decoded."""
    rows = np.asarray(image.crop((0, max(0, image.height - 2), image.width, image.height)))
    return not all(row.any() for row in rows)


def first_bytes(path: Path) -> bytes:
    """The start of an image file; refuses what Pillow has no good words for.

    Raises ImageFileError.
    """
    try:
        if not path.is_file():  # a named pipe would block for ever
            raise ImageFileError(path, "not a file" if path.exists() else "no such file")
        with path.open("rb") as stream:
            start = stream.read(HEADER_BYTES)
    except OSError as error:
        raise ImageFileError(path, error_reason(error)) from error
    if not start:
        raise ImageFileError(path, "empty file")
    if start.startswith(_LFS_START):
        raise ImageFileError(path, "a Git LFS pointer, not the image: run git lfs pull")
    return start


def check_pixels(path: Path, size: tuple[int, int], max_megapixels: float) -> None:
    """Refuse a picture that is too large or too long. Raises ImageFileError."""
    check_sides(path, size)
    width_px, height_px = size
    if width_px * height_px > max_megapixels * 1e6:
        reason = f"{width_px} x {height_px} px, over {max_megapixels:g} megapixels"
        raise ImageFileError(path, f"too many pixels: {reason}")


def check_sides(path: Path, size: tuple[int, int]) -> None:
    """Refuse a picture with a side over MAX_SIDE_PX. Raises ImageFileError."""
    if max(size) > MAX_SIDE_PX:
        reason = f"{size[0]} x {size[1]} px, over {MAX_SIDE_PX} px on a side"
        raise ImageFileError(path, f"too long: {reason}; cut it into pieces")


def error_reason(error: Exception, start: bytes = b"") -> str:
    """A short reason; the words before the colon are the same for all errors of a kind."""
    text = " ".join(str(error).split())[:120]
    if isinstance(error, UnidentifiedImageError):
        return "corrupt: damaged header" if starts_as_pillow_reads(start) else "not an image"
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, (EOFError, TruncatedError)) or "truncated" in text.lower():
        return "truncated: the file ends too early"
    if isinstance(error, NotImplementedError) or text.lower().startswith(_UNSUPPORTED):
        return f"not supported: {text}"
    return f"corrupt: {text or DAMAGED}"


class PillowState:
    """Pillow's pixel limit and warnings are global: ours while any thread reads, then restored."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._limit: int | None = None
        self._warnings = warnings.catch_warnings()

    @contextmanager
    def ours(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")
            self._readers += 1

    def _leave(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._warnings.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self._limit


PILLOW = PillowState()


def _is_cut_png(data: bytes) -> bool:
    """Whether the compressed pixels of a PNG are fewer than its size needs."""
    inflate, have, needed = zlib.decompressobj(), 0, 0
    for name, body, _ in png_chunks(data):
        if name == b"IHDR" and len(body) == 13:
            needed = _png_bytes(body)
        elif name == b"IDAT":
            try:
                have += len(inflate.decompress(body, needed - have + _SPARE_BYTES))
            except zlib.error:
                return True
            if inflate.unconsumed_tail:  # more than all rows
                return False
    if have < needed or inflate.eof:
        return have < needed
    try:
        inflate.decompress(b"\0" * 4)  # behind the last pixel stands their checksum
    except zlib.error as error:
        return "data check" not in str(error)
    return bool(not inflate.eof)


def _png_bytes(header: bytes) -> int:
    """Bytes of all rows before they are compressed, by the body of the chunk IHDR."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * {2: 3, 4: 2, 6: 4}.get(kind, 1)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:
            total += max(0, rows) * (1 + -(-columns * bits // 8))
    return total


def _is_cut_tiff(stream: IO[bytes], first: int) -> bool:
    """Whether the directory of a page, or a tag that its pixels need, lies behind the file's end.

    first: where the directory begins. BigTIFF too.
    """
    back = stream.tell()
    file_bytes = stream.seek(0, 2)
    try:
        stream.seek(0)
        head = stream.read(4)
        order, big = "<" if head[:2] == b"II" else ">", 43 in head[2:]
        count_size, entry_size = (8, 20) if big else (2, 12)
        stream.seek(first)
        count = int.from_bytes(stream.read(count_size), "little" if order == "<" else "big")
        directory = stream.read(min(count, 2**16) * entry_size)
    finally:
        stream.seek(back)
    if len(directory) < count * entry_size:
        return True
    for at in range(0, len(directory), entry_size):
        tag, kind, number, offset = struct.unpack_from(
            order + ("HHQQ" if big else "HHII"), directory, at
        )
        size = TIFF_SIZES.get(kind, 0) * number
        if tag in TIFF_PIXEL_TAGS and size > (8 if big else 4) and offset + size > file_bytes:
            return True
    return False
