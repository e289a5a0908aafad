"""Which parts of an image have a vector of their own, and where they lie."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.data.crops import Pixels
from vaeneer.data.tiles import Box, cut, resized, square_boxes
from vaeneer.library.catalog import PixelBox
from vaeneer.model.projection import unit_length

Parts = Literal["none", "halves", "quarters"]
_LEAST_PX = 64


class Part(NamedTuple):
    """A square of an image: one over `scale` of its short side."""

    scale: int
    box: Box


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
    if parts == "quarters" and quarter >= _LEAST_PX:
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


def whole_vector(vectors: NDArray[np.float32], parts: list[Part]) -> NDArray[np.float32]:
    """The vector of a whole image, (D,): the mean of its squares and halves, of length 1."""
    seen = [place for place, part in enumerate(parts) if part.scale <= 2]
    mean: NDArray[np.float32] = unit_length(vectors[seen].mean(0, keepdims=True))[0]
    return mean


def in_pixels(box: Box, shape: tuple[int, int], size_px: tuple[int, int]) -> PixelBox:
    """A box of a reduced image, (height, width), in the pixels of its file, (width, height)."""
    high, wide = size_px[1] / shape[0], size_px[0] / shape[1]
    left, top = round(box.left * wide), round(box.top * high)
    right = min(size_px[0], round((box.left + box.side) * wide))
    bottom = min(size_px[1], round((box.top + box.side) * high))
    return left, top, max(1, right - left), max(1, bottom - top)
