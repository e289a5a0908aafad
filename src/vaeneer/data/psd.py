"""The flattened image of Photoshop files, PSD and PSB, as Adobe's file format describes them.

Layers are not drawn: the file holds the flattened image beside them, unless it was saved without.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from vaeneer.data.pixel_levels import (
    Array,
    CheckSize,
    Decoded,
    Space,
    blacken_non_finite,
    name_mode,
)
from vaeneer.errors import ImageFileError

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


def read_psd(path: Path, check_size: CheckSize) -> Decoded:
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


def psd_contents(path: Path) -> Iterator[Array]:
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
