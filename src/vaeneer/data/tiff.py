"""TIFF files that Pillow cannot read or reads wrongly: floats, 32 bits, planes, several pages.

The picture of a file with several pages is the largest page that is neither marked as reduced nor a
mask; of equal ones the first. What Photoshop, scanners and cameras put before it is a preview.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from vaeneer.data.pixel_levels import DAMAGED, Array, CheckSize, Decoded, name_mode
from vaeneer.errors import FORMATS_HINT, ImageFileError

if TYPE_CHECKING:
    from tifffile import TiffPage


_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_SUBFILE_TYPE, _BITS, _COMPRESSION, _PLANES, _SAMPLE_FORMAT = 254, 258, 259, 284, 339
# fmt: off
_OF_THE_PIXELS = frozenset((
    254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338,
    339,
))
# fmt: on
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and byte counts
_DNG_VERSION, _SUBFILES = 50706, 330
_PLANAR_SEPARATE = 2
_SIZE = (256, 257)
_PHOTOMETRIC, _SAMPLES, _SUBSAMPLING = 262, 277, 530
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_ASSOCIATED_ALPHA = 1
_PAGES = 10_000  # more is a chain that bites its tail
_REMEDY = "save it as 16-bit RGB TIFF or PNG"


def seek_picture(image: Image.Image) -> bool:
    """Turn a TIFF that Pillow has open to the page that is its picture.

    False: Pillow cannot read that page, or would read it wrongly; `read_tiff` is for it.
    """
    best, area, reduced_of = 0, -1, False
    try:
        for page in range(_PAGES):
            try:
                image.seek(page)
            except EOFError:
                break
            except Exception:  # as below; rubbish behind the last page is no page
                if page and not _names_a_size(image):
                    break
                raise
            tags = getattr(image, "tag_v2", {})
            pixels = image.width * image.height
            reduced_of |= _SUBFILES in tags
            if not _secondary(tags.get(_SUBFILE_TYPE, 0)) and pixels > area:
                best, area = page, pixels
        if area < 0 and reduced_of:  # the picture is behind its previews
            return False
        image.seek(best)
    except Exception:  # Pillow raises nearly anything at a page that it does not know
        return False
    tags = getattr(image, "tag_v2", {})
    kind = tags.get(_PHOTOMETRIC)
    if kind is None and tags.get(_SAMPLES, 1) > 2:  # Pillow takes the first channel for grey
        return False
    if (
        kind == _YCBCR
        and tags.get(_COMPRESSION, 1) == 1
        and tags.get(_SUBSAMPLING, (2, 2)) != (1, 1)
    ):
        return False
    bits = set(tags.get(_BITS, (1,)))
    if not bits <= {1, 2, 4, 8, 12, 16} or set(tags.get(_SAMPLE_FORMAT, (1,))) - {1, 4}:
        return image.mode == "F" and kind != _WHITE_IS_ZERO  # float grey
    separate = tags.get(_PLANES, 1) == _PLANAR_SEPARATE
    return not (separate and (bits != {8} or image.mode in ("LA", "PA", "CMYK")))


def _names_a_size(image: Image.Image) -> bool:
    """Whether the directory that Pillow read last is that of a page."""
    tags = getattr(image, "tag_v2", {})
    return all(isinstance(tags.get(tag), int) and tags[tag] > 0 for tag in _SIZE)


def is_within(image: Image.Image, file_bytes: int) -> bool:
    """Whether the pixels of a TIFF that Pillow has open end before `file_bytes`."""
    tags = getattr(image, "tag_v2", {})
    for offsets, counts in (_STRIPS, _TILES):
        spans = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        if any(offset + count > file_bytes for offset, count in spans):
            return False
    return True


def read_tiff(path: Path, check_size: CheckSize) -> Decoded:
    """Read the picture of a TIFF or BigTIFF.

    Raises ImageFileError with a short reason.
    """
    with _opened(path) as pages:
        pictures = [page for page in pages if not _secondary(int(page.subfiletype))] or pages
        page = max(pictures, key=lambda page: page.imagewidth * page.imagelength)
        check_size(page.imagewidth, page.imagelength)
        return _decoded(path, page, check_size)
    raise AssertionError  # _opened swallows no error


def tiff_contents(path: Path) -> Iterator[Array]:
    """Pixels of every page, as they are stored.

    Raises ImageFileError with a short reason.
    """
    with _opened(path) as pages:
        for page in pages:
            _check_tags(path, page)
            yield _pixels(path, page)


@contextmanager
def _opened(path: Path) -> Iterator[list[TiffPage]]:
    """All pages of a file, never none; errors within come as ImageFileError."""
    from tifffile import TiffFile

    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # what it finds wrong must not reach the terminal
    try:
        with TiffFile(path) as tiff:
            pages: list[TiffPage] = []
            for index in range(_PAGES):
                try:
                    pages.append(cast("TiffPage", tiff.pages.get(index, cache=False, aspage=True)))
                except IndexError:
                    break
            if not pages:
                raise ImageFileError(path, "corrupt: a TIFF without a picture")
            if all(_secondary(int(page.subfiletype)) for page in pages):
                pages += _behind_previews(pages)
            yield pages
    except ImageFileError:
        raise
    except Exception as error:  # a damaged file makes tifffile raise nearly anything
        raise ImageFileError(path, _reason(error)) from error


def _behind_previews(pages: list[TiffPage]) -> list[TiffPage]:
    """Pages that the previews name as their sub-files."""
    behind = [page.pages for page in pages if page.pages is not None]
    return [
        cast("TiffPage", group.get(index, cache=False, aspage=True))
        for group in behind
        for index in range(len(group))
    ]


def _secondary(subfile_type: int) -> bool:
    return bool(subfile_type & (_REDUCED | _MASK))


def _decoded(path: Path, page: TiffPage, check_size: CheckSize) -> Decoded:
    _check_tags(path, page)
    kind = int(page.photometric)
    if _DNG_VERSION in page.tags or _DNG_VERSION in page.parent.pages.first.tags:
        raise ImageFileError(path, f"not supported: camera raw, {_REMEDY}")
    if _PHOTOMETRIC not in page.tags and page.samplesperpixel > 2:
        raise ImageFileError(path, "corrupt: the tag that says what the channels are is missing")
    if kind not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK):
        name = getattr(page.photometric, "name", kind)
        raise ImageFileError(path, f"not supported: {name} colour in a TIFF, {_REMEDY}")
    if page.imagedepth != 1:
        raise ImageFileError(path, "not supported: a volume of several slices")
    if page.is_tiled:
        check_size(page.tilewidth, page.tilelength)
    values = _pixels(path, page)
    values = np.moveaxis(values, 0, -1) if values.ndim == 3 and _separate(page) else values
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if kind == _PALETTE:
        table = cast(Array, page.colormap).T
        bits, base = (8 if table.max() < 256 else 16), "RGB"  # 8: written by those who misread TIFF
        values = table[values].astype(np.uint8 if bits == 8 else np.uint16)
    else:
        bits = page.bitspersample
        values, base = _channels(path, page, values, bits)
    if kind == _WHITE_IS_ZERO:
        if values.dtype.kind == "f":
            raise ImageFileError(path, f"not supported: float grey of which 0 is white, {_REMEDY}")
        top = np.iinfo(values.dtype).max if values.dtype.kind == "i" else 2**bits - 1
        values = (1 - values if values.dtype == np.bool_ else top - values).astype(values.dtype)
    orientation = page.tags.valueof(274)
    profile = page.tags.valueof(34675)
    return Decoded(
        values=np.ascontiguousarray(values),
        space="srgb",
        orientation=orientation if orientation in range(1, 9) else 1,
        mode="1" if bits == 1 else name_mode(base, values, bits),
        format="TIFF",
        bits=bits,
        profile=profile if isinstance(profile, bytes) else None,
    )


def _separate(page: TiffPage) -> bool:
    return page.planarconfig == _PLANAR_SEPARATE and page.samplesperpixel > 1


def _channels(path: Path, page: TiffPage, values: Array, bits: int) -> tuple[Array, str]:
    """Grey or colour with at most an alpha channel, and its mode; further channels are dropped."""
    kind = int(page.photometric)
    have = 1 if values.ndim == 2 else values.shape[2]
    base, colours = {_RGB: ("RGB", 3), _CMYK: ("CMYK", 4)}.get(kind, ("L", 1))
    if have < colours:
        raise ImageFileError(path, f"corrupt: {have} channels in a {base} TIFF")
    if kind == _CMYK:
        if bits not in (8, 16) or values.dtype.kind != "u":
            raise ImageFileError(path, f"not supported: CMYK TIFF of {bits} bits, {_REMEDY}")
        return values[..., :4], base
    if have == colours or not page.extrasamples:
        return (values if have == colours else values[..., :colours]), base
    if colours == 1:
        return values[..., :2], "LA"
    values = values[..., :4]
    if int(page.extrasamples[0]) == _ASSOCIATED_ALPHA:
        values = _divide_by_alpha(values)
    return values, "RGBA"


def _divide_by_alpha(values: Array) -> Array:
    """The colours under associated alpha, which are stored multiplied by it."""
    white = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    alpha = values[..., 3:].astype(np.float64) / white
    colours = values[..., :3] / np.where(alpha > 0, alpha, 1.0)
    if values.dtype.kind != "f":
        colours = np.rint(np.clip(colours, 0, white))
    return np.concatenate([colours.astype(values.dtype), values[..., 3:]], axis=2)


def _check_tags(path: Path, page: TiffPage) -> None:
    """Refuse a page of which tifffile left out a damaged tag that its pixels need."""
    file, layout = page.parent.filehandle, page.parent.tiff
    file.seek(page.offset)
    (count,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    entries = file.read(count * layout.tagsize)
    starts = range(0, len(entries) - 1, layout.tagsize)
    codes = {struct.unpack_from(f"{layout.byteorder}H", entries, at)[0] for at in starts}
    if any(code not in page.tags for code in codes & _OF_THE_PIXELS):
        raise ImageFileError(path, "corrupt: damaged header")


def _pixels(path: Path, page: TiffPage) -> Array:
    """Pixels of a page, (H, W), (H, W, C) or (C, H, W); refuses one whose data is not all there."""
    if not page.is_contiguous:  # reading on from the first offset fails where the file ends
        needed = math.prod(page.chunked)
        end = page.parent.filehandle.size
        offsets, counts = page.dataoffsets[:needed], page.databytecounts[:needed]
        if len(offsets) < needed or len(counts) < needed or not all(counts) or not all(offsets):
            raise ImageFileError(path, "corrupt: a part of the picture is missing")
        if any(offset + count > end for offset, count in zip(offsets, counts, strict=True)):
            raise ImageFileError(path, "truncated: the file ends too early")
    expected = page.shape
    values = page.asarray(maxworkers=1)
    if values.dtype.kind not in "buif":
        raise ImageFileError(path, f"not supported: {values.dtype} pixels, {_REMEDY}")
    if values.shape != expected or values.size == 0:
        raise ImageFileError(path, "corrupt: the picture is not of the size that its header says")
    return values


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    if "imagecodecs" in text:
        return f"not supported: compression of this TIFF; {FORMATS_HINT}"
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine"
    if isinstance(error, struct.error) or "IFD" in text:
        return "corrupt: the file is cut off or its header damaged"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, NotImplementedError) or "not supported" in text:
        return f"not supported: {text}"
    if "read" in text and "bytes" in text:
        return "truncated: the file ends too early"
    return f"corrupt: {text or DAMAGED}"
