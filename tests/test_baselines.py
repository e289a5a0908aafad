"""Descriptors without learning: what they see and what they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.feature import local_binary_pattern
from torch import Tensor
from whitened_baseline import fit_whitening, save_whitening

from vaeneer.errors import ModelFileError
from vaeneer.evaluation.baselines import (
    BASELINES,
    FEATURES,
    SHIPPED,
    grey_world_histogram,
    load_whitening,
    local_binary_patterns,
    random_convolutions,
    rgb_histogram,
    whitened_features,
)


def textures(count: int = 3, side: int = 64) -> Tensor:
    """Noise of its own grain, colour and contrast in each image: (count, 3, side, side)."""
    random = torch.Generator().manual_seed(0)
    rows = []
    for place in range(count):
        grain = torch.rand(1, 3, side >> place % 3, side >> place % 3, generator=random)
        whole = torch.nn.functional.interpolate(grain, size=(side, side), mode="bilinear")
        colour = torch.rand(1, 3, 1, 1, generator=random)
        rows.append(0.2 + 0.3 * colour + 0.2 * whole)
    return torch.cat(rows)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


@pytest.mark.parametrize("name", list(BASELINES))
def test_each_baseline_describes_each_image_alone(name: str) -> None:
    images, describe = textures(), BASELINES[name][1]
    together = describe(images)
    assert together.shape[0] == 3
    assert together.dtype == torch.float32
    assert together.isfinite().all()
    torch.testing.assert_close(describe(images[1:2]), together[1:2], atol=1e-5, rtol=1e-4)
    assert cosine(together[0], together[1]) < 0.9999


@pytest.mark.parametrize("name", list(BASELINES))
def test_constant_images_have_finite_vectors(name: str) -> None:
    constant = torch.tensor([0.0, 0.4, 1.0]).view(3, 1, 1, 1).expand(3, 3, 40, 40)
    assert BASELINES[name][1](constant).isfinite().all()


def test_grey_world_forgets_the_colour_of_the_light() -> None:
    images = textures()
    lit = images * torch.tensor([1.2, 0.8, 0.9]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        grey_world_histogram(lit), grey_world_histogram(images), atol=0.02, rtol=0
    )
    assert (cosine(rgb_histogram(lit), rgb_histogram(images)) < 0.9).all()


def test_patterns_are_those_of_scikit_image() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (50, 40), np.uint8)
    images = torch.from_numpy(grey).float().div(255).expand(1, 3, 50, 40)
    found = local_binary_patterns(images)[0].split([10, 18, 26])
    for part, (points, radius) in zip(found, ((8, 1), (16, 2), (24, 4)), strict=True):
        patterns = local_binary_pattern(grey, points, radius, method="uniform")
        counts = np.bincount(patterns.astype(int).ravel(), minlength=points + 2)
        np.testing.assert_allclose(part.square(), counts / grey.size, atol=1e-6)


def test_patterns_forget_the_brightness_and_the_turn() -> None:
    images = textures()
    found = local_binary_patterns(images)
    assert (cosine(local_binary_patterns(images * 0.6), found) > 0.99).all()
    assert (cosine(local_binary_patterns(images.rot90(1, (2, 3))), found) > 0.999).all()
    assert cosine(found[0], found[1]) < 0.99


def test_random_convolutions_forget_the_light() -> None:
    images = textures()
    lit = images * torch.tensor([1.2, 0.8, 0.9]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        random_convolutions(lit), random_convolutions(images), atol=1e-3, rtol=0
    )


def test_whitening_makes_crops_of_one_image_alike() -> None:
    random = np.random.default_rng(0)
    assets = random.normal(size=(80, 1, FEATURES))
    nuisance = random.normal(size=(80, 4, 1)) * random.normal(size=FEATURES) * 30
    features = (assets + nuisance).astype(np.float32)  # one loud direction says nothing
    whitening = fit_whitening(features[:60])
    seen = whitening(torch.from_numpy(features[60:]).flatten(0, 1)).reshape(20, 4, -1)
    assert seen.shape[2] == 59  # as many directions as 60 centred images have
    torch.testing.assert_close(seen.norm(dim=2), torch.ones(20, 4))
    raw = torch.from_numpy(features[60:])
    raw = raw - raw.mean((0, 1))
    assert cosine(seen[:, 0], seen[:, 1]).mean() > 0.5
    assert cosine(raw[:, 0], raw[:, 1]).mean() < 0.2


def test_the_whitening_in_the_package_fits_its_features() -> None:
    features = whitened_features(textures(2))
    assert features.shape == (2, FEATURES)
    seen = load_whitening()(features)
    assert seen.shape == (2, 64)
    torch.testing.assert_close(seen.norm(dim=1), torch.ones(2))
    assert SHIPPED.stat().st_size < 100_000
    assert SHIPPED.with_suffix(".json").is_file()


def test_a_whitening_is_kept_in_half_precision(tmp_path: Path) -> None:
    whitening = fit_whitening(np.random.default_rng(0).random((30, 2, FEATURES)))
    again = load_whitening(save_whitening(whitening, tmp_path / "w.safetensors"))
    torch.testing.assert_close(again.projection, whitening.projection, rtol=1e-3, atol=1e-4)


def test_a_damaged_or_foreign_whitening_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_text("nothing")
    with pytest.raises(ModelFileError, match=r"cannot be read .*whitened_baseline\.py"):
        load_whitening(tmp_path / "w.safetensors")
    other = fit_whitening(np.random.default_rng(0).random((9, 2, 7)))
    with pytest.raises(ModelFileError, match=f"not of {FEATURES} features"):
        load_whitening(save_whitening(other, tmp_path / "o.safetensors"))


def test_histogram_counts_the_cells_of_rgb() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 10, 14, 3), np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    found = rgb_histogram(images)
    assert found.shape == (3, 512)
    assert found.dtype == torch.float32
    for image, histogram in zip(pixels, found, strict=True):
        counts, _ = np.histogramdd(image.reshape(-1, 3), bins=8, range=[(0, 256)] * 3)
        np.testing.assert_allclose(histogram.square(), counts.ravel() / 140, atol=1e-6)


def test_histogram_rows_have_length_one() -> None:
    lengths = rgb_histogram(torch.rand(4, 3, 9, 9)).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(4))


def test_every_level_falls_into_the_cell_of_its_32() -> None:
    levels = torch.arange(256).float() / 255
    grey = levels.view(256, 1, 1, 1).expand(256, 3, 2, 2)
    cells = rgb_histogram(grey).argmax(dim=1)
    assert torch.equal(cells, torch.arange(256) // 32 * (64 + 8 + 1))


def test_histogram_forgets_where_the_pixels_are_and_what_batch_they_are_in() -> None:
    image = torch.rand(1, 3, 8, 8)
    moved = image.flatten(2)[..., torch.randperm(64)].view_as(image)
    together = rgb_histogram(torch.cat([image, moved, torch.rand(2, 3, 8, 8)]))
    torch.testing.assert_close(together[0], together[1])
    assert torch.equal(together[:1], rgb_histogram(image))
