"""Where one picture lies in another, and whether pictures in one frame are alike."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vaeneer.data.synthetic.synthesize import surface
from vaeneer.library.duplicates.features import Features, align, find_features, mirrored, thumb
from vaeneer.library.duplicates.verify import (
    LEAST_LIKENESS,
    ORIENTATIONS,
    best_orientations,
    compare,
    oriented,
)

Pixels = NDArray[np.uint8]
SIDE = 384


@pytest.fixture(scope="module")
def rock() -> Pixels:
    return surface("rock", seed=1, side_px=SIDE)


@pytest.fixture(scope="module")
def rock_features(rock: Pixels) -> Features:
    return find_features(rock)


def placed(rock: Pixels, scale: float, turn_degrees: float, mirror: bool) -> tuple[Pixels, Pixels]:
    """A 160 px picture cut from the middle, and where its corners were (4, 2), pixels."""
    side = 160
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn_degrees, 1 / scale)
    matrix[:, 2] += (side - SIDE) / 2
    cut = cv2.warpAffine(rock, matrix, (side, side), flags=cv2.INTER_AREA)
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], float)
    if mirror:
        cut = np.ascontiguousarray(cut[:, ::-1])
        corners[:, 0] = side - corners[:, 0]
    back = cv2.invertAffineTransform(matrix)
    return cut, corners @ back[:, :2].T + back[:, 2]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("scale", "turn"), [(1.0, 0.0), (0.8, 90.0), (1.3, 33.0), (1.0, 180.0)])
def test_a_part_is_found_where_it_was_cut(
    rock: Pixels, rock_features: Features, scale: float, turn: float, mirror: bool
) -> None:
    cut, corners = placed(rock, scale, turn, mirror)
    part = find_features(cut)
    found = align(rock_features, part)
    assert found is not None
    assert found.mirrored == mirror
    np.testing.assert_allclose(found.corners(part.width, part.height) * SIDE, corners, atol=3)
    assert found.scale * SIDE / 160 == pytest.approx(scale, abs=0.02)
    inverse = found.inverse()
    np.testing.assert_allclose(inverse.matrix[:, :2] @ found.matrix[:, :2], np.eye(2), atol=1e-9)


def test_the_turn_is_told_in_degrees(rock: Pixels, rock_features: Features) -> None:
    turned = np.ascontiguousarray(np.rot90(rock))  # counter-clockwise
    found = align(find_features(turned), rock_features)
    assert found is not None
    assert found.turn_degrees == pytest.approx(90, abs=0.5)


def test_another_surface_is_not_placed(rock_features: Features) -> None:
    assert align(rock_features, find_features(surface("rock", seed=2, side_px=SIDE))) is None


def test_a_blank_picture_has_no_features(rock_features: Features) -> None:
    blank = find_features(np.full((90, 120, 3), 128, np.uint8))
    assert blank.points.shape == (0, 2)
    assert blank.descriptors.shape == (0, 128)
    assert (blank.width, blank.height) == (1.0, 0.75)
    assert align(rock_features, blank) is None
    assert align(blank, rock_features) is None


def test_mirroring_twice_gives_the_same_features(rock_features: Features) -> None:
    twice = mirrored(mirrored(rock_features))
    np.testing.assert_array_equal(twice.descriptors, rock_features.descriptors)
    np.testing.assert_allclose(twice.points, rock_features.points, atol=1e-6)
    assert (mirrored(rock_features).descriptors != rock_features.descriptors).any()


def test_the_same_pictures_give_the_same_answer(rock: Pixels, rock_features: Features) -> None:
    again = find_features(rock)
    np.testing.assert_array_equal(again.points, rock_features.points)
    cut = find_features(rock[100:300, 60:260])
    first, second = align(rock_features, cut), align(again, cut)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.matrix, second.matrix)


@pytest.mark.parametrize("orientation", range(ORIENTATIONS))
def test_a_turned_copy_is_as_alike_as_an_upright_one(rock: Pixels, orientation: int) -> None:
    whole = thumb(rock)
    copy = oriented(thumb(rock), orientation)  # turned back by the inverse
    structures, turns = best_orientations(copy, whole[None])
    assert structures[0] > 0.99
    assert compare(oriented(copy, int(turns[0])), whole).value > 0.99


def test_recoloured_copies_are_alike_and_their_colours_are_told(rock: Pixels) -> None:
    whole = thumb(rock)
    other = compare(thumb(np.ascontiguousarray(rock[..., ::-1])), whole)
    assert other.value > 0.9
    darker = compare(whole * np.float32(0.8), whole)
    assert darker.value > 0.99
    assert darker.gain == pytest.approx(1.25, abs=0.01)
    assert darker.colour_levels < 0.1
    negative = compare(255 - whole, whole)
    assert negative.value > 0.99


@pytest.mark.parametrize("family", ["planks", "brick", "tile", "parquet", "roof", "fabric"])
def test_straight_lines_at_the_same_places_do_not_make_copies(family: str) -> None:
    pictures = [thumb(surface(family, seed=seed, side_px=256)) for seed in range(6)]
    for place, one in enumerate(pictures[:-1]):
        rest = np.stack(pictures[place + 1 :])
        turns = best_orientations(one, rest)[1]
        for other, turn in zip(rest, turns.tolist(), strict=True):
            assert compare(oriented(one, turn), other).value < LEAST_LIKENESS


def test_lines_painted_over_two_surfaces_do_not_make_copies() -> None:
    one, other = (surface("concrete", seed=seed, side_px=256) for seed in (1, 2))
    for picture in (one, other):
        picture[::32] = 20
        picture[:, ::64] = 20
    left, right = thumb(one), thumb(other)
    assert best_orientations(left, right[None])[0][0] > 0.7  # the lines are what both have
    assert compare(left, right).value < 0.2


def test_pictures_of_one_colour_are_alike_where_the_colour_is() -> None:
    grey, same, darker, tinted = (
        np.full((64, 64, 3), colour, np.float32)
        for colour in ((120, 120, 120), (121, 120, 119), (90, 90, 90), (120, 120, 140))
    )
    structures, turns = best_orientations(grey, np.stack([same, darker]))
    np.testing.assert_array_equal(structures, 1)
    np.testing.assert_array_equal(turns, 0)
    assert compare(grey, same).value > LEAST_LIKENESS
    assert compare(grey, darker).value == 0
    assert compare(grey, tinted).value == 0
