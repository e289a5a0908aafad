"""The squares and parts that an image is embedded by, and where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vaeneer.data.crops import Pixels
from vaeneer.errors import ImageFileError, SettingsError
from vaeneer.workers import prefetch

Views = Literal["all", "squares", "tiles", "centre"]
Parts = Literal["none", "halves", "quarters"]
_MOST_SQUARES = 4  # along the long side; a longer plank is covered with gaps
_SLACK = 0.25  # of a side: what may stay uncovered before another square is added
_LEAST_TILE_PX = 64


class Box(NamedTuple):
    """A square in an image, pixels."""

    top: int
    left: int
    side: int


class Part(NamedTuple):
    """A square of an image: one over `scale` of its short side."""

    scale: int
    box: Box


def square_boxes(height: int, width: int, views: Views = "all") -> list[Box]:
    """The squares of an image, (height, width) pixels.

    squares: of the whole short side, evenly along the long one, up to four. tiles: of half that
    side, in two rows, unless they were smaller than 64 px. all: both. centre: one square.
    Raises SettingsError for another word.
    """
    if views not in get_args(Views):
        raise SettingsError(f"views is {views!r}; use {', '.join(get_args(Views))}.")
    short, long = sorted((height, width))
    count = min(_MOST_SQUARES, math.ceil(long / short - _SLACK)) if views != "centre" else 1
    half = short // 2
    tiled = half >= _LEAST_TILE_PX and views in ("all", "tiles")
    places: list[tuple[int, int, int]] = []  # along, across, side
    if views != "tiles" or not tiled:
        places += [(at, 0, short) for at in _spread(long, short, count)]
    if tiled:
        along, across = _spread(long, half, 2 * count), _spread(short, half, 2)
        places += [(at, row, half) for row in across for at in along]
    if height > width:
        return [Box(at, row, side) for at, row, side in places]
    return [Box(row, at, side) for at, row, side in places]


def square_views(image: Pixels, side_px: int, views: Views = "all") -> Tensor:
    """The squares of an image (H, W, 3) uint8, resized: (n, 3, side, side) uint8."""
    whole = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]  # (1, 3, H, W), channels last
    boxes = square_boxes(image.shape[0], image.shape[1], views)
    return torch.cat([resized(cut(whole, box), side_px) for box in boxes])


def part_boxes(height: int, width: int, parts: Parts = "quarters") -> list[Part]:
    """The parts of an image, (height, width) pixels: squares, halves of their side, quarters.

    Squares (scale 1) and halves (2) come first and are those of `square_boxes`, whose mean is the
    vector of the whole image. Tiles smaller than 64 px are left out. parts: the smallest that are
    searched; `none` still gives what the mean is taken of.
    """
    short = min(height, width)
    squares = square_boxes(height, width, "squares")
    found = [Part(1, box) for box in squares]
    found += [Part(2, box) for box in square_boxes(height, width, "all")[len(squares) :]]
    quarter = short // 4
    if parts == "quarters" and quarter >= _LEAST_TILE_PX:
        for box in squares:
            places = np.rint(np.linspace(0, box.side - quarter, 4)).astype(int).tolist()
            found += [
                Part(4, Box(box.top + down, box.left + right, quarter))
                for down in places
                for right in places
            ]
    return found


def part_views(image: Pixels, parts: list[Part], side_px: int) -> Tensor:
    """The parts of an image (H, W, 3) uint8, resized: (n, 3, side, side) uint8."""
    whole = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]  # (1, 3, H, W), channels last
    return torch.cat([resized(cut(whole, part.box), side_px) for part in parts])


def in_pixels(
    box: Box, shape: tuple[int, int], size_px: tuple[int, int]
) -> tuple[int, int, int, int]:
    """A box of a reduced image, (height, width), in the pixels of its file, (width, height).

    Returns x, y, width, height.
    """
    high, wide = size_px[1] / shape[0], size_px[0] / shape[1]
    left, top = round(box.left * wide), round(box.top * high)
    right = min(size_px[0], round((box.left + box.side) * wide))
    bottom = min(size_px[1], round((box.top + box.side) * high))
    return left, top, max(1, right - left), max(1, bottom - top)


def cut(images: Tensor, box: Box) -> Tensor:
    """A square of each image (B, 3, H, W): (B, 3, box.side, box.side)."""
    return images[..., box.top : box.top + box.side, box.left : box.left + box.side]


def resized(images: Tensor, side_px: int) -> Tensor:
    """Images (B, 3, H, W), uint8 or float, as squares; bilinear, antialiased."""
    if images.shape[-2:] == (side_px, side_px):
        return images
    return interpolate(images, size=(side_px, side_px), mode="bilinear", antialias=True)


def views_ahead(
    read: Callable[[int], Pixels],
    count: int,
    side_px: int,
    views: Views,
    *,
    workers: int,
    skipped: list[ImageFileError] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Number and views of each image 0 .. count - 1, read by threads a little ahead.

    A file that cannot be read is added to `skipped` and left out; without `skipped` the
    ImageFileError is raised.
    """

    def views_of(number: int) -> Tensor | None:
        try:
            return square_views(read(number), side_px, views)
        except ImageFileError as error:
            if skipped is None:
                raise
            skipped.append(error)  # threads may append at once
            return None

    for number, found in enumerate(prefetch(views_of, range(count), workers=workers)):
        if found is not None:
            yield number, found


def _spread(length: int, side: int, count: int) -> list[int]:
    """Where `count` pieces of `side` begin on `length`, evenly from end to end; one is central."""
    if count == 1:
        return [(length - side) // 2]
    return [round((length - side) * place / (count - 1)) for place in range(count)]
