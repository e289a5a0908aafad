"""Containers rebuilt with what the pixels need, where rubbish in metadata stops a decoder.

Colour and orientation that are whole are carried over; all other metadata is dropped.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from vaeneer.data.image_formats import orientation_exif, orientation_in
from vaeneer.data.jpeg_repair import TruncatedError, rebuild_jpeg

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*")
_LEADING_BYTES = 64  # of rubbish before a picture: a line feed, a byte order mark
_PROFILE_BYTES = 2**25
_SPARE_BYTES = 2**16
_FILE_BYTES = 2**31  # larger files are not read into memory
_TEXT_BYTES = 2**20  # Pillow's limit

_PNG_SIZES = {b"pHYs": 9, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"tIME": 7, b"oFFs": 9}
_WEBP_PIXELS = (b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF")
_PNG_TRNS_SIZES = {0: 2, 2: 6}  # of grey and of colour
_PNG_COLOR = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP"})
_PNG_MOTION = frozenset({b"acTL", b"fcTL", b"fdAT"})
# fmt: off
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # left, top and steps of each pass
_TIFF_PIXEL_TAGS = frozenset((
    254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322,
    323, 324, 325, 332, 338, 339, 347, 529, 530, 531, 532,
))
# fmt: on
_TIFF_PROFILE_TAG = 34675
_TIFF_CHUNKS = ((273, 279), (324, 325))  # where strips and tiles begin, and their sizes
_TIFF_CHUNK_TAGS = frozenset(tag for pair in _TIFF_CHUNKS for tag in pair)
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


@dataclass(frozen=True)
class Rebuilt:
    """A picture file without the metadata that stops a decoder."""

    data: bytes
    notes: tuple[str, ...]
    """What was dropped, as in `Picture.notes`."""
    icc_profile: bytes | None = None
    """A whole profile that the decoder would refuse for its size."""


def rebuild(data: bytes) -> Iterator[Rebuilt]:
    """Yield rebuilt files to try in turn, none for a format without a way to rebuild it.

    Raises TruncatedError for a JPEG whose pixels are cut.
    """
    offset = _start_of_picture(data)
    notes = (f"{offset} bytes before the picture dropped",) if offset else ()
    data = data[offset:]
    if data.startswith(_PNG):
        yield from _png(data, notes)
    elif data.startswith(_JPEG):
        whole, dropped = rebuild_jpeg(data)
        yield Rebuilt(whole, (*notes, *dropped))
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        yield from _webp(data, notes)
    elif data.startswith(_TIFF):
        yield from _tiff(data, notes)
    elif data[4:12] == b"ftypavif":
        _check_boxes(data)


def can_rebuild(start: bytes, file_bytes: int) -> bool:
    """Whether `rebuild` has anything for a file of this size that starts so."""
    starts = (_PNG, _JPEG, b"RIFF", *_TIFF)
    rebuildable = (
        start.startswith(starts) or _start_of_picture(start) > 0 or start[4:12] == b"ftypavif"
    )
    return rebuildable and file_bytes <= _FILE_BYTES


def _start_of_picture(data: bytes) -> int:
    if data.startswith((_PNG, _JPEG, b"RIFF", *_TIFF)):
        return 0
    starts = [data.find(mark, 0, _LEADING_BYTES + len(mark)) for mark in (_PNG, _JPEG)]
    return min((start for start in starts if start > 0), default=0)


def _png(data: bytes, notes: tuple[str, ...]) -> Iterator[Rebuilt]:
    pixels: list[tuple[bytes, bytes]] = []
    dropped: list[str] = []
    profile: bytes | None = None
    orientation = 1
    for name, body, whole in _png_chunks(data):
        reason = None if whole else "its checksum is wrong"
        if name[0] & 0x20 == 0:  # a critical chunk
            if reason and name not in (b"IDAT", b"IEND"):  # the pixels have a checksum of their own
                return
            pixels.append((name, body))
            continue
        if name == b"tRNS" and len(body) != _PNG_TRNS_SIZES.get(data[25], len(body)):
            reason = f"{len(body)} bytes"
        reason = reason or _png_damage(name, body)
        if reason:
            dropped.append(f"metadata dropped: {name.decode('latin-1')}, {reason}")
        elif name == b"iCCP":
            profile = _png_profile(body)
        elif name == b"eXIf":
            orientation = orientation_in(body) or 1
        elif name in _PNG_COLOR or name in _PNG_MOTION or name == b"tRNS":
            pixels.append((name, body))
    if orientation != 1:
        pixels.insert(1, (b"eXIf", orientation_exif(orientation)[6:]))
    reasons = tuple(dict.fromkeys(dropped)) or ("metadata dropped: all but colour and orientation",)
    for motion in (True, False):
        if motion and not any(name in _PNG_MOTION for name, _ in pixels):
            continue
        chunks = [_png_chunk(*one) for one in pixels if motion or one[0] not in _PNG_MOTION]
        yield Rebuilt(_PNG + b"".join(chunks), (*notes, *reasons), profile)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Name, body and whether the checksum is right of each chunk; a lost one is passed over."""
    at = len(_PNG)
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + size
        if not name.isalpha() or (end > len(data) and name != b"IDAT"):
            nexts = [data.find(mark, at + 4) for mark in (b"PLTE", b"IDAT", b"IEND")]
            at = min((mark - 4 for mark in nexts if mark > at + 4), default=len(data))
            continue
        body = data[at + 8 : end]
        yield name, body, data[end : end + 4] == struct.pack(">I", zlib.crc32(name + body))
        if name == b"IEND":
            return
        at = end + 4


def is_cut_png(data: bytes) -> bool:
    """Whether the compressed pixels of a PNG are fewer than its size needs."""
    inflate, have, needed = zlib.decompressobj(), 0, 0
    for name, body, _ in _png_chunks(data):
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


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png_damage(name: bytes, body: bytes) -> str | None:
    """What is wrong with an ancillary chunk whose checksum is right."""
    if len(body) != _PNG_SIZES.get(name, len(body)):
        return f"{len(body)} bytes instead of {_PNG_SIZES[name]}"
    if name == b"iCCP" and _png_profile(body) is None:
        return "the profile is damaged"
    if name == b"eXIf" and orientation_in(body) is None:
        return "EXIF is damaged"
    if name in (b"tEXt", b"zTXt", b"iTXt") and _text_size(name, body) >= _TEXT_BYTES:
        return "more than 1 MiB of text"
    return None


def _png_profile(body: bytes) -> bytes | None:
    _, separator, rest = body.partition(b"\0")
    if not separator or rest[:1] != b"\0":
        return None
    try:
        profile = zlib.decompressobj().decompress(rest[1:], _PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if profile[36:40] == b"acsp" else None


def _text_size(name: bytes, body: bytes) -> int:
    """Bytes of a text when it is unpacked, up to one more than the limit."""
    _, _, rest = body.partition(b"\0")
    if name == b"iTXt" and rest[:1] == b"\1":
        rest = b"\0" + rest[2:].split(b"\0", 2)[-1]
    elif name != b"zTXt":
        return len(body)
    try:
        return len(zlib.decompressobj().decompress(rest[1:], _TEXT_BYTES + 1))
    except zlib.error:
        return 0


def _webp(data: bytes, notes: tuple[str, ...]) -> Iterator[Rebuilt]:
    at, chunks = 12, list[tuple[bytes, bytes]]()
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        chunks.append((name, data[at + 8 : at + 8 + size]))
        if name in _WEBP_PIXELS and len(chunks[-1][1]) < size:
            raise TruncatedError("the pixels are cut")
        at += 8 + size + size % 2
    bodies = dict(reversed(chunks))
    flags = bodies[b"VP8X"][:1] if b"VP8X" in bodies else b""
    keep = [one for one in chunks if one[0] in _WEBP_PIXELS]
    dropped = "metadata dropped: all but colour and orientation"
    if flags and len(bodies[b"VP8X"]) == 10:
        orientation = orientation_in(bodies.get(b"EXIF", b"")) or 1
        profile = bodies.get(b"ICCP", b"")
        has_profile, turned = profile[36:40] == b"acsp", orientation != 1
        bits = flags[0] & 0x12 | (0x20 if has_profile else 0) | (0x08 if turned else 0)
        keep = [(b"ICCP", profile)] * has_profile + keep
        keep = [(b"VP8X", bytes([bits]) + bodies[b"VP8X"][1:]), *keep]
        if turned:
            keep.append((b"EXIF", orientation_exif(orientation)[6:]))
    body = b"".join(
        name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for name, part in keep
    )
    riff = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    yield Rebuilt(riff, (*notes, dropped))


def _tiff(data: bytes, notes: tuple[str, ...]) -> Iterator[Rebuilt]:
    """The first page with the tags of its pixels alone; the further pages behind it or not."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (first,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, first)
    except struct.error as error:
        raise TruncatedError("the directory is cut") from error
    if first + 2 + 12 * count > len(data):
        raise TruncatedError("the directory is cut")
    entries = [data[first + 2 + 12 * i : first + 14 + 12 * i] for i in range(count)]
    tail = data[first + 2 + 12 * count : first + 6 + 12 * count]
    entries = [one for one in entries if len(one) == 12 and _needed(one, order, len(data))]
    _check_strips(data, entries, order)
    where = len(data) + len(data) % 2
    dropped = "metadata dropped: all tags but those of the pixels"
    nexts = (tail, b"\0" * 4) if tail.strip(b"\0") and len(tail) == 4 else (b"\0" * 4,)
    for following in nexts:
        directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + following
        head = data[:4] + struct.pack(order + "I", where)
        rebuilt = head + data[8:].ljust(where - 8, b"\0") + directory
        yield Rebuilt(rebuilt, (*notes, dropped))


def _check_strips(data: bytes, entries: list[bytes], order: str) -> None:
    """Refuse a TIFF with strips or tiles behind the end, which a rebuilt file would fill."""
    numbers: dict[int, tuple[int, ...]] = {}
    for entry in entries:
        tag, kind, count, offset = struct.unpack(order + "HHII", entry)
        if tag in _TIFF_CHUNK_TAGS and kind in (3, 4):
            size = _TIFF_SIZES[kind] * count
            body = entry[8 : 8 + size] if size <= 4 else data[offset : offset + size]
            numbers[tag] = struct.unpack(order + "HI"[kind - 3] * count, body)
    for offsets, sizes in _TIFF_CHUNKS:
        for start, size in zip(numbers.get(offsets, ()), numbers.get(sizes, ()), strict=False):
            if start + size > len(data):
                raise TruncatedError("the pixels are cut")


def is_cut_tiff(stream: IO[bytes], first: int) -> bool:
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
        size = _TIFF_SIZES.get(kind, 0) * number
        if tag in _TIFF_PIXEL_TAGS and size > (8 if big else 4) and offset + size > file_bytes:
            return True
    return False


def _check_boxes(data: bytes) -> None:
    """Refuse an AVIF file of which a box is cut."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        at = len(data) if size == 0 else at + max(8, size)
    if at > len(data):
        raise TruncatedError("a box is cut")


def _needed(entry: bytes, order: str, file_bytes: int) -> bool:
    tag, kind, count, offset = struct.unpack(order + "HHII", entry)
    size = _TIFF_SIZES.get(kind, 0) * count
    needed = tag in _TIFF_PIXEL_TAGS or tag == _TIFF_PROFILE_TAG
    return needed and size > 0 and bool(size <= 4 or offset + size <= file_bytes)
