"""Descriptors that nobody had to train: what a learned representation has to beat.

Each is one function from images (B, 3, H, W) float32 in [0, 1] to vectors (B, D) float32, compared
by their cosine. `baselines.py` has the strongest.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from vaeneer.errors import ModelFileError
from vaeneer.files import native_name
from vaeneer.rng import rng_for
from vaeneer.storage import storage_error
from vaeneer.workers import core_count

_RINGS = ((8, 1), (16, 2), (24, 4))  # neighbours, radius in pixels
DIMENSIONS = sum(points + 2 for points, _ in _RINGS)
_LUMA = (0.299, 0.587, 0.114)
_LEVELS = 8  # per channel
_GREY = 0.5  # the mean that each channel is scaled to
_FILTERS, _FILTER_PX, _STRIDE_PX, _SCALES = 32, 5, 2, 3
_LEAST_ANSWER = 1e-4
SHIPPED = Path(__file__).with_name("whitened_baseline.safetensors")
FEATURES = DIMENSIONS + 512


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
    random = rng_for("random convolutions", 0)
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


@dataclass(frozen=True, eq=False)
class Whitening:
    """A linear map that makes crops of one image vary alike in every direction."""

    mean: Tensor
    """(FEATURES,) float32: what is taken off first."""
    projection: Tensor
    """(FEATURES, 64) float32."""

    def __call__(self, features: Tensor) -> Tensor:
        """(B, FEATURES) -> (B, 64) float32, rows of length 1."""
        seen: Tensor = (features.float() - self.mean) @ self.projection
        unit: Tensor = seen / seen.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return unit


def whitened_features(images: Tensor) -> Tensor:
    """What the whitening takes: LBP beside the grey-world histogram, (B, FEATURES) float32.

    images: (B, 3, H, W) float32 in [0, 1].
    """
    return joined(local_binary_patterns(images), grey_world_histogram(images).cpu())


def joined(patterns: Tensor, histogram: Tensor) -> Tensor:
    """`whitened_features` of (B, 54) patterns and (B, 512) grey-world histograms at hand."""
    return torch.cat([patterns, histogram], 1)


def load_whitening(file: Path | None = None) -> Whitening:
    """Read a file of benchmarks/whitened_baseline.py; without a name, the one in the package.

    Raises ModelFileError for a file that is missing, damaged or of another shape.
    """
    file = file or SHIPPED
    try:
        with native_name(file) as name:
            values = load_file(name)
        whitening = Whitening(values["mean"].float(), values["projection"].float())
    except (OSError, KeyError, SafetensorError) as error:
        raise storage_error(error, file, verb="read") or ModelFileError(
            f"{file} cannot be read as a whitening ({error}); make one with:"
            f" python benchmarks/whitened_baseline.py DATA --out FILE"
        ) from error
    if whitening.mean.shape != (FEATURES,) or whitening.projection.shape[:1] != (FEATURES,):
        raise ModelFileError(
            f"{file} is a whitening of {tuple(whitening.projection.shape)}, not of {FEATURES}"
            " features; fit it again with this vaeneer's benchmarks/whitened_baseline.py."
        )
    return whitening
