"""Thumbnails as equal squares: for the picture of the map, and as sheets for its page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.errors import ImageFileError
from vaeneer.progress import Progress
from vaeneer.workers import core_count

Tiles = NDArray[np.uint8]
RGB = tuple[float, float, float]
SHEET_PX = 4096
"""Longest side of a sheet: what every browser draws."""
_QUALITY = 82


@dataclass(frozen=True)
class Sheets:
    """Tiles in rows on a few pictures."""

    side_px: int
    across: int
    """Tiles in a row of a sheet, and rows on it at most."""
    urls: list[str]
    """Each sheet as a data URL."""


def load_tiles(
    picture: Callable[[int], Image.Image], colours: Sequence[RGB], side_px: int, progress: Progress
) -> Tiles:
    """Squares (n, side, side, 3) uint8: the middle of each picture.

    picture: called by threads; where it raises ImageFileError, the item's colour (0 to 1) is shown.
    """
    tiles = np.empty((len(colours), side_px, side_px, 3), np.uint8)

    def load(number: int) -> None:
        tiles[number] = np.rint(np.multiply(colours[number], 255)).astype(np.uint8)
        with suppress(ImageFileError):
            tiles[number] = np.asarray(_square(picture(number), side_px))

    with (
        progress.bar("thumbnails", total=len(colours), unit="images") as bar,
        ThreadPoolExecutor(core_count()) as pool,
    ):
        for _ in pool.map(load, range(len(colours))):
            bar.advance()
    return tiles


def tile_side_px(count: int, *, most_pixels: int, longest_px: int, shortest_px: int = 8) -> int:
    """How large tiles may be so that all together have at most so many pixels."""
    return max(shortest_px, min(longest_px, int((most_pixels / max(1, count)) ** 0.5)))


def sheets(tiles: Tiles) -> Sheets:
    """The tiles on sheets, row by row, as WebP."""
    side = tiles.shape[1]
    across = SHEET_PX // side
    urls = [
        _url(_sheet(tiles[start : start + across**2], across))
        for start in range(0, len(tiles), across**2)
    ]
    return Sheets(side, across, urls)


def smaller(tiles: Tiles, side_px: int) -> Tiles:
    """The same tiles reduced."""
    return np.stack([np.asarray(_square(Image.fromarray(tile), side_px)) for tile in tiles])


def jpeg(tile: Tiles) -> bytes:
    """One tile as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _square(image: Image.Image, side_px: int) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    box = (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2
    return image.resize((side_px, side_px), Image.Resampling.LANCZOS, box=box, reducing_gap=3)


def _sheet(tiles: Tiles, across: int) -> Image.Image:
    side, rows = tiles.shape[1], -(-len(tiles) // across)
    pixels = np.zeros((rows * side, min(across, len(tiles)) * side, 3), np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, across)
        pixels[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    return Image.fromarray(pixels)


def _url(sheet: Image.Image) -> str:
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
