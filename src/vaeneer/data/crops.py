"""Random-resized crops of one image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from vaeneer.config import TrainSettings
from vaeneer.errors import SettingsError


@dataclass(frozen=True)
class CropRecipe:
    """Which crops are drawn: shares of the area, ratios of width to height, the side after all."""

    scale: tuple[float, float]
    ratio: tuple[float, float]
    side_px: int = 254

    @classmethod
    def of(cls, settings: TrainSettings) -> CropRecipe:
        """The crops of a training run; of `TrainSettings()`, the seed's."""
        return cls(
            scale=(settings.crop_scale_min, settings.crop_scale_max),
            ratio=(settings.crop_ratio_min, settings.crop_ratio_max),
        )

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise SettingsError(f"crop scale {self.scale} must be 0 < minimum <= maximum <= 1.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise SettingsError(f"crop ratio {self.ratio} must be 0 < minimum <= maximum.")


def random_box(
    width_px: int, height_px: int, recipe: CropRecipe, random: Generator
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels of one random crop.

    The distribution is torchvision's RandomResizedCrop (ten tries, then the centre), which the
    seed uses: the area uniform in `scale`, the ratio uniform in its logarithm.
    """
    low, high = math.log(recipe.ratio[0]), math.log(recipe.ratio[1])
    for _ in range(10):
        area = width_px * height_px * random.uniform(*recipe.scale)
        ratio = math.exp(random.uniform(low, high))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= width_px and 0 < height <= height_px:
            top = int(random.integers(0, height_px - height + 1))
            left = int(random.integers(0, width_px - width + 1))
            return left, top, left + width, top + height
    return _central_box(width_px, height_px, recipe)


def _central_box(width_px: int, height_px: int, recipe: CropRecipe) -> tuple[int, int, int, int]:
    ratio = min(max(width_px / height_px, recipe.ratio[0]), recipe.ratio[1])
    width = min(width_px, round(height_px * ratio))
    height = min(height_px, round(width_px / ratio))
    left, top = (width_px - width) // 2, (height_px - height) // 2
    return left, top, left + width, top + height


def random_crop(image: Image.Image, recipe: CropRecipe, random: Generator) -> NDArray[np.uint8]:
    """One random crop of an RGB image, resized bilinearly, antialiased: (side, side, 3) uint8."""
    box = random_box(image.width, image.height, recipe, random)
    crop = image.crop(box).resize((recipe.side_px, recipe.side_px), Image.Resampling.BILINEAR)
    return np.asarray(crop)
