"""The parts of an image that a library has vectors of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from vaeneer.data.tiles import Parts, in_pixels, part_boxes, part_views, square_boxes
from vaeneer.model.embedder import whole_vector

SIDES = some.integers(64, 700)


@given(SIDES, SIDES)
def test_the_first_parts_are_the_views_that_the_embedder_averages(height: int, width: int) -> None:
    for parts in ("none", "halves", "quarters"):
        boxes = [p.box for p in part_boxes(height, width, parts) if p.scale <= 2]
        assert boxes == square_boxes(height, width, "all")


@given(SIDES, SIDES)
def test_every_part_lies_inside_the_image(height: int, width: int) -> None:
    for part in part_boxes(height, width):
        assert part.box.top >= 0
        assert part.box.left >= 0
        assert part.box.top + part.box.side <= height
        assert part.box.left + part.box.side <= width
        assert part.box.side >= 64


def test_quarters_tile_each_square() -> None:
    quarters = [p.box for p in part_boxes(568, 568) if p.scale == 4]
    covered = np.zeros((568, 568), int)
    for box in quarters:
        covered[box.top : box.top + box.side, box.left : box.left + box.side] += 1
    assert len(quarters) == 16
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("parts", "scales"), [("none", {1, 2}), ("halves", {1, 2}), ("quarters", {1, 2, 4})]
)
def test_the_smallest_parts_are_those_asked_for(parts: Parts, scales: set[int]) -> None:
    assert {p.scale for p in part_boxes(568, 600, parts)} == scales


def test_small_images_have_no_part_under_64_px() -> None:
    assert {p.scale for p in part_boxes(100, 100)} == {1}
    assert {p.scale for p in part_boxes(200, 200)} == {1, 2}


def test_views_are_cut_where_the_boxes_lie() -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    image[:64, 64:] = 200  # the upper right quarter
    parts = part_boxes(128, 128)
    views = part_views(image, parts, 64)
    assert views.shape == (5, 3, 64, 64)
    means = views.float().mean((1, 2, 3)).tolist()
    assert means[0] == pytest.approx(50, abs=1)
    assert means[1:] == pytest.approx([0, 200, 0, 0], abs=1)


def test_the_whole_is_the_mean_of_squares_and_halves() -> None:
    parts = part_boxes(568, 568)
    vectors = np.eye(len(parts), dtype=np.float32)
    whole = whole_vector(vectors, parts)
    assert np.linalg.norm(whole) == pytest.approx(1)
    assert (whole[:5] > 0).all()
    assert (whole[5:] == 0).all()


@given(some.integers(64, 5000), some.integers(64, 5000))
def test_places_in_the_file_lie_inside_it_and_the_square_covers_the_short_side(
    width: int, height: int
) -> None:
    small = (
        (568, round(568 * width / height))
        if width >= height
        else (round(568 * height / width), 568)
    )
    for part in part_boxes(*small):
        x, y, wide, high = in_pixels(part.box, small, (width, height))
        assert x >= 0
        assert y >= 0
        assert wide >= 1
        assert high >= 1
        assert x + wide <= width
        assert y + high <= height
        if part.scale == 1:
            assert max(wide, high) >= min(width, height) - 1
