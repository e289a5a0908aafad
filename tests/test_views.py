"""Several crops of one surface in a step: which they are, and what they share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaeneer.data.crops import COLUMNS, CropRecipe, SharedScale, Views, draw_crops
from vaeneer.rng import UniformRows

NUMBERS = UniformRows("crop", 3, 1, columns=COLUMNS)
ASSETS = ["wood", "brick", "wood", "sand", "wood", "sand"]


def test_one_view_is_the_image_itself() -> None:
    views = Views(range(5), 1)
    assert views.crops_of([4, 0, 2]) == [4, 0, 2]
    assert views.groups([3, 1, 0, 2, 4], 2) == [[3, 1], [0, 2], [4]]


def test_the_views_of_an_image_lie_side_by_side_and_are_its_own() -> None:
    assert Views("abc", 3).crops_of([2, 0]) == [2, 5, 8, 0, 3, 6]


def test_the_views_of_an_asset_are_of_all_its_images_in_turn() -> None:
    views = Views(ASSETS, 4)
    images = [number % 6 for number in views.crops_of([2])]
    assert images == [2, 4, 0, 2]
    assert [number % 6 for number in views.crops_of([3])] == [3, 5, 3, 5]
    assert [number % 6 for number in views.crops_of([1])] == [1, 1, 1, 1]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(1, 24),
    st.randoms(use_true_random=False),
)
def test_an_epoch_shows_each_image_as_often_and_each_crop_once(
    assets, count, batch, random
) -> None:  # type: ignore[no-untyped-def]
    views = Views(assets, count)
    order = random.sample(range(len(assets)), len(assets))
    groups = views.groups(order, batch)
    numbers = [number for group in groups for number in group]
    assert sorted(numbers) == list(range(count * len(assets)))
    assert Counter(number % len(assets) for number in numbers) == dict.fromkeys(
        range(len(assets)), count
    )
    assert len(groups) == views.steps(batch)
    for group in groups:
        of = views.assets_of([number % len(assets) for number in group]).reshape(-1, count)
        assert (of == of[:, :1]).all(), "views of one asset, side by side"
    if count > 1 and len(assets) > 1 and batch >= 2 * count:
        assert all(len(group) >= 2 * count for group in groups), "a step compares"


def test_a_crop_depends_on_image_and_view_and_not_on_who_asks() -> None:
    rows = NUMBERS.rows([1, 7, 13])
    assert np.array_equal(NUMBERS.rows([13])[0], rows[2])
    assert not np.allclose(rows[0], rows[1])


def test_views_of_one_scale_cover_the_same_share_elsewhere() -> None:
    views = Views(ASSETS, 3)
    crops = views.crops_of([2, 1])  # wood, of three images, and brick
    recipe = CropRecipe(scale=(0.1, 0.9), ratio=(1, 1))
    shared = draw_crops(SharedScale(NUMBERS, views).rows(crops), [500] * 6, [500] * 6, recipe)
    alone = draw_crops(NUMBERS.rows(crops), [500] * 6, [500] * 6, recipe)
    assert [len(set(shared.width[part].tolist())) for part in (slice(3), slice(3, 6))] == [1, 1]
    assert shared.width[0] != shared.width[3]
    assert len(set(shared.left.tolist())) == 6
    assert len(set(alone.width.tolist())) == 6
    assert np.array_equal(shared.width[[0, 3]], alone.width[[0, 3]]), "the first views' own"


@pytest.mark.parametrize("asked", [[5], [11, 5], [17, 3, 5, 11]])
def test_the_shared_scale_of_a_crop_is_the_same_whatever_is_asked_with_it(asked: list[int]) -> None:
    rows = SharedScale(NUMBERS, Views(ASSETS, 3))
    for number, row in zip(asked, rows.rows(asked), strict=True):
        assert np.array_equal(rows.rows([number])[0], row)


def test_views_of_packed_crops_are_cut_from_their_images(data_set: Path) -> None:
    import torch

    from vaeneer.data.dataset import open_folder
    from vaeneer.data.loader import PackedCrops
    from vaeneer.data.pixel_cache import PackLayout, open_pack

    recipe = CropRecipe(scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), rotate_flip=True, color_jitter=1.0)
    pack = open_pack(open_folder(data_set / "train"), PackLayout(recipe.source_side_px))
    group = Views(range(10), 3).crops_of([4, 9])
    cpu = torch.device("cpu")
    (threads,) = PackedCrops(pack, recipe, cpu, resident=False).batches([group], NUMBERS)
    (together,) = PackedCrops(pack, recipe, cpu, resident=True).batches([group], NUMBERS)
    assert threads.indices == together.indices == (4, 4, 4, 9, 9, 9)
    assert (threads.pixels.int() - together.pixels.int()).abs().max() <= 1
    assert len({pixels.float().mean().item() for pixels in threads.pixels}) == 6
