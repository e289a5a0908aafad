"""The texture part of the surface network's latent: which surface it is, whatever the light.

It starts in closed form. With the directions in which surfaces differ (within-asset whitening of
the statistics, readout.py), a crop is its surface plus noise of variance 1, and the posterior of
the surface given one crop is Gaussian: probabilistic linear discriminant analysis (Ioffe 2006).
Training goes on from there: a linear layer that begins as the identity and a branch that begins
at 0 learn from the ELBO and from the consistency of crops of one surface.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from vaeneer.model.readout import Vectors, fit_readout
from vaeneer.model.texture_statistics import MOMENTS, STATISTICS, TextureStatistics, block_sizes
from vaeneer.settings.training import ReadoutSettings

TEXTURE_SIZE = 128
"""Latents of the texture part."""
DIRECTIONS = 160
"""Directions of the statistics that it is made from."""
_HIDDEN = 256
_OUTLIER = 4.0  # standard deviations at which a moment is cut off
_SHRINKAGE = 0.1
_NO_SPREAD, _NO_LIMIT = 1e-3, 1e4  # both fit into half precision, as does 1 / the first


class Texture(nn.Module):
    """Images (B, 3, 254, 254) to the posterior of the texture part: mu and log_var, (B, 128)."""

    centre: Tensor
    scale: Tensor
    limit: Tensor
    projection: Tensor
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.statistics = TextureStatistics()
        self.register_buffer("centre", torch.zeros(STATISTICS))
        self.register_buffer("scale", torch.ones(STATISTICS))
        self.register_buffer("limit", torch.full((STATISTICS,), _NO_LIMIT))
        self.register_buffer("projection", torch.randn(STATISTICS, DIRECTIONS) / STATISTICS**0.5)
        self.register_buffer("offset", torch.zeros(DIRECTIONS))
        self.linear = nn.Linear(DIRECTIONS, TEXTURE_SIZE)
        self.hidden = nn.Linear(DIRECTIONS, _HIDDEN)
        self.branch = nn.Linear(_HIDDEN, TEXTURE_SIZE)
        self.log_var = nn.Parameter(torch.full((TEXTURE_SIZE,), -1.0))
        self._start_layers()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (B, 3, 254, 254) float32 in [0, 1]. Returns mu and log_var, (B, 128) each."""
        return self.read(self.statistics(images))

    def read(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior of statistics (B, STATISTICS): mu and log_var, (B, 128) float32 each."""
        return self.posterior(self.directions(statistics))

    def directions(self, statistics: Tensor) -> Tensor:
        """Statistics (..., STATISTICS) along the directions that surfaces differ in, (..., 160)."""
        with torch.autocast(statistics.device.type, enabled=False):
            along: Tensor = self.scaled(statistics) @ self.projection + self.offset  # (..., 160)
            return along

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior of directions (B, 160): mu and log_var, (B, 128) float32 each."""
        with torch.autocast(x.device.type, enabled=False):
            mu = self.linear(x) + self.branch(silu(self.hidden(x)))  # (B, 128)
            return mu, self.log_var.repeat(
                mu.shape[0], 1
            )  # no view: PyTorch's counters refuse those

    def scaled(self, statistics: Tensor) -> Tensor:
        """Every block of statistics with the same weight, (B, STATISTICS)."""
        return ((statistics - self.centre) * self.scale).clamp(-self.limit, self.limit)

    @torch.no_grad()
    def fit(self, statistics: Tensor) -> None:
        """Start in closed form, from the statistics of several crops of each image, on the CPU.

        statistics: (images, crops, STATISTICS), 2 images and 2 crops or more. Where there are fewer
        directions than latents, the latents that are left over say nothing (the prior).
        Raises DataError for statistics that are not finite.
        """
        self._fit_scales(statistics.flatten(0, 1))
        settings = ReadoutSettings(shrinkage=_SHRINKAGE, dimensions=DIRECTIONS, norm=False)
        scaled: Vectors = self.scaled(statistics).numpy()
        found = fit_readout(scaled, settings)
        means = torch.from_numpy(scaled.mean(1) @ found.projection)  # (images, known)
        # The whitening is shrunk, and so are these variances: few images promise little.
        ratio = (means.var(0) - 1 / statistics.shape[1]).clamp_min(1e-3)  # (known,)
        known = len(ratio)
        self.projection.zero_()
        self.offset.zero_()
        self.log_var.zero_()
        self.projection[:, :known] = torch.from_numpy(found.projection) * ratio.sqrt() / (1 + ratio)
        self.offset[:known] = -torch.from_numpy(found.mean) @ self.projection[:, :known]
        self.log_var[:known] = -(1 + ratio[:TEXTURE_SIZE]).log()
        self._start_layers()

    def _start_layers(self) -> None:
        """The posterior of the closed form: the first directions as they are, and nothing added."""
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        nn.init.zeros_(self.branch.weight)
        nn.init.zeros_(self.branch.bias)

    def _fit_scales(self, rows: Tensor) -> None:
        self.centre.copy_(rows.mean(0))
        spread, start = rows.std(0), 0
        for name, size in block_sizes().items():
            here = slice(start, start + size)
            if name in MOMENTS:
                known = spread[here] > _NO_SPREAD
                self.scale[here] = known / (size**0.5 * spread[here].clamp_min(_NO_SPREAD))
                self.limit[here] = _OUTLIER / size**0.5
            else:
                self.scale[here] = 1 / spread[here].norm().clamp_min(_NO_SPREAD)
                self.limit[here] = _NO_LIMIT
            start += size
