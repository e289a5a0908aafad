"""Weights to start from that keep a signal's size and begin with smooth pictures."""

from __future__ import annotations

import math
from typing import Protocol, cast

import torch
from torch import Generator, Tensor, nn

from vaeneer.model.vae import VAE

_BLUR = torch.tensor([0.25, 0.5, 0.25], device="cpu")
_BILINEAR = torch.tensor([0.25, 0.75, 0.75, 0.25], device="cpu")


class StartsAtColour(Protocol):
    """What a decoder offers to `scaled_start`."""

    def start_colour(self, mean_rgb: tuple[float, float, float]) -> None:
        """Answer `mean_rgb`, each channel in (0, 1), where the latents say nothing."""


@torch.no_grad()
def scaled_start(vae: VAE, mean_rgb: tuple[float, float, float], generator: Generator) -> None:
    """Draw the weights of a new network, from `generator` (on the CPU) alone.

    He et al. 2015 (eq. 10) before a ReLU, 1 / fan-in for linear layers. Transposed convolutions of
    stride 2 start as bilinear enlargement with random mixing of the channels, convolutions of
    stride 2 half as blur: noise at the scale of pixels is what the network would have to unlearn
    first. Layers whose weights are 0 are left so. The decoder starts at the mean colour.
    """
    for layer in vae.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and layer.weight.any():
            layer.weight.copy_(_drawn(layer, generator))
            if layer.bias is not None:
                layer.bias.zero_()
    cast(StartsAtColour, vae.decoder).start_colour(mean_rgb)


def _drawn(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, generator: Generator) -> Tensor:
    noise = torch.randn(layer.weight.shape, generator=generator)
    if isinstance(layer, nn.Linear):
        return noise / math.sqrt(layer.in_features)
    inputs, area = layer.in_channels, layer.weight[0, 0].numel()
    if isinstance(layer, nn.ConvTranspose2d):
        if (layer.kernel_size, layer.stride) == ((4, 4), (2, 2)):
            mixing = noise[:, :, :1, :1] * math.sqrt(2 / inputs)
            return mixing * torch.outer(_BILINEAR, _BILINEAR)
        taps = area / (layer.stride[0] * layer.stride[1])  # that one output pixel sees
        return noise * math.sqrt(2 / (inputs * taps))
    he = noise * math.sqrt(2 / (inputs * area))
    if (layer.kernel_size, layer.stride) == ((3, 3), (2, 2)):
        mixing = torch.randn((*noise.shape[:2], 1, 1), generator=generator) * math.sqrt(2 / inputs)
        return 0.5 * mixing * torch.outer(_BLUR, _BLUR) + math.sqrt(0.5) * he
    return he
