"""Batches of crops: the same pixels from threads and from the device, in any order and number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vaeneer.data.crops import COLUMNS, CropRecipe, cut_crop, draw_crops
from vaeneer.data.dataset import open_folder
from vaeneer.data.loader import Batch, PackedCrops, pixel_entropy_nats
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.rng import UniformRows
from vaeneer.settings import TrainSettings

CPU = torch.device("cpu")
RECIPE = CropRecipe.of(TrainSettings(recipe="reference", rotate_flip=True))
NUMBERS = UniformRows("crop", 0, 4, columns=COLUMNS)
GROUPS = [[3, 0, 7], [1, 9], [5]]


@pytest.fixture(scope="module")
def pack(data_set: Path) -> Pack:
    return open_pack(open_folder(data_set / "train"), PackLayout(RECIPE.source_side_px))


def batches(pack: Pack, groups: list[list[int]], **choices: object) -> list[Batch]:
    return list(PackedCrops(pack, RECIPE, CPU, **choices).batches(groups, NUMBERS))  # type: ignore[arg-type]


def test_a_crop_is_that_of_its_image_and_its_row(pack: Pack) -> None:
    found = batches(pack, GROUPS)
    assert [batch.indices for batch in found] == [tuple(group) for group in GROUPS]
    for group, batch in zip(GROUPS, found, strict=True):
        for place, index in enumerate(group):
            crops = draw_crops(
                NUMBERS.rows([index]), pack.widths[[index]], pack.heights[[index]], RECIPE
            )
            expected = cut_crop(pack.image(index), crops, 0, 254)
            assert np.array_equal(batch.pixels[place].permute(1, 2, 0).numpy(), expected)
            assert batch.entropy_nats[place] == pytest.approx(pixel_entropy_nats(expected))


def test_order_grouping_and_threads_change_no_crop(pack: Pack) -> None:
    usual = {
        index: pixels
        for batch in batches(pack, GROUPS)
        for index, pixels in zip(batch.indices, batch.pixels, strict=True)
    }
    for other in batches(pack, [[9, 5, 1, 0, 3, 7]], workers=4):
        for index, pixels in zip(other.indices, other.pixels, strict=True):
            assert torch.equal(pixels, usual[index])


def test_a_pack_that_lies_on_the_device_gives_the_same_crops(pack: Pack) -> None:
    for batch, other in zip(
        batches(pack, GROUPS), batches(pack, GROUPS, resident=True), strict=True
    ):
        assert batch.indices == other.indices
        difference = (batch.pixels.int() - other.pixels.int()).abs()
        assert difference.max() <= 1
        assert torch.allclose(batch.entropy_nats, other.entropy_nats, rtol=1e-3)


def test_images_are_shares_of_white_in_channels_last(pack: Pack) -> None:
    batch = batches(pack, GROUPS)[0]
    assert batch.pixels.dtype == torch.uint8
    assert batch.pixels.is_contiguous(memory_format=torch.channels_last)
    assert batch.images.dtype == torch.float32
    assert torch.equal(batch.images, batch.pixels.float() / 255)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_crops_cut_on_cuda_are_those_of_the_cpu(pack: Pack) -> None:
    cuda = PackedCrops(pack, RECIPE, torch.device("cuda"))
    assert cuda._pixels is not None, "a pack this small fits"
    for batch, other in zip(batches(pack, GROUPS), cuda.batches(GROUPS, NUMBERS), strict=True):
        assert (batch.pixels.int() - other.pixels.cpu().int()).abs().max() <= 1
