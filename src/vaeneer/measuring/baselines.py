"""Descriptors that nobody had to train: what a learned representation has to beat.

Each is one function from images (B, 3, H, W) float32 in [0, 1] to vectors (B, D) float32, compared
by their cosine. `whitened_baseline.py` has the strongest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from vaeneer.measuring.local_patterns import local_binary_patterns
from vaeneer.rng import numbers_for

_LEVELS = 8  # per channel
_GREY = 0.5  # the mean that each channel is scaled to
_FILTERS, _FILTER_PX, _STRIDE_PX, _SCALES = 32, 5, 2, 3
_LEAST_ANSWER = 1e-4


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


def grey_world_histogram(images: Tensor) -> Tensor:
    """The RGB histogram after each channel is scaled to the mean 0.5 (Buchsbaum 1980), clipped.

    It forgets the colour and the strength of the light. images and result as `rgb_histogram`.
    """
    means = images.mean((2, 3), keepdim=True).clamp(min=1e-6)
    return rgb_histogram((images * (_GREY / means)).clamp(0, 1))


def random_convolutions(images: Tensor) -> Tensor:
    """Mean and standard deviation of 32 random filters' positive answers at three scales, as logs.

    The filters, 5 x 5 over the three channels, are normal and seeded, each less its mean over the
    pixels; the channels are standardised first, and the logarithms less their mean are taken, so
    that neither light nor contrast counts (Jarrett et al. 2009: random filters go far).
    images: (B, 3, H, W) float32 in [0, 1], sides of 28 or more. Returns (B, 192) float32.
    """
    random = numbers_for("random convolutions", 0)
    drawn = random.standard_normal((_FILTERS, 3, _FILTER_PX, _FILTER_PX), np.float32)
    drawn -= drawn.mean((2, 3), keepdims=True)
    drawn /= np.linalg.norm(drawn.reshape(_FILTERS, -1), axis=1)[:, None, None, None]
    filters = torch.from_numpy(drawn).to(images.device)
    spread = images.std((2, 3), keepdim=True).clamp(min=1e-3)
    even = (images - images.mean((2, 3), keepdim=True)) / spread
    pooled = []
    for scale in range(_SCALES):
        seen = avg_pool2d(even, 2**scale) if scale else even
        answers = conv2d(seen, filters, stride=_STRIDE_PX).relu().flatten(2)  # (B, 32, places)
        pooled += [answers.mean(2), answers.std(2)]
    logs = (torch.cat(pooled, 1) + _LEAST_ANSWER).log()
    return logs - logs.mean(1, keepdim=True)


BASELINES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "rgb_histogram": ("RGB histogram", rgb_histogram),
    "grey_world_histogram": ("grey-world RGB histogram", grey_world_histogram),
    "lbp": ("local binary patterns", local_binary_patterns),
    "random_convolutions": ("random convolutions", random_convolutions),
}
"""Title and function by name; the whitened one needs the vectors of two of these."""
