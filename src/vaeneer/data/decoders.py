"""Image formats that Pillow does not read, or not rightly: TIFF, EXR, HDR, PSD, HEIC, JPEG XL.

A file's content says which decoder reads it, not its suffix. No library is imported before a file
needs it, and no plug-in is registered with Pillow. Sizes are checked before pixels are decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vaeneer.data import openimageio, psd, tiff
from vaeneer.data.image_files import check_pixels
from vaeneer.data.image_formats import format_of, missing_extra
from vaeneer.data.pixel_levels import DAMAGED, Array, CheckSize, Decoded, name_mode
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
        "PSD": _Decoder(".psd", psd.read_psd, psd.psd_contents),
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
