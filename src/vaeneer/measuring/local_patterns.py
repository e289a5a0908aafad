"""Local binary patterns: which neighbours of a pixel are brighter, at three scales."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.workers import core_count

_RINGS = ((8, 1), (16, 2), (24, 4))  # neighbours, radius in pixels
DIMENSIONS = sum(points + 2 for points, _ in _RINGS)
_LUMA = (0.299, 0.587, 0.114)


def local_binary_patterns(images: Tensor) -> Tensor:
    """Roots of the shares of uniform rotation-invariant patterns (Ojala et al. 2002), three scales.

    On uint8 grey: 8 neighbours at 1 px, 16 at 2 px, 24 at 4 px; a pattern that changes between
    darker and brighter more than twice around the ring counts as one. Any rising change of all
    brightnesses leaves it as it is, but for the rounding to levels.
    images: (B, 3, H, W) float32 in [0, 1]. Returns (B, 54) float32, rows of length sqrt(3).
    """
    weights = torch.tensor(_LUMA, device=images.device)[:, None, None]
    grey = (255 * (images * weights).sum(1)).round().clamp(0, 255).byte().cpu().numpy()
    with ThreadPoolExecutor(core_count()) as pool:  # scikit-image lets other threads run
        rows = list(pool.map(_describe, grey))
    return torch.from_numpy(np.stack(rows))


def _describe(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    from skimage.feature import local_binary_pattern

    shares = []
    for points, radius in _RINGS:
        patterns = local_binary_pattern(grey, points, radius, method="uniform")
        counts = np.bincount(patterns.ravel().astype(np.intp), minlength=points + 2)
        shares.append(np.sqrt(counts / grey.size))
    return np.concatenate(shares).astype(np.float32)
