"""The texture part of the surface network's latent: which surface it is, whatever the light.

It starts in closed form. With the directions in which surfaces differ (within-asset whitening of
the statistics, projection.py), a crop is its surface plus noise of variance 1, and the posterior of
the surface given one crop is Gaussian: probabilistic linear discriminant analysis (Ioffe 2006).
Training goes on from there: a linear layer that begins as the identity and a branch that begins
at 0 learn from the ELBO and from the consistency of crops of one surface.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, silu

from vaeneer.model.projection import Vectors, fit_readout
from vaeneer.settings import ReadoutSettings

SCALES = 5
"""Each is half as large as the one before."""
_DARKEST = 0.05  # of the mean: below it, the logarithm tells noise
_LEAST_SPREAD = 0.02
_TIE = 1e-3  # of the spread: where light is clipped, rounding would toss the signs of patterns
_AT_ONCE = 16  # images whose maps stay in a CPU's caches
_PLANES = ((1 / 3, 1 / 3, 1 / 3), (0.5, 0.0, -0.5), (0.5, -1.0, 0.5))  # lightness and two colours
_LEVELS = 8  # of each channel in the histogram of colours
_NEAR, _FAR = 8, 16  # points on the circles of radius 1 and 2
_SIGNS_AND_CONTRASTS = (_NEAR + 2) ** 2 * 2
_FILTER_SIDE_PX, _ACROSS_PX, _ALONG_PX = 9, 1.2, 2.0
MOMENTS = ("light", "filters")
"""The blocks of numbers in different units; the others are roots of shares, comparable as such."""
TEXTURE_SIZE = 128
"""Latents of the texture part."""
DIRECTIONS = 160
"""Directions of the statistics that it is made from."""
_HIDDEN = 256
_OUTLIER = 4.0  # standard deviations at which a moment is cut off
_SHRINKAGE = 0.1
_NO_SPREAD, _NO_LIMIT = 1e-3, 1e4  # both fit into half precision, as does 1 / the first


def block_sizes() -> dict[str, int]:
    """How many statistics each block has, in their order; each is scaled as a whole."""
    sizes = {"light": 6, "colours": _LEVELS**3}
    for scale in range(SCALES):
        sizes[f"near {scale}"] = _SIGNS_AND_CONTRASTS
        sizes[f"colour patterns {scale}"] = 4 * (_NEAR + 2)
        if scale < SCALES - 1:
            sizes[f"far {scale}"] = 3 * (_FAR + 2)
    return sizes | {"filters": SCALES * 51 - 3}


STATISTICS = sum(block_sizes().values())


class TextureStatistics(nn.Module):
    """Images (B, 3, H, W) float32 in [0, 1] to their statistics, (B, STATISTICS) float32.

    H and W from 160 up. Nothing in it is trained, has a gradient or waits for the device.
    """

    planes: Tensor
    near: Tensor
    far: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (
            ("planes", torch.tensor(_PLANES, device="cpu")),  # (3, 3)
            ("near", _circle(_NEAR, 1)),  # (8, 1, 3, 3)
            ("far", _circle(_FAR, 2)),  # (16, 1, 5, 5)
            ("filters", _oriented()),  # (8, 1, 9, 9)
        ):
            self.register_buffer(name, values, persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 3, H, W) in [0, 1]. Returns (B, STATISTICS), blocks as in `block_sizes`."""
        if images.device.type != "cpu" or torch.compiler.is_exporting():  # batches of any size
            return self._of(images.float().contiguous())
        return torch.cat([self._of(x.float().contiguous()) for x in images.split(_AT_ONCE)])

    def _of(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            x, light = self.normalised(images)  # (B, 3, H, W), (B, 6)
            found, moments, before = [light, colours(images)], [], None
            for scale in range(SCALES):
                stride = 2 if scale == 0 else 1  # every other pixel is enough of them
                found += self.patterns(x, stride, far=scale < SCALES - 1)
                moment, before = self.moments(x, stride, before)
                moments.append(moment)
                x = avg_pool2d(x, 2)
            return torch.cat(found + moments, 1)

    def normalised(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Illumination-normalized colour planes (B, 3, H, W), and the removed illumination."""
        mean = images.mean((2, 3), keepdim=True) + 1e-3  # (B, 3, 1, 1)
        logs = (images / mean + _DARKEST).log()  # (B, 3, H, W)
        x = torch.einsum("bchw,kc->bkhw", logs, self.planes)  # (B, 3, H, W)
        x = x - x.mean((2, 3), keepdim=True)
        spread = x[:, :1].square().mean((2, 3), keepdim=True).sqrt() + _LEAST_SPREAD
        tones = mean.flatten(1).log() @ self.planes.T  # (B, 3)
        clipped = (images > 0.995).float().mean((2, 3)).mean(1, keepdim=True)  # (B, 1)
        dark = (images < 0.02).float().mean((2, 3)).mean(1, keepdim=True)  # (B, 1)
        light = torch.cat([tones, spread.flatten(1).log(), clipped, dark], 1)  # (B, 6)
        return (x / spread).contiguous(), light

    def patterns(self, x: Tensor, stride: int, *, far: bool) -> list[Tensor]:
        """Histograms of local binary patterns of the planes (B, 3, H, W): near, colours, far."""
        lightness = x[:, :1]  # (B, 1, H, W)
        bright = (lightness >= lightness.mean((2, 3), keepdim=True) - _TIE)[:, 0]  # (B, H, W)
        signs, contrasts = _codes(lightness, self.near, stride)
        centre = bright[:, 1:-1:stride, 1:-1:stride]
        codes = (signs.short() * (_NEAR + 2) + contrasts) * 2 + centre
        found = [_shares(codes, _SIGNS_AND_CONTRASTS)]  # (B, 200)
        colour = [_codes(x[:, k : k + 1], self.near, stride) for k in (1, 2)]
        found.append(torch.cat([_shares(c, _NEAR + 2) for pair in colour for c in pair], 1))
        if far:
            signs, contrasts = _codes(lightness, self.far, stride)
            codes = signs.short() * 2 + bright[:, 2:-2:stride, 2:-2:stride]
            found.append(torch.cat([_shares(codes, 36), _shares(contrasts, _FAR + 2)], 1))
        return found

    def moments(self, x: Tensor, stride: int, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Moments of the planes' filter responses, (B, 48 or 51), and their energy (B, 3, h, w).

        before: the energy at the scale before, for the correlation across scales.
        """
        count, _, height, width = x.shape
        r = conv2d(x.reshape(-1, 1, height, width), self.filters, stride=stride)
        r = r.unflatten(0, (count, 3)).unflatten(2, (4, 2))  # (B, 3, 4 directions, 2, h, w)
        size = r.abs()
        spread = r.square().mean((4, 5)).sqrt() + 1e-3  # (B, 3, 4, 2)
        peaks = spread.log() - (size.mean((4, 5)) + 1e-3).log()  # (B, 3, 4, 2)
        upright, slanted = spread.log()[:, :, ::2], spread.log()[:, :, 1::2]  # (B, 3, 2, 2)
        lines = r[:, :, :, 1]  # (B, 3, 4, h, w)
        skew = (lines * lines * lines).mean((3, 4)) / spread[..., 1] ** 3  # (B, 3, 4)
        energy = size.mean((2, 3))  # (B, 3, h, w)
        varied, variation = _centred(energy)
        shared = _correlations(x - x.mean((2, 3), keepdim=True))
        found = [
            upright.mean(2),
            slanted.mean(2),
            (upright[:, :, 0] - upright[:, :, 1]).abs(),
            (slanted[:, :, 0] - slanted[:, :, 1]).abs(),
            peaks.mean(2),
            skew.mean(2),
            (variation / energy.mean((2, 3)).clamp_min(1e-3)).log(),
            _correlations(varied),
            x.square().mean((2, 3)).clamp_min(1e-5).log() / 2,
            shared,
            (x * x * x).mean((2, 3)) / x.square().mean((2, 3)).clamp_min(1e-5) ** 1.5,
        ]
        if before is not None:
            finer, finer_variation = _centred(interpolate(before, energy.shape[2:], mode="area"))
            found.append((finer * varied).mean((2, 3)) / (finer_variation * variation))
        return torch.cat([f.flatten(1) for f in found], 1), energy


def colours(images: Tensor) -> Tensor:
    """Roots of the shares of pixels in 8 x 8 x 8 cells of colour, each channel over twice its mean.

    images: (B, 3, H, W) in [0, 1]. Returns (B, 512): the grey-world histogram.
    """
    mean = images.mean((2, 3), keepdim=True) + 1e-3
    red, green, blue = (images / mean * (_LEVELS / 2)).clamp(0, _LEVELS - 1).short().unbind(1)
    return _shares((red * _LEVELS + green) * _LEVELS + blue, _LEVELS**3)


def _codes(plane: Tensor, circle: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Uniform, rotation-invariant patterns of signs and of contrasts of (B, 1, H, W), uint8."""
    apart = conv2d(plane, circle, stride=stride)  # (B, P, h, w)
    size = apart.abs()
    weak = size.mean((1, 2, 3), keepdim=True) + _TIE
    return _uniform(apart >= -_TIE), _uniform(size >= weak)


def _uniform(bits: Tensor) -> Tensor:
    """How many of P bits on a circle are set, P + 1 where they change more than twice."""
    points = bits.to(torch.uint8).unbind(1)  # P x (B, h, w)
    ones, changes = points[0].clone(), points[0] ^ points[-1]
    for before, point in pairwise(points):
        ones += point
        changes += point ^ before
    return torch.where(changes <= 2, ones, len(points) + 1)


def _shares(codes: Tensor, count: int) -> Tensor:
    """Roots of the shares of the codes 0 .. count - 1 in (B, h, w), (B, count) float32."""
    flat = codes.flatten(1).long()
    ones = torch.ones((), device=flat.device).expand(flat.shape)
    found = torch.zeros(flat.shape[0], count, device=flat.device).scatter_add_(1, flat, ones)
    return (found / flat.shape[1]).sqrt()


def _centred(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (B, 3, h, w) less their means, and their standard deviations (B, 3)."""
    centred = maps - maps.mean((2, 3), keepdim=True)
    return centred, centred.square().mean((2, 3)).sqrt() + 1e-4


def _correlations(centred: Tensor) -> Tensor:
    """Correlations of the three pairs of maps of mean 0, (B, 3, h, w) to (B, 3)."""
    spread = centred.square().mean((2, 3)).sqrt() + 1e-4
    ones, others = _pairs(centred)
    deviations = _pairs(spread)
    return (ones * others).mean((2, 3)) / (deviations[0] * deviations[1])


def _pairs(planes: Tensor) -> tuple[Tensor, Tensor]:
    """The planes (B, 3, ...) in the pairs (0, 1), (0, 2) and (1, 2), one of each on either side.

    By slices: a list of indices would be copied to the device, which no captured step may do.
    """
    ones = torch.cat([planes[:, :1], planes[:, :2]], 1)
    return ones, torch.cat([planes[:, 1:], planes[:, 2:]], 1)


def _circle(points: int, radius_px: int) -> Tensor:
    """Filters whose answers are points on a circle (bilinear) less its centre, (P, 1, k, k)."""
    side = 2 * radius_px + 1
    filters = torch.zeros(points, 1, side, side, device="cpu")
    for point in range(points):
        turn = 2 * math.pi * point / points
        y = round(radius_px - radius_px * math.sin(turn), 6)
        x = round(radius_px + radius_px * math.cos(turn), 6)
        for row in range(side):
            for column in range(side):
                filters[point, 0, row, column] = max(0, 1 - abs(y - row)) * max(
                    0, 1 - abs(x - column)
                )
    filters[:, 0, radius_px, radius_px] -= 1
    return filters


def _oriented() -> Tensor:
    """First and second derivatives of long Gaussians in four directions, (8, 1, 9, 9)."""
    places = torch.arange(_FILTER_SIDE_PX, device="cpu") - _FILTER_SIDE_PX // 2.0
    y, x = torch.meshgrid(places, places, indexing="ij")
    filters = []
    for direction in range(4):
        turn = direction * math.pi / 4
        across = x * math.cos(turn) + y * math.sin(turn)
        along = y * math.cos(turn) - x * math.sin(turn)
        bell = (-(across / _ACROSS_PX).square() / 2 - (along / _ALONG_PX).square() / 2).exp()
        edge, line = -across * bell, ((across / _ACROSS_PX).square() - 1) * bell
        filters += [edge, line - line.mean()]
    return torch.stack([f / f.abs().sum() for f in filters])[:, None]


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
