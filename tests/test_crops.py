"""Crops follow RandomResizedCrop's distribution, and the numbers of their row alone."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.stats import chisquare, kstest

from vaeneer.data.crops import COLUMNS, CropRecipe, Crops, cut_crop, draw_crops
from vaeneer.data.loader import cut_crops
from vaeneer.errors import SettingsError
from vaeneer.rng import UniformRows
from vaeneer.settings import TrainSettings

RECIPE = CropRecipe.of(TrainSettings(recipe="reference"))
USUAL = RECIPE.ratio


def drawn(width_px: int, height_px: int, recipe: CropRecipe, count: int = 4000) -> Crops:
    numbers = UniformRows("crop", 3, columns=COLUMNS).rows(range(count))
    return draw_crops(numbers, [width_px] * count, [height_px] * count, recipe)


def noise(width_px: int, height_px: int, seed: int = 0) -> np.ndarray:
    """Blurred noise, so that neighbours differ but not wildly."""
    random = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), np.uint8)
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(random)).enhance(0.8))


def slow_torchvision_box(
    width: int, height: int, recipe: CropRecipe, random: np.random.Generator
) -> tuple[int, int, int, int]:
    """RandomResizedCrop.get_params, step by step as its documentation tells: left, top, w, h."""
    for _ in range(10):
        area = width * height * random.uniform(*recipe.scale)
        ratio = math.exp(random.uniform(math.log(recipe.ratio[0]), math.log(recipe.ratio[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
            return int(left), int(top), w, h
    if width / height < recipe.ratio[0]:
        w, h = width, round(width / recipe.ratio[0])
    elif width / height > recipe.ratio[1]:
        w, h = round(height * recipe.ratio[1]), height
    else:
        w, h = width, height
    return (width - w) // 2, (height - h) // 2, w, h


# Where crops lie


@pytest.mark.parametrize("size", [(568, 568), (900, 568), (568, 1300)])
def test_boxes_are_distributed_as_torchvision_s(size: tuple[int, int]) -> None:
    found = drawn(*size, RECIPE)
    random = np.random.default_rng(8)
    expected = np.array([slow_torchvision_box(*size, RECIPE, random) for _ in range(4000)])
    for column, values in zip(
        expected.T, (found.left, found.top, found.width, found.height), strict=True
    ):
        assert kstest(values, column).pvalue > 0.001


def test_areas_are_uniform_and_ratios_log_uniform_where_both_fit() -> None:
    """In a small enough crop no draw is refused, so the plain distributions must show."""
    found = drawn(2000, 2000, CropRecipe(scale=(0.1, 0.5), ratio=USUAL))
    area = found.width * found.height / 2000**2
    assert kstest(area, "uniform", args=(0.1, 0.4)).pvalue > 0.01
    low = math.log(3 / 4)
    ratio = np.log(found.width / found.height)
    assert kstest(ratio, "uniform", args=(low, -2 * low)).pvalue > 0.01


def test_places_are_uniform_over_what_is_left() -> None:
    found = drawn(1000, 1000, CropRecipe(scale=(0.25, 0.25), ratio=(1.0, 1.0)))
    assert kstest(found.left, "uniform", args=(0, 500)).pvalue > 0.01
    assert kstest(found.top, "uniform", args=(0, 500)).pvalue > 0.01


def test_all_eight_positions_are_equally_frequent_where_turns_are_asked_for() -> None:
    plain = drawn(600, 600, RECIPE)
    assert not plain.quarter_turns.any()
    assert not plain.mirrored.any()
    turned = drawn(600, 600, replace(RECIPE, rotate_flip=True))
    positions = np.bincount(4 * turned.mirrored + turned.quarter_turns, minlength=8)
    assert chisquare(positions).pvalue > 0.01
    assert np.array_equal(turned.left, plain.left), "turning draws no other boxes"


def test_light_is_log_normal_and_keeps_the_order_of_levels() -> None:
    tables = drawn(600, 600, replace(RECIPE, color_jitter=1.0)).tables
    assert tables is not None
    assert tables.shape == (4000, 256, 3)
    assert (np.diff(tables.astype(int), axis=1) >= 0).all()
    assert (tables[:, 0] == 0).all()
    # Of the level 100, few clip: its logarithm is normal, with what gamma, gain, brightness add.
    logs = np.log((tables[:, 100, 1] + 1e-9) / 255)
    spread = math.hypot(0.2 * math.log(100 / 255), 0.15, 0.2)
    assert np.median(logs) == pytest.approx(math.log(100 / 255), abs=0.02)
    assert np.std(logs) == pytest.approx(spread, rel=0.08)
    assert drawn(600, 600, RECIPE).tables is None


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 1000))
def test_every_crop_lies_inside_its_image(width: int, height: int, row: int) -> None:
    numbers = UniformRows("crop", 1, columns=COLUMNS).rows([row])
    found = draw_crops(numbers, [width], [height], RECIPE)
    assert 0 <= found.left[0] < found.left[0] + found.width[0] <= width
    assert 0 <= found.top[0] < found.top[0] + found.height[0] <= height


def test_an_image_too_long_for_the_recipe_gives_its_centre() -> None:
    found = drawn(1000, 100, CropRecipe(scale=(1.0, 1.0), ratio=USUAL), count=1)
    assert (found.width[0], found.height[0]) == (133, 100)
    assert abs(2 * found.left[0] + found.width[0] - 1000) <= 1


# What they depend on


def test_a_row_depends_on_its_place_alone() -> None:
    table = UniformRows("crop", 1, 2, columns=COLUMNS)
    rows = table.rows([7, 3, 7, 100_000])
    assert np.array_equal(rows[0], rows[2])
    assert np.array_equal(rows[1], table.rows([3])[0])
    assert np.array_equal(rows[3], UniformRows("crop", 1, 2, columns=COLUMNS).rows([100_000])[0])
    for other in (("crop", 0, 2), ("crop", 1, 3), ("colour", 1, 2)):
        assert not np.array_equal(rows[0], UniformRows(*other, columns=COLUMNS).rows([7])[0])
    flat = table.rows(range(2000)).ravel()
    assert kstest(flat, "uniform").pvalue > 0.01
    assert len(np.unique(flat)) == len(flat)


# What is cut


def pillow_crop(image: np.ndarray, crops: Crops, place: int) -> np.ndarray:
    left, top = crops.left[place], crops.top[place]
    box = (left, top, left + crops.width[place], top + crops.height[place])
    cut = Image.fromarray(image).crop(tuple(map(int, box)))
    return np.asarray(cut.resize((254, 254), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("size", [(568, 568), (300, 420), (1200, 568)])
def test_a_crop_is_pillow_s_antialiased_resize(size: tuple[int, int]) -> None:
    image = noise(*size)
    crops = drawn(*size, RECIPE, count=12)
    for place in range(12):
        cut = cut_crop(image, crops, place, 254)
        assert cut.shape == (254, 254, 3)
        difference = cut.astype(int) - pillow_crop(image, crops, place)
        assert np.abs(difference).max() <= 1
        assert abs(difference.mean()) < 0.01, "no level is lost on the whole"


def test_turns_and_mirrors_are_those_of_numpy() -> None:
    image, plain = noise(400, 400), drawn(400, 400, RECIPE, count=1)
    upright = cut_crop(image, plain, 0, 254)
    for mirrored, turns in product((False, True), range(4)):
        crops = replace(plain, quarter_turns=np.array([turns]), mirrored=np.array([mirrored]))
        expected = np.rot90(upright[:, ::-1] if mirrored else upright, turns)
        assert np.array_equal(cut_crop(image, crops, 0, 254), expected)


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, rotate_flip=True, color_jitter=1.0)])
def test_a_batch_cut_together_is_the_crops_cut_one_by_one(recipe: CropRecipe) -> None:
    """Images of several sizes and shapes in one flat pack, some smaller than their crops."""
    sizes = [(568, 568), (200, 120), (90, 400), (254, 254), (700, 568)] * 4
    images = [noise(*size, seed=seed) for seed, size in enumerate(sizes)]
    flat = np.concatenate([image.ravel() for image in images])
    offsets = np.cumsum([0, *(image.size for image in images)])[:-1]
    widths, heights = np.array(sizes).T
    numbers = UniformRows("crop", 5, columns=COLUMNS).rows(range(len(sizes)))
    crops = draw_crops(numbers, widths, heights, recipe)
    together = cut_crops(torch.from_numpy(flat), offsets, widths, crops, 254)
    assert together.shape == (len(sizes), 3, 254, 254)
    assert together.dtype == torch.uint8
    largest = 1 if not recipe.color_jitter else 3  # a table may stretch a difference of one level
    for place, image in enumerate(images):
        alone = cut_crop(image, crops, place, 254).astype(int)
        difference = np.abs(together[place].permute(1, 2, 0).numpy() - alone)
        assert difference.max() <= largest
        assert difference.mean() < 0.05


def test_an_image_keeps_the_pixels_that_its_smallest_crop_needs() -> None:
    assert RECIPE.source_side_px == 568
    assert replace(RECIPE, scale=(1.0, 1.0)).source_side_px == 254


@pytest.mark.parametrize(
    ("scale", "ratio", "light"),
    [
        ((0, 1), (1, 1), 0),
        ((0.5, 0.2), (1, 1), 0),
        ((0.5, 1.1), (1, 1), 0),
        ((1, 1), (2, 1), 0),
        ((1, 1), (1, 1), -1),
    ],
)
def test_impossible_recipes_are_refused(
    scale: tuple[float, float], ratio: tuple[float, float], light: float
) -> None:
    with pytest.raises(SettingsError):
        CropRecipe(scale=scale, ratio=ratio, color_jitter=light)
