"""What a training step needs beside the network: the optimizer, and the averaged weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import AdamW

from vaeneer.model.losses import ElboTerms
from vaeneer.model.vae import VAE
from vaeneer.settings.training import Recipe


@dataclass(frozen=True)
class StepTerms:
    """What a step found, without its graph: a number for each crop, (B,) float32."""

    elbo: ElboTerms
    consistency: Tensor | None
    """Where the recipe has such a term."""


def new_optimizer(vae: VAE, recipe: Recipe, device: torch.device) -> AdamW:
    """Adam (Kingma & Ba 2015) with decoupled weight decay, all weights in one kernel.

    The step size is a tensor on the device, so that a captured step can change it.
    """
    rate = torch.tensor(recipe.learning_rate, device=device)
    on_cuda = device.type == "cuda"
    return AdamW(
        vae.parameters(),
        lr=rate,
        weight_decay=recipe.weight_decay,
        fused=True,
        capturable=on_cuda,
    )


def step_where_finite(optimizer: AdamW, learning_rate: Tensor, loss: Tensor) -> None:
    """Step with this rate, or leave everything as it is when the loss is not finite.

    The fused kernels look at `found_inf` themselves (as for GradScaler), so nothing waits.
    """
    for group in optimizer.param_groups:
        group["lr"].copy_(learning_rate)
    optimizer.found_inf = (~loss.detach().isfinite()).float()  # type: ignore[attr-defined]
    optimizer.step()


@torch.no_grad()
def average(averaged: VAE, vae: VAE, share: Tensor) -> None:
    """Move averaged weights and batch statistics towards the network's; `share` of them is kept."""
    live = vae.state_dict()
    for name, mean in averaged.state_dict().items():
        if mean.is_floating_point():
            mean.lerp_(live[name], 1 - share)
        else:
            mean.copy_(live[name])
