"""The layers of a network one by one: their work, their bytes, and their time alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from speed.timing import median_seconds
from vaeneer.device import Precision
from vaeneer.model.reference import PhasedConvTranspose2d
from vaeneer.model.vae import VAE

_KINDS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True)
class Layer:
    """A layer with weights, and one batch that passed through it."""

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    output_numbers: int
    first: bool
    """Nobody asks for the gradient of the images."""

    @property
    def flops(self) -> int:
        """Multiplications and additions of a batch, forward and backward."""
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        places = 1
        if isinstance(self.module, PhasedConvTranspose2d):
            places = (self.input_shape[2] + 1) * (self.input_shape[3] + 1)
        elif isinstance(self.module, nn.ConvTranspose2d):
            places = self.input_shape[2] * self.input_shape[3]
        elif isinstance(self.module, nn.Conv2d):
            places = self.output_numbers // (self.input_shape[0] * self.module.out_channels)
        forward = 2 * self.input_shape[0] * places * weight.numel()
        return forward * (2 if self.first else 3)

    def least_bytes(self, number_bytes: int) -> int:
        """What has to be read and written at least, forward and backward.

        Forward: input, weights, output. Backward: the same again, and gradients for each.
        """
        weight_numbers = sum(weight.numel() for weight in self.module.parameters())
        input_numbers = torch.Size(self.input_shape).numel()
        passes = 2 if self.first else 3
        numbers = passes * input_numbers + 3 * weight_numbers + 2 * self.output_numbers
        return number_bytes * numbers


@dataclass(frozen=True)
class LayerFigures:
    """A layer of the network alone, forward and backward, for one image of a batch."""

    name: str
    """As in the network."""
    gflop: float
    """10^9 operations."""
    seconds: float
    """Time of the layer alone."""
    gflop_per_s: float
    """gflop / seconds."""
    bound_seconds: float
    """No less: by the matrix product or by the copying of its bytes, whichever takes longer."""


def layers_of(vae: VAE, images: Tensor) -> list[Layer]:
    """The convolutions and linear layers in the order in which a batch of images passes them."""
    found: list[Layer] = []
    names = {module: name for name, module in vae.named_modules()}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shape = tuple(inputs[0].shape)
        first = not inputs[0].requires_grad
        found.append(Layer(names[module], module, shape, output.numel(), first))

    hooks = [m.register_forward_hook(note) for m in vae.modules() if isinstance(m, _KINDS)]
    try:
        vae(images, noise=torch.zeros(len(images), vae.latent_size, device=images.device))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def time_layer(
    layer: Layer, precision: Precision, gflop_per_s: float, gb_per_s: float, seconds: float
) -> LayerFigures:
    """Measure one layer alone; gflop_per_s and gb_per_s are the machine's ceilings."""
    lower = precision.name == "bfloat16"
    batch = layer.input_shape[0]
    taken = median_seconds(_passes(layer, precision), precision.device, seconds)
    by_work = layer.flops / gflop_per_s / 1e9
    by_bytes = layer.least_bytes(2 if lower else 4) / gb_per_s / 1e9
    return LayerFigures(
        name=layer.name,
        gflop=layer.flops / batch / 1e9,
        seconds=taken / batch,
        gflop_per_s=layer.flops / taken / 1e9,
        bound_seconds=max(by_work, by_bytes) / batch,
    )


def _passes(layer: Layer, precision: Precision) -> Callable[[], object]:
    """One pass forward and backward through a copy of the layer, on random numbers."""
    module = copy.deepcopy(layer.module)
    random = torch.Generator(precision.device).manual_seed(0)
    images = torch.randn(layer.input_shape, device=precision.device, generator=random)
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    if precision.name == "bfloat16" and not layer.first:  # as the layer before it leaves them
        images = images.bfloat16()
    asked = list(module.parameters())
    if not layer.first:
        asked.append(images.requires_grad_())  # type: ignore[arg-type]
    with precision.autocast():
        gradient = torch.ones_like(module(images))

    def work() -> object:
        with precision.autocast():
            output = module(images)
        return torch.autograd.grad(output, asked, gradient)

    return work


def counted_flops(work: Callable[[], object]) -> int:
    """Operations of the convolutions and matrix products in `work`, as PyTorch counts them.

    On the way back PyTorch takes a convolution in groups for a whole one: none of ours has groups.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
