"""Photoshop files for tests, written after Adobe's description of the format."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def psd_bytes(
    planes: NDArray[Any],
    *,
    mode: int = 3,
    compression: int = 1,
    big: bool = False,
    palette: bytes = b"",
    composite: bool = True,
    layers: bytes = b"",
    profile: bytes = b"",
) -> bytes:
    """A PSD or PSB whose flattened image is `planes`, (C, H, W), of mode 3 RGB, 1 grey, 4 CMYK ...

    compression: 0 raw, 1 PackBits, 2 ZIP, 3 ZIP with prediction.
    composite: whether the file says that its flattened image is true.
    """
    channels, height, width = planes.shape
    bits = 1 if planes.dtype == np.bool_ else planes.dtype.itemsize * 8
    version = struct.pack(">4sHHI", b"8BIM", 1057, 0, 5) + struct.pack(">I?x", 1, composite)
    if profile:
        version += struct.pack(">4sHHI", b"8BIM", 1039, 0, len(profile)) + profile
    lengths = ">Q" if big else ">I"
    return b"".join(
        (
            struct.pack(">4sH6xHIIHH", b"8BPS", 1 + big, channels, height, width, bits, mode),
            struct.pack(">I", len(palette)) + palette,
            struct.pack(">I", len(version)) + version,
            struct.pack(lengths, len(layers)) + layers,
            struct.pack(">H", compression) + _packed(planes, compression, big),
        )
    )


def _packed(planes: NDArray[Any], compression: int, big: bool) -> bytes:
    width = planes.shape[2]
    if planes.dtype == np.bool_:
        stored = np.packbits(~planes, axis=-1)
    else:
        stored = planes.astype(planes.dtype.newbyteorder(">"))
    rows = stored.reshape(-1, stored.shape[-1])
    if compression == 0:
        return rows.tobytes()
    if compression == 1:
        packed = [_pack_bits(row.tobytes()) for row in rows]
        counts = struct.pack(f">{len(packed)}{'I' if big else 'H'}", *map(len, packed))
        return counts + b"".join(packed)
    if compression == 3 and stored.dtype.itemsize == 4:
        runs = rows.view(np.uint8).reshape(-1, width, 4).transpose(0, 2, 1).reshape(len(rows), -1)
        rows = np.diff(runs, axis=1, prepend=np.uint8(0)).astype(np.uint8)
    elif compression == 3:
        plain = rows.astype(rows.dtype.newbyteorder("="))
        rows = np.diff(plain, axis=1, prepend=plain.dtype.type(0)).astype(rows.dtype)
    return zlib.compress(rows.tobytes())


def _pack_bits(row: bytes) -> bytes:
    """Runs of equal bytes and of others, as TIFF and PSD pack them."""
    packed, at = b"", 0
    while at < len(row):
        run = 1
        while run < 128 and at + run < len(row) and row[at + run] == row[at]:
            run += 1
        if run > 1:
            packed += bytes((257 - run, row[at]))
            at += run
            continue
        end = at + 1
        while end < len(row) and end - at < 128 and row[end] != row[end - 1]:
            end += 1
        packed += bytes((end - at - 1,)) + row[at:end]
        at = end
    return packed
