"""The strict protocol's crops: disjoint, turned, scaled, and relit without moving."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from vaeneer.data.crops import (
    GALLERY,
    QUERIES,
    STRICT_COLUMNS,
    StrictRecipe,
    centre_square,
    relit,
    strict_crops,
)
from vaeneer.data.decode_worker import SOURCE_SIDE_PX
from vaeneer.errors import DataError, SettingsError
from vaeneer.rng import UniformRows

PLAIN = StrictRecipe(light=False)


def numbers(index: int = 0, draw: int = 0) -> NDArray[np.float64]:
    return UniformRows("strict crop", 0, draw, columns=STRICT_COLUMNS).rows([index])[0]


def ramp() -> NDArray[np.uint8]:
    """Red rises to the right and green downwards, a level for about two pixels; blue is noise."""
    line = np.linspace(0, 255, SOURCE_SIDE_PX)
    image = np.zeros((SOURCE_SIDE_PX, SOURCE_SIDE_PX, 3))
    image[..., 0], image[..., 1] = line[None, :], line[:, None]
    image[..., 2] = np.random.default_rng(1).integers(0, 256, image.shape[:2])
    return image.astype(np.uint8)


@pytest.mark.parametrize("index", range(12))
def test_each_crop_lies_in_its_quadrant_and_covers_half_of_it_at_least(index: int) -> None:
    crops = strict_crops(ramp(), numbers(index), PLAIN)
    for place, crop in enumerate(crops):
        for axis, far in ((0, place % 2), (1, place // 2)):
            low, high = crop[axis].min(), crop[axis].max()
            assert 0.5 * far - 0.01 <= low < high <= 0.5 * far + 0.51
            assert np.sqrt(0.5) / 2 - 0.02 <= high - low <= 0.5
    assert crops.shape == (4, 3, 254, 254)
    assert crops.dtype == np.float32


def test_all_eight_positions_come() -> None:
    seen = set()
    for index in range(40):
        for crop in strict_crops(ramp(), numbers(index), PLAIN):
            red, green = crop[0].astype(float), crop[1].astype(float)
            across = red[:, -1].mean() - red[:, 0].mean(), red[-1].mean() - red[0].mean()
            down = green[:, -1].mean() - green[:, 0].mean(), green[-1].mean() - green[0].mean()
            seen.add(tuple(int(np.rint(2 * step)) for step in (*across, *down)))
    assert len(seen) == 8


def test_the_numbers_decide_and_nothing_else() -> None:
    once, again = (strict_crops(ramp(), numbers(3)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - strict_crops(ramp(), numbers(4))).max() > 0.1
    assert np.abs(once - strict_crops(ramp(), numbers(3, draw=1))).max() > 0.1


def test_light_changes_the_colours_and_not_the_geometry() -> None:
    plain, lit = strict_crops(ramp(), numbers(5), PLAIN), strict_crops(ramp(), numbers(5))
    np.testing.assert_array_equal(relit(plain, numbers(5)), lit)
    assert (lit >= 0).all()
    assert (lit <= 1).all()
    for before, after in zip(plain.reshape(12, -1), lit.reshape(12, -1), strict=True):
        steps = np.diff(after[np.argsort(before)])
        assert steps.min() >= -1e-6  # the brighter pixel stays the brighter one
        assert not np.allclose(before, after, atol=0.003)


def test_each_crop_has_a_light_of_its_own() -> None:
    grey = np.full((SOURCE_SIDE_PX, SOURCE_SIDE_PX, 3), 100, np.uint8)
    means = strict_crops(grey, numbers()).mean((2, 3))  # (4, 3)
    assert len(np.unique(means.round(4))) == 12


def test_lights_have_the_spread_that_the_protocol_says() -> None:
    grey = np.full((4, 3, 1, 1), 0.25, np.float32)
    rows = UniformRows("strict crop", 0, 0, columns=STRICT_COLUMNS).rows(range(4000))
    logs = np.log(np.stack([relit(grey, row) for row in rows])[..., 0, 0])  # (4000, 4, 3)
    sigma = np.hypot(0.2 * abs(np.log(0.25)), 0.2)  # gamma and brightness: alike in the channels
    assert logs.mean(2).std() == pytest.approx(np.hypot(sigma, 0.15 / np.sqrt(3)), rel=0.1)
    assert (logs - logs.mean(2, keepdims=True)).std() * np.sqrt(1.5) == pytest.approx(
        0.15, rel=0.05
    )


def test_a_scale_gap_enlarges_the_gallery_and_leaves_the_queries() -> None:
    whole = strict_crops(ramp(), numbers(7), PLAIN)
    gap = strict_crops(ramp(), numbers(7), dataclasses.replace(PLAIN, scale_gap=0.5))
    for place in QUERIES:
        np.testing.assert_array_equal(gap[place], whole[place])
    for place in GALLERY:
        for channel in (0, 1):
            assert np.ptp(gap[place, channel]) == pytest.approx(
                np.ptp(whole[place, channel]) / 2, abs=0.02
            )
            assert gap[place, channel].mean() == pytest.approx(
                whole[place, channel].mean(), abs=0.02
            )


def test_the_crops_are_not_rounded_to_levels() -> None:
    levels = 255 * strict_crops(ramp(), numbers(), PLAIN)
    assert np.abs(levels - levels.round()).max() > 0.4


@pytest.mark.parametrize(("height", "width"), [(568, 568), (568, 900), (700, 568)])
def test_the_centre_square_is_cut_from_the_middle(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    top, left = (height - 568) // 2, (width - 568) // 2
    np.testing.assert_array_equal(centre_square(image), image[top : top + 568, left : left + 568])


@pytest.mark.parametrize("size", [(80, 90), (1136, 1200)])
def test_other_sizes_are_resized(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), (10, 120, 250), np.uint8)
    square = centre_square(image)
    assert square.shape == (568, 568, 3)
    assert (square == image[0, 0]).all()


def test_wrong_input_is_named() -> None:
    with pytest.raises(DataError, match="use centre_square"):
        strict_crops(np.zeros((100, 100, 3), np.uint8), numbers())
    with pytest.raises(DataError, match=r"40 numbers, not shape \(3,\)"):
        strict_crops(ramp(), np.zeros(3))
    with pytest.raises(DataError, match=r"shape \(5, 5\)"):
        centre_square(np.zeros((5, 5), np.uint8))
    with pytest.raises(SettingsError, match="scale_gap is 2"):
        StrictRecipe(scale_gap=2)
    with pytest.raises(SettingsError, match="side_px is 0; use 1 or more"):
        StrictRecipe(side_px=0)
