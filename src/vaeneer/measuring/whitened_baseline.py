"""The strongest handcrafted baseline: LBP and grey-world histogram, whitened within assets.

It knows no more than which crops show one image. The matrix in the package was fitted on crops of
free images by benchmarks/whitened_baseline.py; whitened_baseline.json says of which.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vaeneer.errors import ModelFileError
from vaeneer.files import native_name, replacing
from vaeneer.measuring.baselines import grey_world_histogram
from vaeneer.measuring.local_patterns import DIMENSIONS, local_binary_patterns
from vaeneer.storage import storage_error

SHIPPED = Path(__file__).with_name("whitened_baseline.safetensors")
FEATURES = DIMENSIONS + 512
_KEPT = 64
_SHRINKAGE = 0.1


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


def fit_whitening(features: NDArray[np.floating]) -> Whitening:
    """Fit to features of crops of images, (images, crops, FEATURES), two or more of each.

    Sw, the mean covariance inside an image, is shrunk by a tenth of its mean diagonal; Sw^(-1/2)
    whitens; the leading directions of the image means are kept (Hariharan et al. 2012).
    """
    means = features.mean(1, dtype=np.float64)  # (images, F)
    apart = (features - means[:, None]).reshape(-1, features.shape[-1])
    within = apart.T @ apart / (features.shape[0] * (features.shape[1] - 1))
    within += _SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    whitening = vectors / np.sqrt(values) @ vectors.T
    centre = means.mean(0)
    directions = np.linalg.svd((means - centre) @ whitening, full_matrices=False)[2]
    projection = whitening @ directions[: min(_KEPT, len(means) - 1)].T
    return Whitening(*(torch.from_numpy(part.astype(np.float32)) for part in (centre, projection)))


def save_whitening(whitening: Whitening, file: Path) -> Path:
    """Write mean and projection as float16 safetensors, whole or not at all; returns `file`."""
    values = {"mean": whitening.mean, "projection": whitening.projection}
    with replacing(file) as temporary:
        save_file({name: value.half().contiguous() for name, value in values.items()}, temporary)
    return file


def load_whitening(file: Path | None = None) -> Whitening:
    """Read a file of `save_whitening`; without a name, the one in the package.

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
