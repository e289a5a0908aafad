"""The `surface` network: a cosine transform coder that trained convolutions correct.

Near its optimum the ELBO is a rate-distortion problem: coding a coefficient of variance s^2 costs
about 0.5 * log(1 + p(1-p) s^2) nats and gains up to 0.5 * p(1-p) s^2. So 508 latents stand for
cosine coefficients of the image's logits (surface.py), and four "styles" say how large those are
in the image at hand. Convolutions add to all of it; their last layers start at 0, so that the
untrained network is the transform coder. Beside this spatial part, 128 latents say which surface
it is (texture.py): the last ones, which similarity uses.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pad, pixel_shuffle, silu

from vaeneer.model.texture import TEXTURE_SIZE, Texture

IMAGE_SIDE_PX = 254
LATENT_SIZE = 512
STYLES = 4
COEFFICIENTS = LATENT_SIZE - STYLES
FREQUENCIES = 52  # half waves across an image: 0 .. 51
_CHROMA = (3, 1)  # coefficients of red - blue and of magenta - green; brightness has the others
Array = NDArray[np.floating[Any]]
GRID = 64  # cells of 4 x 4 pixels; the first and the last reach 1 pixel over the edge
_LOWPASS = 60  # frequencies that survive before the logarithm of the odds is taken
_DARKEST = 0.01
_LOG_CHI2 = 1.27  # a squared normal number has a mean logarithm of -1.27
_COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
_PIXEL_CENTRES = np.arange(IMAGE_SIDE_PX) + 0.5
_CELL_CENTRES = 4.0 * np.arange(GRID) + 1.0
LATENTS = LATENT_SIZE + TEXTURE_SIZE
"""Of the spatial part, then of the texture part."""
Layer = TypeVar("Layer", bound=nn.Module)


class Coefficients(NamedTuple):
    """Which cosine coefficient each of the 508 latents after the styles is; arrays (508,)."""

    place: NDArray[np.int64]
    """Index into (3, FREQUENCIES, FREQUENCIES), flattened."""
    log_scale: Array
    """Logarithm of the standard deviation that is typical of photographed surfaces."""
    patterns: Array
    """(STYLES, 508): what one unit of each style adds to the logarithm of the scale."""


def cosines(count: int, at_px: Array) -> Array:
    """Cosines of 0 .. count - 1 half waves, orthonormal over the 254 pixel centres.

    Returns (count, places): their values at the given places in pixels.
    """
    waves = np.cos(np.pi * np.arange(count)[:, None] * at_px / IMAGE_SIDE_PX)
    waves *= np.sqrt(np.where(np.arange(count) == 0, 1.0, 2.0) / IMAGE_SIDE_PX)[:, None]
    return waves


def coefficients() -> Coefficients:
    """The coefficients that vary most over surfaces: low frequencies, and those along an axis."""
    y, x = np.indices((FREQUENCIES, FREQUENCIES)).reshape(2, -1).astype(float)
    order = np.argsort(np.sqrt(y) + np.sqrt(x), kind="stable")
    counts = (COEFFICIENTS - sum(_CHROMA), *_CHROMA)
    which = np.concatenate([order[:count] for count in counts])
    colour = np.repeat([0, 1, 2], counts)
    y, x = y[which], x[which]
    radius = np.maximum(np.hypot(y, x), 1)
    flat, along_axis = np.hypot(y, x) == 0, np.minimum(y, x) == 0
    variance = 80 * radius**-1.04 * np.where(along_axis, 2.4, 1) / np.array([1, 40, 120])[colour]
    variance[flat] = np.square([410, 113, 46])
    patterns = 0.5 * np.stack([
        np.full_like(radius, 1.58),  # contrast
        0.61 * (np.log(radius) - 2.9),  # fine against coarse
        0.23 * (np.log1p(y) - np.log1p(x)),  # rows against columns
        0.54 * (np.log1p(np.minimum(y, x)) - 1.0),  # oblique against along an axis
    ])  # fmt: skip
    place = colour * FREQUENCIES**2 + which
    return Coefficients(place, 0.5 * np.log(variance), np.where(flat, 0, patterns))


class Scales(nn.Module):
    """The standard deviation of each coefficient in an image of a given style."""

    def __init__(self) -> None:
        super().__init__()
        known = coefficients()
        self.log_scale = nn.Parameter(_float32(known.log_scale))
        self.patterns = nn.Parameter(_float32(known.patterns))

    def forward(self, styles: Tensor) -> Tensor:
        """styles: (B, 4). Returns the logarithms, (B, 508)."""
        log_scale: Tensor = self.log_scale + (styles @ self.patterns).clamp(-4, 4)  # (B, 508)
        return log_scale


class Block(nn.Module):
    """Adds two convolutions of the normalised input to it; adds nothing before it is trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv1 = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.conv2 = _silent(nn.Conv2d(width, width, kernel_size=3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, width, H, W), and so is the answer."""
        y = silu(self.conv1(self.norm(x)))  # (B, width, H, W)
        added: Tensor = x + self.conv2(y)  # (B, width, H, W)
        return added


class Encoder(nn.Module):
    """Images (B, 3, 254, 254) to the posterior's mean and log variance, (B, 640) each."""

    latent_size = LATENTS
    texture_size = TEXTURE_SIZE

    resample: Tensor
    analysis: Tensor
    colours: Tensor
    place: Tensor

    def __init__(self, width: int = 32, blocks: int = 2) -> None:
        super().__init__()
        known = coefficients()
        lowpass = cosines(_LOWPASS, _CELL_CENTRES).T @ cosines(_LOWPASS, _PIXEL_CENTRES)
        analysis = np.linalg.pinv(cosines(FREQUENCIES, _CELL_CENTRES).T)
        self.register_buffer("resample", _float32(lowpass))  # (64, 254)
        self.register_buffer("analysis", _float32(analysis))  # (52, 64)
        self.register_buffer("colours", _float32(_COLOURS))  # (3, 3), rows orthonormal
        self.register_buffer("place", torch.from_numpy(known.place))  # (508,)
        self.scales = Scales()
        bright = np.where(known.place < FREQUENCIES**2, 2 * known.patterns, 0)
        fit = np.linalg.solve(bright @ bright.T + 30 * np.eye(STYLES), bright)  # ridge regression
        self.style_weight = nn.Parameter(_float32(fit))  # (4, 508)
        self.style_bias = nn.Parameter(_float32(_LOG_CHI2 * fit.sum(1)))  # (4,)
        self.style_log_var = nn.Parameter(torch.full((STYLES,), -4.0))
        self.log_gain = nn.Parameter(torch.zeros(COEFFICIENTS))
        self.stem = nn.Conv2d(3, width, kernel_size=8, stride=4, padding=3)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.odds = _silent(nn.Conv2d(width, 3, kernel_size=3, padding=1))
        self.mu = _silent(nn.Linear(17 * width, LATENT_SIZE))
        self.log_var = _silent(nn.Linear(17 * width, LATENT_SIZE))
        self.texture = Texture()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (B, 3, 254, 254) float32 in [0, 1]. Returns mu and log_var, (B, 640)."""
        x = self.blocks(self.stem(images - 0.5))  # (B, width, 64, 64)
        places = adaptive_avg_pool2d(x, 4).flatten(1)  # (B, 16 width)
        pooled = torch.cat([x.mean((2, 3)), places], 1)  # (B, 17 width)
        odds, mu, log_var = self.odds(x), self.mu(pooled), self.log_var(pooled)
        with torch.autocast(images.device.type, enabled=False):
            coded_mu, coded_log_var = self.transform(images.float(), odds.float())
        texture_mu, texture_log_var = self.texture(images)  # (B, 128) each
        mu = torch.cat([coded_mu + mu.float(), texture_mu], 1)  # (B, 640)
        return mu, torch.cat([coded_log_var + log_var.float(), texture_log_var], 1)  # (B, 640)

    def transform(self, images: Tensor, odds: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior of a Gaussian coefficient seen through pixels of variance p(1 - p).

        images: (B, 3, 254, 254); odds: (B, 3, 64, 64), added to the logits of the cells.
        """
        p = self.resample @ images.contiguous() @ self.resample.T  # (B, 3, 64, 64)
        p = p.clamp(_DARKEST, 1 - _DARKEST)
        variance = (p * (1 - p)).mean((1, 2, 3))[:, None]  # (B, 1)
        x = torch.einsum("bchw,kc->bkhw", p.logit() + odds, self.colours)  # (B, 3, 64, 64)
        x = self.analysis @ x.contiguous() @ self.analysis.T  # (B, 3, 52, 52)
        x = x.flatten(1).index_select(1, self.place)  # (B, 508)
        energy = ((x * (-self.scales.log_scale).exp()).square() + 1e-3).log()  # (B, 508)
        styles = energy @ self.style_weight.T + self.style_bias  # (B, 4)
        log_scale = self.scales(styles)  # (B, 508)
        precision = 1 + (self.log_gain + 2 * log_scale).exp() * variance  # (B, 508)
        mu = x * (-log_scale).exp() * (1 - 1 / precision)  # (B, 508)
        style_log_var = self.style_log_var.expand_as(styles)  # (B, 4)
        return torch.cat([styles, mu], 1), torch.cat([style_log_var, -precision.log()], 1)


class Decoder(nn.Module):
    """Latents (B, 640) to logits of pixels (B, 3, 254, 254)."""

    synthesis: Tensor
    coarse: Tensor
    colours: Tensor
    slot: Tensor

    def __init__(self, width: int = 32, blocks: int = 1) -> None:
        super().__init__()
        slot = np.full(3 * FREQUENCIES**2, COEFFICIENTS)  # where no coefficient is, the padding
        slot[coefficients().place] = np.arange(COEFFICIENTS)
        self.register_buffer("synthesis", _float32(cosines(FREQUENCIES, _PIXEL_CENTRES)))
        self.register_buffer("coarse", _float32(cosines(FREQUENCIES, _CELL_CENTRES)))  # (52, 64)
        self.register_buffer("colours", _float32(_COLOURS))  # (3, 3)
        self.register_buffer("slot", torch.from_numpy(slot))  # (8112,)
        self.scales = Scales()
        self.bias = nn.Parameter(torch.zeros(3, 1, 1))
        self.stem = nn.Conv2d(3, width, kernel_size=3, padding=1)
        self.whole = nn.Linear(LATENTS, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.detail = _silent(nn.Conv2d(width, 3 * 4 * 4, kernel_size=3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        """z: (B, 640) float32. Returns logits, (B, 3, 254, 254) float32."""
        with torch.autocast(z.device.type, enabled=False):
            x = self.transform(z.float())  # (B, 3, 52, 52)
            logits = self.synthesis.T @ x @ self.synthesis + self.bias  # (B, 3, 254, 254)
            cells = self.coarse.T @ x @ self.coarse  # (B, 3, 64, 64)
        x = self.stem(cells) + self.whole(z)[:, :, None, None]  # (B, width, 64, 64)
        x = pixel_shuffle(self.detail(self.blocks(x)), 4)  # (B, 3, 256, 256)
        return logits + x[:, :, 1:-1, 1:-1].float()  # (B, 3, 254, 254)

    def start_colour(self, mean_rgb: tuple[float, float, float]) -> None:
        """Nothing: the transform coder says every colour from the start."""

    def transform(self, z: Tensor) -> Tensor:
        """The cosine coefficients of the logits, (B, 3, 52, 52)."""
        x = z[:, STYLES:LATENT_SIZE] * self.scales(z[:, :STYLES]).exp()  # (B, 508)
        x = pad(x, (0, 1)).index_select(1, self.slot)  # (B, 8112)
        x = x.unflatten(1, (3, FREQUENCIES, FREQUENCIES))  # (B, 3, 52, 52)
        return torch.einsum("bkhw,kc->bchw", x, self.colours).contiguous()  # (B, 3, 52, 52)


def layers() -> tuple[nn.Module, nn.Module]:
    """A new encoder and decoder (settings.ARCHITECTURES)."""
    return Encoder(), Decoder()


def _float32(array: Array) -> Tensor:
    return torch.tensor(array, dtype=torch.float32, device="cpu")


def _silent(layer: Layer) -> Layer:
    """`layer` with weights of 0: the branch that it ends says nothing before it is trained."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer
