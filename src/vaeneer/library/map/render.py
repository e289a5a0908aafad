"""The map as a picture for the wall (map.png), and as a page that works offline (map.html)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Item
from vaeneer.library.map.clusters import Groups, title_of
from vaeneer.library.map.layout import Grid, Label, name_places
from vaeneer.library.vector_index import Neighbours
from vaeneer.progress import Progress
from vaeneer.text import Lettering
from vaeneer.web import pages
from vaeneer.workers import core_count

Tiles = NDArray[np.uint8]
RGB = tuple[float, float, float]
SHEET_PX = 4096
"""Longest side of a sheet: what every browser draws."""
_QUALITY = 82
GROUND = (17, 18, 20)
INK = (236, 232, 224)
QUIET = (150, 146, 138)
PNG_MAX_PIXELS = 22_000_000
PNG_MAX_TILE_PX = 144
_GLOW = 0.3
_MOST_COVERING = 40  # names of the largest clusters that may lie on pictures
HTML_MAX_PIXELS = 26_000_000
"""Of all thumbnails together: some 6 MB as WebP."""
HTML_MAX_TILE_PX = 192
SMALL_TILE_PX = 24
LETTERS = 0.3
"""Height of a name in cells."""
Mode = tuple[Groups, Sequence[Label] | None]
"""A way to colour the items, with the places of its names where they are written."""


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
            tiles[number] = np.asarray(pages.square(picture(number), side_px))

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
        pages.image_url(
            _sheet(tiles[start : start + across**2], across), "WEBP", quality=_QUALITY, method=2
        )
        for start in range(0, len(tiles), across**2)
    ]
    return Sheets(side, across, urls)


def smaller(tiles: Tiles, side_px: int) -> Tiles:
    """The same tiles reduced."""
    return np.stack([np.asarray(pages.square(Image.fromarray(tile), side_px)) for tile in tiles])


def jpeg(tile: Tiles) -> bytes:
    """One tile as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _sheet(tiles: Tiles, across: int) -> Image.Image:
    side, rows = tiles.shape[1], -(-len(tiles) // across)
    pixels = np.zeros((rows * side, min(across, len(tiles)) * side, 3), np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, across)
        pixels[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    return Image.fromarray(pixels)


def draw_map(
    tiles: Tiles, grid: Grid, colours: Groups, names: Groups, *, title: str, line: str
) -> Image.Image:
    """The picture, mode RGB.

    tiles: (n, side, side, 3) uint8, by the rows of the grid. colours: what the frames show, and a
    list below says where it is not `names`, which are written where their items lie. title and
    line stand below.
    """
    cell = tiles.shape[1]
    picture = _ground(grid, colours, cell)
    _hang(picture, tiles, grid, _colours(colours))
    draw = ImageDraw.Draw(picture)
    _write_names(draw, grid, names, cell, tinted=colours is names)
    _write_foot(draw, picture.size, title, line, None if colours is names else colours)
    return picture


def names_on(grid: Grid, groups: Groups, height: float, per_letter: float) -> list[Label]:
    """Where names go, in cells; height of a line and about the width of a letter in cells."""
    widths = np.array([len(word) * per_letter + height * 0.5 for word in groups.words])
    return name_places(grid, groups.labels, widths, height)


def _ground(grid: Grid, groups: Groups, cell: int) -> Image.Image:
    """The dark ground with a glow of each group's colour around its items, and room below."""
    size = grid.columns, grid.rows
    glow = np.zeros((grid.rows, grid.columns, 3), np.float32)
    glow[grid.cells[:, 1], grid.cells[:, 0]] = _colours(groups)
    scale = 8
    large = Image.fromarray(glow.astype(np.uint8)).resize((size[0] * scale, size[1] * scale), 0)
    soft = large.filter(ImageFilter.GaussianBlur(scale * 1.1))
    pixels = np.asarray(soft, np.float32) * _GLOW + np.array(GROUND, np.float32) * (1 - _GLOW * 0.2)
    lit = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    lit = lit.resize((size[0] * cell, size[1] * cell), Image.Resampling.BICUBIC)
    picture = Image.new("RGB", (lit.width, lit.height + _foot_px(lit.size)), _darker())
    picture.paste(lit)
    return picture


def _colours(groups: Groups) -> NDArray[np.uint8]:
    """(n, 3), black where an item has no group."""
    known = np.array([*groups.colours, (0, 0, 0)], np.uint8)
    answer: NDArray[np.uint8] = known[groups.labels]
    return answer


def _darker() -> tuple[int, int, int]:
    red, green, blue = (round(level * (1 - _GLOW * 0.2)) for level in GROUND)
    return red, green, blue


def _foot_px(size: tuple[int, int]) -> int:
    return round(0.035 * max(size))


def _hang(picture: Image.Image, tiles: Tiles, grid: Grid, frames: NDArray[np.uint8]) -> None:
    """Paste each tile in its frame, with round corners."""
    cell = tiles.shape[1]
    gap, edge = max(1, round(cell * 0.035)) if cell > 9 else 0, round(cell * 0.025)
    side = cell - 2 * gap
    inner = side - 2 * edge
    mask = Image.new("L", (4 * side, 4 * side), 0)
    shape = (0, 0, 4 * side - 1, 4 * side - 1)
    ImageDraw.Draw(mask).rounded_rectangle(shape, 4 * round(cell * 0.06), fill=255)
    mask = mask.resize((side, side), Image.Resampling.BOX)
    for tile, frame, (column, row) in zip(tiles, frames.tolist(), grid.cells.tolist(), strict=True):
        image = Image.new("RGB", (side, side), tuple(frame))
        small = Image.fromarray(tile).resize((inner, inner), Image.Resampling.LANCZOS)
        image.paste(small, (edge, edge))
        picture.paste(image, (column * cell + gap, row * cell + gap), mask)


def _write_names(
    draw: ImageDraw.ImageDraw, grid: Grid, groups: Groups, cell: int, *, tinted: bool
) -> None:
    size_px = max(cell * 0.3, max(grid.columns, grid.rows) * cell / 110)
    lettering = Lettering(size_px, bold=True)
    places = names_on(grid, groups, 1.5 * size_px / cell, 0.68 * size_px / cell)
    named = zip(groups.words, groups.colours, places, strict=True)
    for number, (word, colour, place) in enumerate(named):
        if not place.free and number >= _MOST_COVERING:
            continue
        at = place.x * cell, place.y * cell
        word, letters = lettering.written(word, number=f"{groups.kind} {number + 1}")
        tint = tuple((level + 2 * white) // 3 for level, white in zip(colour, INK, strict=True))
        if not place.free:
            box = draw.textbbox(at, word, font=letters, anchor="mm")
            pad = size_px * 0.35
            wide = (box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad)
            draw.rounded_rectangle(wide, size_px * 0.4, fill=GROUND)
        draw.text(at, word, font=letters, anchor="mm", fill=tint if tinted else INK)


def _write_foot(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], title: str, line: str, listed: Groups | None
) -> None:
    foot = _foot_px(size)
    middle = size[1] - 0.62 * foot
    title, large = Lettering(foot * 0.42, bold=True).written(title)
    small = Lettering(foot * 0.3)
    line, line_font = small.written(line)
    draw.text((foot, middle), title, font=large, anchor="lm", fill=INK)
    draw.text((size[0] - foot, middle), line, font=line_font, anchor="rm", fill=QUIET)
    if listed is None:
        return
    left = foot * 2 + draw.textlength(title, font=large)
    right, mark = size[0] - 2 * foot - draw.textlength(line, font=line_font), foot * 0.12
    for number, (word, colour) in enumerate(zip(listed.words, listed.colours, strict=True)):
        word, letters = small.written(word, number=f"{listed.kind} {number + 1}")
        wide = draw.textlength(word, font=letters) + 2 * mark + foot * 0.6
        if left + wide > right:
            break
        draw.rectangle((left, middle - mark, left + 2 * mark, middle + mark), fill=colour)
        draw.text((left + 3 * mark, middle), word, font=letters, anchor="lm", fill=INK)
        left += wide


def page_data(
    items: Sequence[Item],
    grid: Grid,
    tiles: Tiles,
    modes: Sequence[Mode],
    neighbours: Neighbours,
) -> dict[str, Any]:
    """What the script of the page reads; lists of items have one order."""
    levels = [tiles]
    if tiles.shape[1] >= 2 * SMALL_TILE_PX and len(tiles):
        levels.append(smaller(tiles, SMALL_TILE_PX))
    found = [sheets(level) for level in levels]
    return {
        "columns": grid.columns,
        "rows": grid.rows,
        "cells": grid.cells.ravel().tolist(),
        "names": [title_of(item) for item in items],
        "files": [item.path for item in items],
        "tags": [", ".join(item.tags) for item in items],
        "means": "".join(_hexadecimal(item) for item in items),
        "levels": [{"side": one.side_px, "across": one.across, "urls": one.urls} for one in found],
        "modes": [_mode(groups, labels) for groups, labels in modes],
        "neighbours": neighbours.places.tolist(),
        "letters": LETTERS,
    }


def write_page(path: Path, data: dict[str, Any], *, title: str, line: str) -> None:
    """Write the page, whole or not at all. Texts of items are data in it, never markup."""
    pages.write_page(path, "map.html", title=title, line=line, data=data)


def _mode(groups: Groups, labels: Sequence[Label] | None) -> dict[str, Any]:
    places: Sequence[Label | None] = labels or [None] * len(groups.names)
    sizes: NDArray[np.int64] = np.bincount(
        groups.labels[groups.labels >= 0], minlength=len(groups.names)
    )
    return {
        "name": groups.kind,
        "of": groups.labels.tolist(),
        "groups": [
            {
                "name": name,
                "word": word,
                "colour": "#{:02x}{:02x}{:02x}".format(*colour),
                "size": size,
                "place": [round(place.x, 3), round(place.y, 3)] if place else None,
            }
            for name, word, colour, size, place in zip(
                groups.names, groups.words, groups.colours, sizes.tolist(), places, strict=True
            )
        ],
    }


def _hexadecimal(item: Item) -> str:
    return "".join(f"{min(255, max(0, round(255 * level))):02x}" for level in item.mean_rgb)
