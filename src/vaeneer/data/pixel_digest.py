"""One hash over everything that a picture file holds: depth, alpha, every page and frame."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.color import read_color
from vaeneer.data.decoders import decode, pages
from vaeneer.data.image_files import (
    ImageSource,
    decode_file,
    first_bytes,
    load_whole,
    seek_checked,
)
from vaeneer.data.image_formats import format_of, orientation_of, stored_bits, upright_values
from vaeneer.data.pixel_levels import deep_grey
from vaeneer.errors import ImageFileError

_BLOCK_BYTES = 2**24  # hashed at a time
_DEEP_FORMATS = frozenset({"PNG", "PPM", "JPEG2000"})  # with 16-bit colours that OpenCV reads
_SAMPLES = 277  # the TIFF tag SamplesPerPixel
_MAX_SAMPLES = {"1": 1, "L": 1, "I;16": 1, "LA": 2, "RGB": 3, "RGBX": 3}
"""Channels that Pillow shows of a TIFF; of further ones it says nothing."""
_BARE_MODES = frozenset({"CMYK", "LAB", "HSV", "I", "F"})


def pixel_digest(path: Path, *, max_megapixels: float = 500.0) -> bytes:
    """Hash everything that a picture file holds. Returns 32 bytes, SHA-256.

    Equal for the same pixels in another container, compressed in another way or with other
    metadata. Different where the size, the depth, the alpha channel (opaque counts as none), the
    colour space, a further page or a frame differs. EXIF orientation is applied. Where the full
    depth of a file cannot be decoded, its bytes are hashed: only copies of the file are equal.
    Raises ImageFileError as `read_image` does.
    """

    kind = format_of(first_bytes(path))
    if kind not in (None, "TIFF"):
        return _deep_digest(path, max_megapixels)

    def look(image: Image.Image, source: ImageSource) -> bytes:
        seek_checked(image, source, max_megapixels)
        if getattr(image, "tag_v2", {}).get(_SAMPLES, 1) > _MAX_SAMPLES.get(image.mode, 4):
            return _deep_digest(path, max_megapixels)
        digest = hashlib.sha256()
        color, _ = read_color(image)
        digest.update(color.key if color else b"sRGB")
        bits = stored_bits(image, source.start)
        if bits > 8 and not image.mode.startswith(("I", "F")):
            values = _deep_frame(image, source, max_megapixels)
            if values is None:
                return hashlib.sha256(b"file " + source.read()).digest()
            name = "CMYK" if image.mode == "CMYK" else "RGB"
            _add(digest, name, upright_values(values, orientation_of(image)[0]))
            if "transparency" in image.info:  # one clear colour
                digest.update(repr(image.info["transparency"]).encode())
            return digest.digest()
        spare = spare_channel(image, source)
        if spare is not None:
            _add(digest, "spare", spare)
        load_whole(image, source)
        orientation, _ = orientation_of(image)
        try:
            for name, values in _frames(image):
                _add(digest, name, upright_values(values, orientation))
        except _PageError:
            return hashlib.sha256(b"file " + source.read()).digest()
        return digest.digest()

    try:
        return decode_file(path, look)
    except ImageFileError:
        if kind is None:
            raise
        return _deep_digest(path, max_megapixels)


def spare_channel(image: Image.Image, source: ImageSource) -> NDArray[np.uint8] | None:
    """Fourth bytes (H, W) of a 32-bit BMP, which many programs write alpha to and Pillow drops.

    None where they say nothing: all equal. image: open, not loaded yet.
    """
    tiles = getattr(image, "tile", []) if image.format in ("BMP", "DIB") else []
    tile = tiles[0] if tiles else None
    if tile is None or tile.codec_name != "raw" or not isinstance(tile.args, tuple):
        return None
    layout, stride, direction = tile.args[:3]
    if layout not in ("BGRX", "XBGR"):
        return None
    size = int(stride) * image.height
    rows = np.frombuffer(source.read(), np.uint8)[tile.offset : tile.offset + size]
    if rows.size < size:
        return None
    first = 3 if layout == "BGRX" else 0
    values = rows.reshape(image.height, int(stride))[::direction, first : 4 * image.width : 4]
    return None if values.min() == values.max() else values


def _deep_digest(path: Path, max_megapixels: float) -> bytes:
    """The same of a file that Pillow does not read."""
    decoded = decode(path, max_megapixels=max_megapixels)
    stored = list(islice(pages(path), 2)) if decoded.format == "TIFF" else []
    if len(stored) == 1 and stored[0].size <= decoded.values.size:  # else it has further channels
        mode = decoded.mode.partition(";")[0]
        described = Image.new(mode if mode in ("L", "CMYK") else "RGB", (1, 1))
        described.info["icc_profile"] = decoded.profile
        color, _ = read_color(described)
        digest = hashlib.sha256(color.key if color else b"sRGB")
        name = "CMYK" if mode == "CMYK" else "RGB"
        _add(digest, name, upright_values(decoded.values, decoded.orientation))
        return digest.digest()
    fields = (decoded.format, decoded.mode, decoded.orientation, decoded.space)
    digest = hashlib.sha256(repr(fields).encode() + (decoded.profile or b""))
    for values in pages(path):
        digest.update(f"{values.shape} {values.dtype.str[1:]} ".encode())
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(np.ascontiguousarray(little).data)
    return digest.digest()


def _deep_frame(
    image: Image.Image, source: ImageSource, max_megapixels: float
) -> NDArray[Any] | None:
    """The colours of a still picture at their full depth, None where they are not decoded."""
    still = getattr(image, "n_frames", 1) == 1
    if still and image.format == "TIFF" and source.rebuilt is None:
        try:
            return decode(source.path, max_megapixels=max_megapixels).values
        except ImageFileError:
            return None
    return source.deep_colors() if still and image.format in _DEEP_FORMATS else None


class _PageError(Exception):
    """A further page cannot be read."""


def _frames(image: Image.Image) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every page or frame: the name of its channels and their values, (H, W) or (H, W, C)."""
    count = 0
    while True:
        try:
            image.seek(count)
        except EOFError:
            return
        except Exception as error:  # rubbish behind the last page makes Pillow raise anything
            if count == 0:
                raise
            raise _PageError from error
        yield _values(image)
        count += 1


def _values(image: Image.Image) -> tuple[str, NDArray[Any]]:
    if image.mode.startswith("I;16"):
        grey = deep_grey(image)
        clear = image.info.get("transparency")
        if not isinstance(clear, int):
            return "RGB", grey
        alpha = np.where(grey == clear, 0, 65535).astype(np.uint16)
        return "RGB", np.stack([grey, grey, grey, alpha], axis=-1)
    if image.mode in _BARE_MODES:
        return image.mode, np.asarray(image)
    return "RGB", np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _add(digest: Any, name: str, values: NDArray[Any]) -> None:
    """Add one frame, a block of rows at a time; grey counts as a colour."""
    if name == "RGB" and values.ndim == 3 and values.shape[2] == 2:
        values = values[..., [0, 0, 0, 1]]
    if name == "RGB" and values.ndim == 3 and values.shape[2] == 4:
        opaque = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
        if bool((values[..., 3] == opaque).all()):
            values = values[..., :3]
    grey = name == "RGB" and values.ndim == 2
    height, width = values.shape[:2]
    channels = 3 if grey else values.shape[2] if values.ndim == 3 else 1
    digest.update(f"{name} {width} {height} {channels} {values.dtype.str[1:]} ".encode())
    rows = max(1, _BLOCK_BYTES // max(1, width * channels * values.dtype.itemsize))
    for top in range(0, height, rows):
        block = values[top : top + rows]
        if grey:
            block = np.repeat(block[..., None], 3, axis=2)
        little = block.astype(block.dtype.newbyteorder("<"), copy=False)
        digest.update(np.ascontiguousarray(little))
