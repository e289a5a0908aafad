"""Random crops: where they lie, how they are turned and lit, and cutting one from its image.

A crop is drawn from one row of uniform numbers (`NumberTable`), so that it depends on what the
row depends on and on nothing else. `crop_batches.py` cuts whole batches on the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn.functional import interpolate

from vaeneer.errors import SettingsError
from vaeneer.settings.training import Recipe, TrainSettings

Pixels = NDArray[np.uint8]  # (H, W, 3)
Ints = NDArray[np.int64]

_TRIES = 10
COLUMNS = 2 * _TRIES + 2 + 2 + 5
"""Uniform numbers behind one crop: area and ratio of each try, place, turn and flip, light."""
_GAMMA, _GAIN, _BRIGHTNESS = 0.2, 0.15, 0.2  # sigmas of the logarithms at strength 1 (LAB.md)


@dataclass(frozen=True)
class CropRecipe:
    """Which crops are drawn: shares of the area, ratios of width to height, what else varies."""

    scale: tuple[float, float]
    ratio: tuple[float, float]
    side_px: int = 254
    turns: bool = False
    """Quarter turns and mirroring: all eight positions alike."""
    light: float = 0.0
    """Strength of the change of gamma, colour and brightness; 0 leaves the pixels as they are."""

    @classmethod
    def of(cls, settings: TrainSettings) -> CropRecipe:
        """The crops of a training run."""
        recipe = Recipe.of(settings)
        return cls(
            scale=(recipe.crop_scale_min, recipe.crop_scale_max),
            ratio=(recipe.crop_ratio_min, recipe.crop_ratio_max),
            turns=recipe.turns,
            light=recipe.light,
        )

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise SettingsError(f"crop scale {self.scale} must be 0 < minimum <= maximum <= 1.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise SettingsError(f"crop ratio {self.ratio} must be 0 < minimum <= maximum.")
        if not 0 <= self.light <= 5:
            raise SettingsError(f"light is {self.light}; use 0 (off) to 5 (1 is usual).")

    @property
    def source_side_px(self) -> int:
        """The short side that an image needs so that its smallest crop has `side_px` pixels."""
        return math.ceil(self.side_px / math.sqrt(self.scale[0]))


@dataclass(frozen=True)
class Crops:
    """What was drawn for n crops; each array is (n,) int64 unless it says otherwise."""

    left: Ints
    top: Ints
    width: Ints
    height: Ints
    quarter_turns: Ints
    mirrored: NDArray[np.bool_]
    tables: Pixels | None
    """(n, 256, 3): which level each level of each channel becomes; None leaves all."""

    def __len__(self) -> int:
        return len(self.left)

    def part(self, which: slice) -> Crops:
        """Some of the crops."""
        tables = None if self.tables is None else self.tables[which]
        box = self.left[which], self.top[which], self.width[which], self.height[which]
        return Crops(*box, self.quarter_turns[which], self.mirrored[which], tables)


def draw_crops(
    numbers: NDArray[np.float64], widths_px: ArrayLike, heights_px: ArrayLike, recipe: CropRecipe
) -> Crops:
    """One random crop of each of n images, from n rows of `COLUMNS` uniform numbers.

    The boxes have the distribution of torchvision's RandomResizedCrop (ten tries, then the
    centre), which the reference uses: area uniform in `scale`, ratio uniform in its logarithm.
    """
    image_width, image_height = np.asarray(widths_px)[:, None], np.asarray(heights_px)[:, None]
    low, high = np.log(recipe.ratio)
    share = recipe.scale[0] + (recipe.scale[1] - recipe.scale[0]) * numbers[:, :_TRIES]
    ratio = np.exp(low + (high - low) * numbers[:, _TRIES : 2 * _TRIES])
    area = image_width * image_height * share
    tried_width = np.rint(np.sqrt(area * ratio)).astype(np.int64)  # (n, 10)
    tried_height = np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (tried_width > 0) & (tried_width <= image_width)
    fits &= (tried_height > 0) & (tried_height <= image_height)
    first = np.arange(len(numbers)), fits.argmax(1)
    central = _central_size(image_width[:, 0], image_height[:, 0], recipe)
    found = fits.any(1)
    width = np.where(found, tried_width[first], central[0])
    height = np.where(found, tried_height[first], central[1])
    x, y, turn, mirror, *light = numbers[:, 2 * _TRIES :].T
    room_x, room_y = image_width[:, 0] - width, image_height[:, 0] - height
    left = np.where(found, np.floor(x * (room_x + 1)), room_x // 2).astype(np.int64)
    top = np.where(found, np.floor(y * (room_y + 1)), room_y // 2).astype(np.int64)
    return Crops(
        left=left,
        top=top,
        width=width,
        height=height,
        quarter_turns=(np.floor(4 * turn) * recipe.turns).astype(np.int64),
        mirrored=(mirror < 0.5) & recipe.turns,
        tables=_light_tables(np.stack(light, 1), recipe.light) if recipe.light else None,
    )


def with_scale_of(numbers: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that give crops where `numbers` does, each with the share of its image of `others`.

    Both (n, COLUMNS). Each try takes the share of the other's first, so that no crop is smaller
    or larger because another ratio fits.
    """
    same = numbers.copy()
    same[:, :_TRIES] = others[:, :1]
    return same


def _central_size(width: Ints, height: Ints, recipe: CropRecipe) -> tuple[Ints, Ints]:
    ratio = np.clip(width / height, *recipe.ratio)
    central_width = np.minimum(width, np.rint(height * ratio)).astype(np.int64)
    central_height = np.minimum(height, np.rint(width / ratio)).astype(np.int64)
    return central_width, central_height


def _light_tables(numbers: NDArray[np.float64], strength: float) -> Pixels:
    """x^gamma * gain of the channel * brightness, each log-normal, clipped: (n, 256, 3) uint8."""
    from scipy.special import ndtri  # not of use to a search, which waits for imports

    normal = strength * ndtri(np.clip(numbers, 1e-9, 1 - 1e-9))  # (n, 5)
    gamma = np.exp(_GAMMA * normal[:, 0, None, None])
    factor = np.exp(_GAIN * normal[:, 1:4] + _BRIGHTNESS * normal[:, 4:])[:, None]  # (n, 1, 3)
    levels = (np.arange(256) / 255)[None, :, None] ** gamma * factor
    tables: Pixels = np.rint(255 * levels.clip(0, 1)).astype(np.uint8)
    return tables


def cut_crop(image: Pixels, crops: Crops, place: int, side_px: int) -> Pixels:
    """Crop number `place` out of its image (H, W, 3) uint8: (side, side, 3) uint8."""
    left, top = crops.left[place], crops.top[place]
    box = image[top : top + crops.height[place], left : left + crops.width[place]]
    batch = torch.from_numpy(box.copy()).permute(2, 0, 1)[None]  # (1, 3, h, w), channels last
    size = (side_px, side_px)
    square = interpolate(batch, size=size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    cut: Pixels = square.numpy()
    if crops.tables is not None:
        cut = np.stack([crops.tables[place, cut[..., c], c] for c in range(3)], axis=-1)
    if crops.mirrored[place]:
        cut = cut[:, ::-1]
    turned: Pixels = np.ascontiguousarray(np.rot90(cut, crops.quarter_turns[place]))
    return turned
