"""Image formats that Pillow does not read, or not rightly: TIFF, EXR, HDR, PSD, HEIC, JPEG XL.

A file's content says which decoder reads it, not its suffix. No library is imported before a file
needs it, and no plug-in is registered with Pillow. Sizes are checked before pixels are decoded.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image

from vaeneer.data import openimageio, tiff
from vaeneer.data.image_files import check_pixels
from vaeneer.data.image_formats import format_of, missing_extra
from vaeneer.data.pixel_levels import (
    DAMAGED,
    Array,
    CheckSize,
    Decoded,
    Space,
    blacken_non_finite,
    name_mode,
)
from vaeneer.errors import ImageFileError

_HDR_TRANSFERS = (16, 18)  # PQ and HLG (ITU-T H.273)
_START_BYTES = 64
_RESOLUTION = re.compile(rb"\n([+-])([XY]) (\d+) ([+-])([XY]) (\d+)\n")


@dataclass(frozen=True)
class _Decoder:
    suffix: str
    read: Callable[[Path, CheckSize], Decoded]
    contents: Callable[[Path], Iterator[Array]]


def decode(path: Path, *, max_megapixels: float) -> Decoded:
    """Read the picture of a file at its full depth.

    Raises ImageFileError with a short reason: not supported, too many pixels, truncated, corrupt.
    """
    read = _decoder(path).read

    def check_size(width_px: int, height_px: int) -> None:
        if width_px < 1 or height_px < 1:
            raise ImageFileError(path, f"corrupt: {width_px} x {height_px} px")
        check_pixels(path, (width_px, height_px), max_megapixels)

    return read(path, check_size)


def stored_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as the header says, not turned upright.

    Raises ImageFileError with a short reason.
    """
    read = _decoder(path).read

    def check_size(width_px: int, height_px: int) -> None:
        raise _SizeReadError(path, width_px, height_px)

    try:
        decoded = read(path, check_size)
    except _SizeReadError as size:
        return size.width_px, size.height_px
    return decoded.values.shape[1], decoded.values.shape[0]


def pages(path: Path) -> Iterator[Array]:
    """Raw pixels of all that a file holds, page by page: further pages, layers, frames, alpha.

    For a digest of the content; a picture is what `decode` reads.
    Raises ImageFileError with a short reason.
    """
    return _decoder(path).contents(path)


class _SizeReadError(ImageFileError):
    """Ends decoding once the size is there."""

    def __init__(self, path: Path, width_px: int, height_px: int) -> None:
        super().__init__(path, "only the size was read")
        self.width_px, self.height_px = width_px, height_px


def _decoder(path: Path) -> _Decoder:
    """Decoder of the format that the first bytes show."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_START_BYTES)
    except OSError as error:
        raise ImageFileError(path, f"cannot be read: {error.strerror}") from error
    name = format_of(start)
    if name is None:
        raise ImageFileError(path, "not an image" if start else "empty file")
    decoder = _decoders()[name]
    missing = missing_extra(decoder.suffix)
    if missing:
        raise ImageFileError(path, missing)
    return decoder


@cache
def _decoders() -> dict[str, _Decoder]:
    return {
        "TIFF": _Decoder(".tif", tiff.read_tiff, tiff.tiff_contents),
        "PSD": _Decoder(".psd", _read_psd, _psd_contents),
        "HDR": _Decoder(".hdr", _read_hdr, _hdr_contents),
        "EXR": _Decoder(".exr", openimageio.read_exr, openimageio.exr_contents),
        "JXL": _Decoder(".jxl", openimageio.read_jxl, openimageio.jxl_contents),
        "HEIF": _Decoder(".heic", _read_heif, _heif_contents),
    }


def _read_hdr(path: Path, check_size: CheckSize) -> Decoded:
    """A Radiance picture by OpenCV, (H, W, 3) float32 of linear light."""
    import cv2

    data = path.read_bytes()
    header = _RESOLUTION.search(data, 0, 1 << 16)
    if header is None:
        damaged = b"\n\n" in data[: 1 << 16]
        raise ImageFileError(
            path, "corrupt: damaged header" if damaged else "truncated: the file ends too early"
        )
    if header.group(1, 2, 4, 5) != (b"-", b"Y", b"+", b"X"):
        raise ImageFileError(path, "not supported: HDR that is turned or mirrored, save it as EXR")
    if b"xyze" in data[: header.start()]:
        raise ImageFileError(path, "not supported: HDR in XYZ colours, save it as EXR")
    height, width = int(header[3]), int(header[6])
    check_size(width, height)
    with _quiet_opencv():
        try:
            values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise ImageFileError(path, "corrupt: the pixels of an HDR file") from error
    if values is None or values.shape != (height, width, 3):
        raise ImageFileError(path, "truncated: the pixels of an HDR file are damaged or cut off")
    return Decoded(values[..., ::-1].copy(), "linear", 1, "RGB;32F", "HDR", 32)


def _hdr_contents(path: Path) -> Iterator[Array]:
    yield _read_hdr(path, lambda width_px, height_px: None).values


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from printing about each damaged file; exceptions say what is wrong."""
    import cv2

    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _read_heif(path: Path, check_size: CheckSize) -> Decoded:
    """The primary image of a HEIC file; libheif turns it upright."""
    import pillow_heif

    with _heif_errors(path), path.open("rb") as stream:
        file = pillow_heif.open_heif(stream, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        image = file[file.primary_index]
        check_size(*image.size)
        info: dict[str, Any] = dict(image.info)
        if (info.get("nclx_profile") or {}).get("transfer_characteristics") in _HDR_TRANSFERS:
            raise ImageFileError(path, "not supported: HEIC in HDR (PQ or HLG), save it as EXR")
        bits = int(info.get("bit_depth", 8))
        values = np.array(image)
        profile = info.get("icc_profile") or None
    base = "L" if values.ndim == 2 else ("LA", "RGB", "RGBA")[values.shape[2] - 2]
    mode = name_mode(base, values, bits)
    return Decoded(values, "srgb", 1, mode, "HEIF", bits, profile=profile)


def _heif_contents(path: Path) -> Iterator[Array]:
    import pillow_heif

    with _heif_errors(path), path.open("rb") as stream:
        for image in pillow_heif.open_heif(stream, convert_hdr_to_8bit=False, hdr_to_16bit=False):
            yield np.array(image)


@contextmanager
def _heif_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except ImageFileError:
        raise
    except Exception as error:  # libheif's errors have no common root
        text = " ".join(str(error).split())[:120]
        cut = isinstance(error, EOFError) or "end of file" in text.lower()
        reason = "truncated: the file ends too early" if cut else f"corrupt: {DAMAGED}"
        if text.lower().startswith("unsupported"):
            reason = f"not supported: {text}"
        raise ImageFileError(path, reason) from error


# PSD and PSB, as Adobe's file format describes them. Layers are not drawn: the file holds the
# flattened image beside them, unless it was saved without.

_MODES = {
    0: ("1", 1),
    1: ("L", 1),
    2: ("P", 1),
    3: ("RGB", 3),
    4: ("CMYK", 4),
    8: ("L", 1),  # duotone: the grey that its inks print
}
_REFUSED_MODES = {7: "multichannel", 9: "Lab"}
_BITS = {0: (1,), 1: (8, 16, 32), 2: (8,), 3: (8, 16, 32), 4: (8, 16), 8: (8, 16)}
_ICC_PROFILE = 1039
_VERSION_INFO = 1057
_REMEDY = "save it as 16-bit TIFF or PNG"
_RAW, _PACKBITS, _ZIP, _ZIP_WITH_PREDICTION = range(4)


@dataclass(frozen=True)
class _Header:
    big: bool  # PSB: longer lengths
    channels: int
    height: int
    width: int
    bits: int
    mode: int

    @property
    def row_bytes(self) -> int:
        return (self.width * self.bits + 7) // 8


def _read_psd(path: Path, check_size: CheckSize) -> Decoded:
    """Read the flattened image.

    Raises ImageFileError with a short reason.
    """
    with _psd_errors(path), path.open("rb") as stream:
        header = _header(path, stream)
        check_size(header.width, header.height)
        colour_table = _section(stream, 4)
        resources = _resources(_section(stream, 4))
        _skip_layers(stream, header)
        version = resources.get(_VERSION_INFO, b"")
        data = stream.read()
        if (len(version) > 4 and not version[4]) or not data:
            reason = "PSD saved without its flattened image, save it with Maximize Compatibility"
            raise ImageFileError(path, f"not supported: {reason}")
        planes = _planes(data, header, min(header.channels, _MODES[header.mode][1] + 1))
        return _decoded(header, planes, colour_table, resources.get(_ICC_PROFILE))
    raise AssertionError  # _psd_errors swallows no error


def _psd_contents(path: Path) -> Iterator[Array]:
    """All channels of the flattened image, (C, H, W), then the bytes of the layers.

    Raises ImageFileError with a short reason.
    """
    with _psd_errors(path), path.open("rb") as stream:
        header = _header(path, stream)
        _section(stream, 4)
        _section(stream, 4)
        start = stream.tell()
        _skip_layers(stream, header)
        left = stream.tell() - start
        yield _planes(stream.read(), header, header.channels)
        stream.seek(start)
        while left > 0:
            yield np.frombuffer(_read(stream, min(left, 1 << 24)), np.uint8)
            left -= 1 << 24


@contextmanager
def _psd_errors(path: Path) -> Iterator[None]:
    """Errors of damaged files as ImageFileError."""
    try:
        yield
    except (struct.error, EOFError) as error:
        raise ImageFileError(path, "truncated: the file ends too early") from error
    except (zlib.error, ValueError) as error:
        raise ImageFileError(path, f"corrupt: {error}") from error


def _header(path: Path, stream: BinaryIO) -> _Header:
    signature, version, *fields = struct.unpack(">4sH6xHIIHH", stream.read(26))
    header = _Header(version == 2, *fields)
    if signature != b"8BPS" or version not in (1, 2):
        raise ImageFileError(path, "corrupt: damaged header")
    if header.mode in _REFUSED_MODES:
        reason = f"{_REFUSED_MODES[header.mode]} colour in a PSD, {_REMEDY}"
        raise ImageFileError(path, f"not supported: {reason}")
    if header.mode not in _MODES or not _MODES[header.mode][1] <= header.channels <= 56:
        raise ImageFileError(path, "corrupt: damaged header")
    if header.bits not in _BITS[header.mode]:
        reason = f"{header.bits} bits in a PSD of its colour mode, {_REMEDY}"
        raise ImageFileError(path, f"not supported: {reason}")
    return header


def _section(stream: BinaryIO, length_bytes: int) -> bytes:
    length = int.from_bytes(_read(stream, length_bytes), "big")
    return _read(stream, length)


def _skip_layers(stream: BinaryIO, header: _Header) -> None:
    length = int.from_bytes(_read(stream, 8 if header.big else 4), "big")
    end = stream.tell() + length
    if end > stream.seek(0, io.SEEK_END):
        raise EOFError
    stream.seek(end)


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _resources(data: bytes) -> dict[int, bytes]:
    """Image resources by id; those after a damaged one are left out."""
    resources: dict[int, bytes] = {}
    at = 0
    while at + 12 <= len(data):
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 6 + (data[at + 6] + 2) // 2 * 2  # a Pascal string, padded to an even length
        size = int.from_bytes(data[at : at + 4], "big")
        resources[number] = data[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
    return resources


def _planes(data: bytes, header: _Header, count: int) -> Array:
    """The first `count` channels, (count, H, W), of the file's own dtype."""
    (compression,) = struct.unpack(">H", data[:2])
    rows = count * header.height
    size = rows * header.row_bytes
    if compression == _RAW:
        pixels = data[2 : 2 + size]
    elif compression == _PACKBITS:
        pixels = _unpack_bits(data, header, rows)
    elif compression in (_ZIP, _ZIP_WITH_PREDICTION):
        pixels = zlib.decompressobj().decompress(data[2:], size)
    else:
        raise zlib.error(f"compression {compression}")
    if len(pixels) < size:
        raise EOFError
    if compression == _ZIP_WITH_PREDICTION:
        pixels = _undo_prediction(pixels, header, rows)
    shape = (count, header.height)
    if header.bits == 1:
        bits = np.unpackbits(np.frombuffer(pixels, np.uint8).reshape(*shape, -1), axis=-1)
        return cast(Array, bits[..., : header.width] == 0)  # 1 is ink
    stored = np.frombuffer(pixels, {8: ">u1", 16: ">u2", 32: ">f4"}[header.bits])
    return cast(Array, stored.reshape(*shape, header.width).astype(stored.dtype.newbyteorder("=")))


def _unpack_bits(data: bytes, header: _Header, rows: int) -> bytes:
    kind = np.dtype(">u4" if header.big else ">u2")
    all_rows = header.channels * header.height
    start = 2 + all_rows * kind.itemsize
    if len(data) < start:
        raise EOFError
    length = int(np.frombuffer(data, kind, rows, offset=2).sum(dtype=np.int64))
    packed = data[start : start + length]
    if len(packed) < length:
        raise EOFError
    try:
        image = Image.frombytes("L", (header.row_bytes, rows), packed, "packbits", "L")
    except ValueError as error:  # fewer pixels than the header says
        raise EOFError from error
    return image.tobytes()


def _undo_prediction(pixels: bytes, header: _Header, rows: int) -> bytes:
    if header.bits == 16:
        words = np.frombuffer(pixels, ">u2").reshape(rows, -1)
        return np.cumsum(words, axis=1, dtype=np.uint16).astype(">u2").tobytes()
    plain = np.cumsum(np.frombuffer(pixels, np.uint8).reshape(rows, -1), axis=1, dtype=np.uint8)
    if header.bits == 32:  # the four bytes of a row's floats lie in four runs
        plain = plain.reshape(rows, 4, header.width).transpose(0, 2, 1)
    return plain.tobytes()


def _decoded(header: _Header, planes: Array, colour_table: bytes, profile: bytes | None) -> Decoded:
    base, count = _MODES[header.mode]
    values = np.ascontiguousarray(np.moveaxis(planes, 0, -1))
    notes: tuple[str, ...] = ()
    if base == "CMYK":  # stored as paper, not as ink
        values = np.iinfo(values.dtype).max - values[..., :4]
    elif base == "P" and len(colour_table) >= 768:
        palette = np.frombuffer(colour_table, np.uint8, 768).reshape(3, 256).T
        values = palette[values[..., 0]]
    elif base == "P":
        base = "L"
    elif base == "1":
        values = values[..., 0]
    elif values.shape[2] > count:
        base = {"L": "LA", "RGB": "RGBA"}[base]
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if header.bits == 32:
        values, notes = blacken_non_finite(values)
    mode = base if header.bits == 1 else name_mode(base, values, header.bits)
    space: Space = "srgb"
    if header.bits == 32:  # linear light, and its profile says no more than that
        space, profile = "linear", None
    return Decoded(values, space, 1, mode, "PSD", header.bits, notes, profile)
