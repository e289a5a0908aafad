"""The map as a picture for the wall: thumbnails on a dark ground, the names between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from vaeneer.fonts import Lettering
from vaeneer.library.map_grid import Grid, Label, name_places
from vaeneer.library.map_groups import Groups
from vaeneer.library.map_tiles import Tiles

GROUND = (17, 18, 20)
INK = (236, 232, 224)
QUIET = (150, 146, 138)
MOST_PIXELS = 22_000_000
LONGEST_TILE_PX = 144
_GLOW = 0.3
_MOST_COVERING = 40  # names of the largest clusters that may lie on pictures


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
