"""Descriptors without learning: what they see and what they do not."""

from __future__ import annotations

import numpy as np
import torch

from vaeneer.measuring.baselines import rgb_histogram


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
