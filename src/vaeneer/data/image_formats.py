"""FORMATS: every format of image files, a row each; what headers say of bits and orientation.

A format that Pillow reads is one row here; any other has a reader in `decoders` too. Pillow calls
16-bit colour RGB, as it does 8-bit colour; only the header tells them apart.
"""

from __future__ import annotations

import importlib.util
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.errors import FORMATS_HINT

DAMAGED_EXIF = "metadata dropped: EXIF is damaged"
SIDEWAYS = frozenset({5, 6, 7, 8})
"""Orientations that swap width and height."""
HEADER_BYTES = 4096
"""How much of the start of a file `stored_bits` needs."""
_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TIFF_TYPES = {1: "B", 3: "H", 4: "I"}  # that hold a small number
_MODE_BITS = {"1": 1, "I": 32, "F": 32}
_PNG_COLOR_TYPES = {0, 2, 3, 4, 6}
_PALETTE = 3
_DDS_FLOAT = (b"BC6H", (95).to_bytes(4, "little"), (96).to_bytes(4, "little"))
# fmt: off
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_NEVER_READ = frozenset((
    ".raw", ".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw",
    ".iiq", ".3fr", ".svg", ".svgz", ".eps", ".xcf", ".kra", ".afphoto",
))
# fmt: on


def _png(_: Image.Image, start: bytes) -> int | None:
    if start[12:16] != b"IHDR" or len(start) < 26 or start[25] not in _PNG_COLOR_TYPES:
        return None
    return 8 if start[25] == _PALETTE else start[24]


def _tiff(image: Image.Image, _start: bytes) -> int | None:
    if image.mode in ("P", "PA"):
        return 8
    bits = getattr(image, "tag_v2", {}).get(258)
    values = bits if isinstance(bits, tuple) else (bits,)
    whole = [value for value in values if isinstance(value, int) and 0 < value <= 64]
    return max(whole, default=1 if bits is None else None)


def _ppm(image: Image.Image, start: bytes) -> int | None:
    """PNM has its largest value behind the size; PAM names it; PFM holds float."""
    if start[:2] in (b"Pf", b"PF"):
        return 32
    if start[:2] in (b"P1", b"P4"):
        return 1
    bare = re.sub(rb"#[^\n\r]*", b" ", start)
    found = re.match(rb"P[2356]\s+\d+\s+\d+\s+(\d+)", bare) or re.search(rb"MAXVAL\s+(\d+)", bare)
    return int(found[1]).bit_length() if found else None


def _bmp(_: Image.Image, start: bytes) -> int | None:
    header = start[14:] if start[:2] == b"BM" else start
    pixel_bits = int.from_bytes(header[14:16], "little")  # of a BITMAPINFOHEADER
    return 5 if pixel_bits == 16 else 8


def _tga(_: Image.Image, start: bytes) -> int | None:
    pixel_bits = start[16] if len(start) > 16 else 0
    return 5 if pixel_bits in (15, 16) and start[2] in (2, 10) else 8


def _jpeg2000(_: Image.Image, start: bytes) -> int | None:
    siz = start.find(b"\xff\x4f\xff\x51")  # the markers SOC and SIZ, which begin the code stream
    depth = start[siz + 42 : siz + 43]  # of the first component
    return (depth[0] & 0x7F) + 1 if siz >= 0 and depth else None


def _avif(_: Image.Image, start: bytes) -> int | None:
    box = start.find(b"av1C")
    flags = start[box + 6 : box + 7]
    if box < 0 or not flags:
        return None
    high, twelve = flags[0] & 0x40, flags[0] & 0x20
    return 12 if high and twelve else 10 if high else 8


@dataclass(frozen=True)
class ImageFormat:
    """One format of image files."""

    name: str
    """Pillow's name of it; ours where Pillow does not read it."""

    suffixes: str = ""
    """In lower case, with spaces between them."""

    starts: tuple[bytes, ...] = ()
    """The first bytes of a file, one of these."""

    boxes: tuple[bytes, ...] = ()
    """What stands behind the first four bytes, one of these."""

    media_type: str | None = None
    """Of files that browsers show."""

    lossless: bool = False
    """Whether its files hold the pixels that were written."""

    pillow: bool = True
    """Whether Pillow reads it; where it does not, or not rightly, `decoders` does."""

    library: str | None = None
    """The module of the optional library that reads it."""

    bits: Callable[[Image.Image, bytes], int | None] | None = None
    """Bits per channel by an open image and the start of its file; None: the mode tells them."""

    def begins(self, start: bytes) -> bool:
        """Whether the first bytes of a file are of this format."""
        return start.startswith(self.starts) or start[4:].startswith(self.boxes)


FORMATS = (
    ImageFormat("JPEG", ".jpg .jpeg .jpe .jfif", (b"\xff\xd8\xff",), media_type="image/jpeg"),
    ImageFormat("MPO", media_type="image/jpeg"),
    ImageFormat("PNG", ".png .apng", (b"\x89PNG",), (), "image/png", lossless=True, bits=_png),
    ImageFormat(
        "TIFF",
        ".tif .tiff",
        (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        lossless=True,
        bits=_tiff,
    ),
    ImageFormat("WEBP", ".webp", (b"RIFF",), media_type="image/webp"),
    ImageFormat("BMP", ".bmp", (b"BM",), (), "image/bmp", lossless=True, bits=_bmp),
    ImageFormat("DIB", ".dib", lossless=True, bits=_bmp),
    ImageFormat("GIF", ".gif", (b"GIF8",), media_type="image/gif"),
    ImageFormat("PPM", ".ppm .pgm .pnm", lossless=True, bits=_ppm),
    ImageFormat("JPEG2000", ".jp2", (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), bits=_jpeg2000),
    ImageFormat("AVIF", ".avif", (), (b"ftypavif",), "image/avif", bits=_avif),
    ImageFormat(
        "DDS",
        ".dds",
        (b"DDS ",),
        bits=lambda _, start: 16 if start[84:88] == b"DX10" and start[128:132] in _DDS_FLOAT else 8,
    ),
    ImageFormat("TGA", ".tga", lossless=True, bits=_tga),
    ImageFormat("PSD", ".psd .psb", (b"8BPS",), lossless=True, pillow=False),
    ImageFormat(
        "HDR", ".hdr", (b"#?RADIANCE", b"#?RGBE"), lossless=True, pillow=False, library="cv2"
    ),
    ImageFormat("EXR", ".exr", (b"v/1\x01",), lossless=True, pillow=False, library="OpenImageIO"),
    ImageFormat(
        "JXL",
        ".jxl",
        (b"\xff\x0a",),
        (b"JXL \r\n\x87\n",),
        pillow=False,
        library="OpenImageIO",
    ),
    ImageFormat(
        "HEIF",
        ".heic .heif .hif",
        (),
        tuple(b"ftyp" + name for name in _HEIF_BRANDS),
        pillow=False,
        library="pillow_heif",
    ),
)
_BY_NAME = {one.name: one for one in FORMATS}
_BY_SUFFIX = {suffix: one for one in FORMATS for suffix in one.suffixes.split()}
MEDIA_TYPES = {one.name: one.media_type for one in FORMATS if one.media_type is not None}
"""Media types of the formats that browsers show, by name."""
LOSSLESS = frozenset(one.name for one in FORMATS if one.lossless)
"""Names of the formats that hold the pixels that were written."""


def image_suffixes() -> frozenset[str]:
    """Lower-case suffixes of the files that are taken for images in this installation."""
    return frozenset(suffix for suffix in _BY_SUFFIX if missing_extra(suffix) is None)


@cache
def missing_extra(suffix: str) -> str | None:
    """The reason why files of a suffix are not read here though an extra would; else None."""
    found = _BY_SUFFIX.get(suffix.lower())
    if not found or not found.library or importlib.util.find_spec(found.library) is not None:
        return None
    return f"format not supported ({suffix.lower()}): {FORMATS_HINT}"


def unread_reason(suffix: str) -> str | None:
    """The reason why files of a suffix hold pictures but are not read here; else None."""
    suffix = suffix.lower()
    if suffix in _NEVER_READ:
        return f"format not supported ({suffix}): export it as 16-bit TIFF or PNG"
    return missing_extra(suffix)


IMAGE_SUFFIXES = image_suffixes()
"""Those of `image_suffixes` when vaeneer was imported."""


def format_of(start: bytes) -> str | None:
    """Name of the format that the first 64 bytes of a file show, of those that `decoders` reads."""
    for one in FORMATS:
        if (one.name == "TIFF" or not one.pillow) and one.begins(start):
            return None if one.name == "HEIF" and b"avif" in start[:64] else one.name
    return None  # Pillow reads AVIF


def starts_as_pillow_reads(start: bytes) -> bool:
    """Whether a file begins like one that Pillow reads, whatever follows."""
    other_riff = start.startswith(b"RIFF") and start[8:12] != b"WEBP"  # sound, video
    return not other_riff and any(one.pillow and one.begins(start) for one in FORMATS)


def known_formats() -> tuple[str, ...]:
    """Names of the formats that Pillow may open.

    An explicit list keeps it from starting Ghostscript for an EPS file that is named .jpg.
    """
    Image.init()
    return tuple(one.name for one in FORMATS if one.pillow and one.name in Image.OPEN)


def stored_bits(image: Image.Image, start: bytes) -> int:
    """Bits per channel in the file of an open image; of a palette those of its colours.

    start: the first HEADER_BYTES of the file.
    """
    found = _BY_NAME.get(str(image.format))
    bits = found.bits(image, start) if found is not None and found.bits is not None else None
    if bits:
        return bits
    return 16 if image.mode.startswith("I;16") else _MODE_BITS.get(image.mode, 8)


def deep_colors(data: bytes) -> NDArray[np.uint16] | None:
    """16-bit colours of a PNG, PNM or JPEG 2000 file, of which Pillow keeps the high bytes.

    Returns (H, W, 3) RGB or (H, W, 4) RGBA, not turned upright; None where OpenCV fails.
    """
    import cv2  # takes longer than most pictures

    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] < 3:
        return None
    order = [2, 1, 0, 3][: values.shape[2]]  # OpenCV's is BGR
    return values[..., order].astype(np.uint16, copy=False)


def orientation_of(image: Image.Image) -> tuple[int, bool]:
    """Orientation of an open picture, 1 to 8, and whether its EXIF could be read."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes) and orientation_in(exif) != 1:
        stored = orientation_in(exif)
        return stored or 1, stored is not None
    try:
        stored = image.getexif().get(_TAG, 1)  # XMP and TIFF too
    except Exception:  # rubbish makes Pillow raise nearly anything
        return 1, False
    return (stored if isinstance(stored, int) and stored in _TURNS else 1), True


def orientation_in(exif: bytes) -> int | None:
    """Orientation in the bytes of an EXIF block; 1 where it names none, None if damaged."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, first)
        for at in range(first + 2, first + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", exif, at)
            if tag == _TAG:
                if kind not in _TIFF_TYPES or number != 1:
                    return None
                (value,) = struct.unpack_from(order + _TIFF_TYPES[kind], exif, at + 8)
                return value if value in _TURNS else 1
    except struct.error:
        return None
    return 1


def orientation_exif(orientation: int) -> bytes:
    """EXIF block with an orientation and nothing else, behind the six bytes that name it."""
    exif = Image.Exif()
    exif[_TAG] = orientation
    return exif.tobytes()


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture upright; itself where it is."""
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def upright_values(values: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Turn an array (H, W) or (H, W, C) upright, as a view."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)  # 5: over the main diagonal
    rows, columns = {
        2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1),
    }.get(orientation, (1, 1))  # fmt: skip
    return values[::rows, ::columns]
