"""Crops follow RandomResizedCrop's distribution, and the numbers of their place alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import kstest

from vaeneer.config import TrainSettings
from vaeneer.data.crops import CropRecipe, random_box, random_crop
from vaeneer.errors import SettingsError
from vaeneer.seeds import numbers_for

RECIPE = CropRecipe.of(TrainSettings())
USUAL = RECIPE.ratio


def boxes(side_px: int, recipe: CropRecipe) -> np.ndarray:
    randoms = [numbers_for("crop", 3, index) for index in range(4000)]
    return np.array([random_box(side_px, side_px, recipe, random) for random in randoms])


def test_areas_are_uniform_and_ratios_log_uniform_where_both_fit() -> None:
    """In a small enough crop no draw is refused, so the plain distributions must show."""
    recipe = CropRecipe(scale=(0.1, 0.5), ratio=USUAL)
    found = boxes(2000, recipe)
    width, height = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
    area = width * height / 2000**2
    assert kstest(area, "uniform", args=(0.1, 0.4)).pvalue > 0.01
    low = math.log(3 / 4)
    assert kstest(np.log(width / height), "uniform", args=(low, -2 * low)).pvalue > 0.01


def test_places_are_uniform_over_what_is_left() -> None:
    recipe = CropRecipe(scale=(0.25, 0.25), ratio=(1.0, 1.0))
    found = boxes(1000, recipe)
    assert kstest(found[:, 0], "uniform", args=(0, 500)).pvalue > 0.01
    assert kstest(found[:, 1], "uniform", args=(0, 500)).pvalue > 0.01


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 1000))
def test_every_crop_lies_inside_its_image(width: int, height: int, seed: int) -> None:
    left, top, right, bottom = random_box(width, height, RECIPE, numbers_for("crop", seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_an_image_too_long_for_the_recipe_gives_its_centre() -> None:
    recipe = CropRecipe(scale=(1.0, 1.0), ratio=USUAL)
    left, top, right, bottom = random_box(1000, 100, recipe, numbers_for("crop", 1))
    assert (right - left, bottom - top) == (133, 100)
    assert abs((left + right) - 1000) <= 1


def test_a_crop_depends_on_its_place_alone() -> None:
    image = Image.effect_noise((300, 300), 60).convert("RGB")
    first = random_crop(image, RECIPE, numbers_for("crop", 1, 2, 3))
    assert first.shape == (254, 254, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, random_crop(image, RECIPE, numbers_for("crop", 1, 2, 3)))
    for place in ((0, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not np.array_equal(first, random_crop(image, RECIPE, numbers_for("crop", *place)))


def test_a_whole_crop_is_the_resized_image() -> None:
    image = Image.effect_noise((320, 320), 60).convert("RGB")
    recipe = CropRecipe(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    expected = image.resize((254, 254), Image.Resampling.BILINEAR)
    assert np.array_equal(random_crop(image, recipe, numbers_for("crop", 0)), np.asarray(expected))


@pytest.mark.parametrize(
    ("scale", "ratio"),
    [((0, 1), (1, 1)), ((0.5, 0.2), (1, 1)), ((0.5, 1.1), (1, 1)), ((1, 1), (2, 1))],
)
def test_impossible_recipes_are_refused(
    scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    with pytest.raises(SettingsError):
        CropRecipe(scale=scale, ratio=ratio)
