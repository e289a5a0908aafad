"""Random crops, the crops of the strict protocol, and several crops of one surface in a step.

A crop is drawn from one row of uniform numbers, so that it depends on the seed, the epoch and its
index alone. In the strict protocol an image's centre square has four quadrants, disjoint, each
turned, scaled and relit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from vaeneer.data.decode_worker import SOURCE_SIDE_PX
from vaeneer.errors import DataError, SettingsError
from vaeneer.settings import ColorJitter, Count, Recipe, ScaleGap, TrainSettings, check

Pixels = NDArray[np.uint8]  # (H, W, 3)
Ints = NDArray[np.int64]
_TRIES = 10
COLUMNS = 2 * _TRIES + 2 + 2 + 5
"""Uniform numbers behind one crop: area and ratio of each try, place, turn and flip, light."""
_GAMMA, _GAIN, _BRIGHTNESS = 0.2, 0.15, 0.2  # sigmas of the logarithms at strength 1
CROPS = 4
"""Crops of one image: of the quadrants top left, top right, bottom left, bottom right."""
QUERIES, GALLERY = (0, 2), (1, 3)
"""With a scale gap: the crops that ask, and those that are asked."""
_EACH = 10  # numbers behind one crop: side, place (2), turn, mirroring, light (5)
STRICT_COLUMNS = CROPS * _EACH
"""Uniform numbers behind the crops of one image."""
_LEAST_AREA = 0.5  # share of the quadrant that a crop covers at least


@dataclass(frozen=True)
class CropRecipe:
    """Which crops are drawn: shares of the area, ratios of width to height, what else varies."""

    scale: tuple[float, float]
    ratio: tuple[float, float]
    side_px: int = 254
    rotate_flip: bool = False
    """Quarter turns and mirroring: all eight positions alike."""
    color_jitter: float = 0.0
    """Strength of the change of gamma, colour and brightness; 0 leaves the pixels as they are."""

    @classmethod
    def of(cls, settings: TrainSettings) -> CropRecipe:
        """The crops of a training run."""
        recipe = Recipe.of(settings)
        return cls(
            scale=(recipe.crop_scale_min, recipe.crop_scale_max),
            ratio=(recipe.crop_ratio_min, recipe.crop_ratio_max),
            rotate_flip=recipe.rotate_flip,
            color_jitter=recipe.color_jitter,
        )

    def __post_init__(self) -> None:
        check("color_jitter", self.color_jitter, ColorJitter)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise SettingsError(f"crop scale {self.scale} must be 0 < minimum <= maximum <= 1.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise SettingsError(f"crop ratio {self.ratio} must be 0 < minimum <= maximum.")

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
    found = fits.any(1)
    whole_width, whole_height = image_width[:, 0], image_height[:, 0]
    central = np.clip(whole_width / whole_height, *recipe.ratio)
    central_width = np.minimum(whole_width, np.rint(whole_height * central)).astype(np.int64)
    central_height = np.minimum(whole_height, np.rint(whole_width / central)).astype(np.int64)
    width = np.where(found, tried_width[first], central_width)
    height = np.where(found, tried_height[first], central_height)
    x, y, turn, mirror, *light = numbers[:, 2 * _TRIES :].T
    room_x, room_y = whole_width - width, whole_height - height
    left = np.where(found, np.floor(x * (room_x + 1)), room_x // 2).astype(np.int64)
    top = np.where(found, np.floor(y * (room_y + 1)), room_y // 2).astype(np.int64)
    return Crops(
        left=left,
        top=top,
        width=width,
        height=height,
        quarter_turns=(np.floor(4 * turn) * recipe.rotate_flip).astype(np.int64),
        mirrored=(mirror < 0.5) & recipe.rotate_flip,
        tables=_light_tables(np.stack(light, 1), recipe.color_jitter)
        if recipe.color_jitter
        else None,
    )


def copy_scale(numbers: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that give crops where `numbers` does, each with the share of its image of `others`.

    Both (n, COLUMNS). Each try takes the share of the other's first, so that no crop is smaller
    or larger because another ratio fits.
    """
    same = numbers.copy()
    same[:, :_TRIES] = others[:, :1]
    return same


def _draw_light(
    numbers: NDArray[np.float64], strength: float, dtype: type[np.floating[Any]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The photometric change of n crops, x^gamma * factor, each log-normal: gamma (n,) and (n, 3).

    numbers: (n, 5) uniform. The factor is the gain of the channel times the brightness.
    """
    from scipy.special import ndtri  # not of use to a search, which waits for imports

    normal = (strength * ndtri(np.clip(numbers, 1e-9, 1 - 1e-9))).astype(dtype)
    gamma = np.exp(_GAMMA * normal[:, 0])
    return gamma, np.exp(_GAIN * normal[:, 1:4] + _BRIGHTNESS * normal[:, 4:])


def _light_tables(numbers: NDArray[np.float64], strength: float) -> Pixels:
    """The photometric change of each level of each channel, clipped: (n, 256, 3) uint8."""
    gamma, factor = _draw_light(numbers, strength, np.float64)
    levels = (np.arange(256) / 255)[None, :, None] ** gamma[:, None, None] * factor[:, None]
    tables: Pixels = np.rint(255 * levels.clip(0, 1)).astype(np.uint8)
    return tables


def cut_crop(image: Pixels, crops: Crops, place: int, side_px: int) -> Pixels:
    """Crop number `place` out of its image (H, W, 3) uint8: (side, side, 3) uint8."""
    left, top = crops.left[place], crops.top[place]
    box = image[top : top + crops.height[place], left : left + crops.width[place]]
    batch = torch.from_numpy(box.copy()).permute(2, 0, 1)[None]  # (1, 3, h, w), channels last
    cut: Pixels = _resized(batch, side_px)[0].permute(1, 2, 0).numpy()
    if crops.tables is not None:
        cut = np.stack([crops.tables[place, cut[..., c], c] for c in range(3)], axis=-1)
    if crops.mirrored[place]:
        cut = cut[:, ::-1]
    turned: Pixels = np.ascontiguousarray(np.rot90(cut, crops.quarter_turns[place]))
    return turned


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
        check("side_px", self.side_px, Count)
        check("scale_gap", self.scale_gap, ScaleGap)


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
    if side == SOURCE_SIDE_PX:
        return square
    batch = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None]  # (1, 3, side, side)
    return np.ascontiguousarray(_resized(batch, SOURCE_SIDE_PX)[0].permute(1, 2, 0).numpy())


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
    gamma, factor = (
        torch.from_numpy(drawn)
        for drawn in _draw_light(numbers.reshape(CROPS, _EACH)[:, 5:], 1.0, np.float32)
    )
    levels = torch.from_numpy(crops) ** gamma[:, None, None, None]  # NumPy's power is slower
    lit: NDArray[np.float32] = (levels * factor[:, :, None, None]).clamp_(0, 1).numpy()
    return lit


def _check(image: NDArray[np.uint8], numbers: NDArray[np.float64]) -> None:
    wanted = (SOURCE_SIDE_PX, SOURCE_SIDE_PX, 3)
    if image.shape != wanted or image.dtype != np.uint8:
        raise DataError(
            f"strict crops are cut from {wanted} uint8, not {image.shape} {image.dtype};"
            " use centre_square."
        )
    if numbers.shape != (STRICT_COLUMNS,):
        raise DataError(f"strict crops take {STRICT_COLUMNS} numbers, not shape {numbers.shape}.")


def _cut(
    image: NDArray[np.uint8], place: int, numbers: NDArray[np.float64], recipe: StrictRecipe
) -> Tensor:
    """The crop of quadrant `place`, (1, 3, side, side) float32, before the light changes."""
    quadrant = SOURCE_SIDE_PX // 2
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


class Rows(Protocol):
    """Rows of uniform numbers, one for each crop: a `NumberTable`, or what changes its rows."""

    def rows(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """The rows of the crops with these numbers, (n, columns)."""


class Views:
    """The crops of a set of images in an epoch: `count` views of each surface in a step.

    Each image is shown `count` times in an epoch: as an anchor, and where its asset has several
    images, as a further view of the others in turn.
    """

    def __init__(self, assets: Sequence[object], count: int) -> None:
        """assets: whose image each is; only looked at where `count` is above 1."""
        self.images, self.count = len(assets), count
        self.following: Ints = np.arange(self.images)
        """(images,): the next image of the same asset, after the last the first."""
        self.asset_numbers: Ints = np.arange(self.images)
        """(images,): equal for images of one asset."""
        if count > 1:
            numbers: dict[object, int] = {}
            self.asset_numbers = np.array(
                [numbers.setdefault(asset, len(numbers)) for asset in assets], np.int64
            )
            order = np.argsort(self.asset_numbers, kind="stable")
            ends = np.flatnonzero(np.diff(self.asset_numbers[order])) + 1
            for images in np.split(order, ends):
                self.following[images] = np.roll(images, -1)

    def crops_of(self, anchors: Sequence[int]) -> list[int]:
        """Crop numbers: all views of the first anchor, then all of the second, ..."""
        views, image = [], np.asarray(anchors, np.int64)
        for view in range(self.count):
            views.append(view * self.images + image)
            image = self.following[image]
        crops: list[int] = np.stack(views, 1).ravel().tolist()
        return crops

    def assets_of(self, images: Sequence[int]) -> Ints:
        """The asset of each image as a number, (n,)."""
        numbers: Ints = self.asset_numbers[np.asarray(images)]
        return numbers

    def groups(self, order: Sequence[int], batch_size: int) -> list[list[int]]:
        """The crops of each step: whole views of the images in this order, about `batch_size`.

        An image that would be alone in the last step joins the one before, since a step compares.
        """
        size = self._anchors(batch_size)
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        if self.count > 1 and len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [list(chain(*parts[-2:]))]
        return [self.crops_of(part) for part in parts]

    def steps(self, batch_size: int) -> int:
        """How many steps `groups` makes of an epoch."""
        size = self._anchors(batch_size)
        whole, rest = divmod(self.images, size)
        alone = self.count > 1 and rest == 1 and whole > 0
        return whole + (rest > 0 and not alone)

    def _anchors(self, batch_size: int) -> int:
        return max(batch_size // self.count, 1 if self.count == 1 else 2)


class SharedScale:
    """Rows whose crops have the scale of the first view that lies beside them in a step."""

    def __init__(self, rows: Rows, views: Views) -> None:
        self._rows, self._views = rows, views
        self._before = np.empty_like(views.following)
        self._before[views.following] = np.arange(views.images)

    def rows(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """The rows of the crops with these numbers, (n, columns)."""
        view, image = np.divmod(np.asarray(indices, np.int64), self._views.images)
        for step in range(1, self._views.count):
            image = np.where(view >= step, self._before[image], image)
        return copy_scale(self._rows.rows(indices), self._rows.rows(image.tolist()))
