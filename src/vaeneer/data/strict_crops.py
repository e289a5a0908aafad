"""The crops of the strict protocol: four disjoint places of one surface, turned, scaled and relit.

An image's centre square has four quadrants, and each gives one crop: no two crops of an image
share a pixel, a direction or (with light) a colour. What is drawn depends on one row of uniform
numbers alone: `NumberTable("strict crop", seed, draw, columns=COLUMNS).rows([index])[0]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from vaeneer.errors import DataError, SettingsError

SQUARE_SIDE_PX = 568
CROPS = 4
"""Crops of one image: of the quadrants top left, top right, bottom left, bottom right."""
QUERIES, GALLERY = (0, 2), (1, 3)
"""With a scale gap: the crops that ask, and those that are asked."""
_EACH = 10  # numbers behind one crop: side, place (2), turn, mirroring, light (5)
COLUMNS = CROPS * _EACH
"""Uniform numbers behind the crops of one image."""
_LEAST_AREA = 0.5  # share of the quadrant that a crop covers at least
_GAMMA, _GAIN, _BRIGHTNESS = 0.2, 0.15, 0.2  # sigmas of the logarithms


@dataclass(frozen=True)
class StrictRecipe:
    """What varies between the four crops of one image beside place, turn and mirroring."""

    side_px: int = 254
    light: bool = True
    """The photometric change: gamma, gain of each channel and brightness, drawn for each crop."""
    scale_gap: float = 1.0
    """The scale of crops 0 and 2 (the queries) over that of crops 1 and 3 (the gallery), 0 to 1.

    No query can show more than its quadrant, so the queries are cut as always, and the others are
    the central square of `scale_gap` x the side of what they would have been: with 0.5 a grain
    that is 5 px wide in a query is 10 px wide in the gallery.
    """

    def __post_init__(self) -> None:
        if self.side_px < 1:
            raise SettingsError(f"the side of a crop is {self.side_px} px; use 1 or more.")
        if not 0.05 <= self.scale_gap <= 1:
            raise SettingsError(
                f"scale_gap is {self.scale_gap}; use 0.05 to 1, such as 0.5 for half the scale."
            )


_USUAL = StrictRecipe()


def centre_square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The central square of an image (H, W, 3) uint8, (568, 568, 3) uint8.

    An image whose short side is 568 (as in a pack of 568 px) is cut only; any other is resized.
    Raises DataError for another shape.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"an image has shape {image.shape}; give (H, W, 3) uint8.")
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    if side == SQUARE_SIDE_PX:
        return square
    batch = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None]  # (1, 3, side, side)
    return np.ascontiguousarray(_resized(batch, SQUARE_SIDE_PX)[0].permute(1, 2, 0).numpy())


def strict_crops(
    image: NDArray[np.uint8], numbers: NDArray[np.float64], recipe: StrictRecipe = _USUAL
) -> NDArray[np.float32]:
    """One crop of each quadrant of a square: (4, 3, side, side) float32 in [0, 1].

    image: (568, 568, 3) uint8, as `centre_square` gives it. numbers: (COLUMNS,), uniform in
    [0, 1). A crop's side is sqrt(U(0.5, 1)) of the quadrant's, its place random; it is resized
    (bilinear, antialiased), mirrored half the time, turned by a random multiple of 90 degrees, and
    then relit. The light never changes the geometry. Raises DataError for another shape.
    """
    _check(image, numbers)
    rows = numbers.reshape(CROPS, _EACH)
    crops = torch.cat([_cut(image, place, row, recipe) for place, row in enumerate(rows)])
    plain: NDArray[np.float32] = crops.numpy()
    return relit(plain, numbers) if recipe.light else plain


def relit(crops: NDArray[np.float32], numbers: NDArray[np.float64]) -> NDArray[np.float32]:
    """The photometric change: x^gamma * gain of the channel * brightness, clipped to [0, 1].

    crops: (4, 3, side, side) in [0, 1], made from the same `numbers`, (COLUMNS,). gamma, gains and
    brightness are log-normal with sigma 0.2, 0.15 and 0.2. Returns a new array of the same shape.
    """
    from scipy.special import ndtri  # not of use to a search, which waits for imports

    uniform = np.clip(numbers.reshape(CROPS, _EACH)[:, 5:], 1e-9, 1 - 1e-9)
    normal = ndtri(uniform).astype(np.float32)  # (4, 5)
    gamma = np.exp(_GAMMA * normal[:, 0])[:, None, None, None]
    factor = np.exp(_GAIN * normal[:, 1:4] + _BRIGHTNESS * normal[:, 4:])[:, :, None, None]
    levels = torch.from_numpy(crops) ** torch.from_numpy(gamma)  # NumPy's power is slower
    lit: NDArray[np.float32] = (levels * torch.from_numpy(factor)).clamp_(0, 1).numpy()
    return lit


def _check(image: NDArray[np.uint8], numbers: NDArray[np.float64]) -> None:
    wanted = (SQUARE_SIDE_PX, SQUARE_SIDE_PX, 3)
    if image.shape != wanted or image.dtype != np.uint8:
        raise DataError(
            f"strict crops are cut from {wanted} uint8, not {image.shape} {image.dtype};"
            " use centre_square."
        )
    if numbers.shape != (COLUMNS,):
        raise DataError(f"strict crops take {COLUMNS} numbers, not shape {numbers.shape}.")


def _cut(
    image: NDArray[np.uint8], place: int, numbers: NDArray[np.float64], recipe: StrictRecipe
) -> Tensor:
    """The crop of quadrant `place`, (1, 3, side, side) float32, before the light changes."""
    quadrant = SQUARE_SIDE_PX // 2
    size, x, y, turn, mirror = numbers[:5]
    side = round(quadrant * float(np.sqrt(_LEAST_AREA + (1 - _LEAST_AREA) * size)))
    left = place % 2 * quadrant + int(x * (quadrant - side + 1))
    top = place // 2 * quadrant + int(y * (quadrant - side + 1))
    if place in GALLERY and recipe.scale_gap < 1:
        whole, side = side, max(1, round(side * recipe.scale_gap))
        left, top = left + (whole - side) // 2, top + (whole - side) // 2
    box = image[top : top + side, left : left + side].astype(np.float32) / 255
    square = _resized(torch.from_numpy(box).permute(2, 0, 1).contiguous()[None], recipe.side_px)
    if mirror < 0.5:
        square = square.flip(3)
    return square.rot90(int(4 * turn), (2, 3))


def _resized(batch: Tensor, side_px: int) -> Tensor:
    size = (side_px, side_px)
    return interpolate(batch, size=size, mode="bilinear", antialias=True)
