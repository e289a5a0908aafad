"""Optimizer, averaged weights, schedules, sums of an epoch, and a step as one CUDA graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import AdamW

from vaeneer.data.loader import Batch
from vaeneer.model.losses import ElboTerms
from vaeneer.model.vae import VAE
from vaeneer.settings import Recipe
from vaeneer.training.resume_state import TrainState

_NAMES = ("reconstruction", "kl", "entropy")
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
_STEPS_BEFORE = 3  # taken eagerly on a side stream, so that libraries choose their algorithms


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


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The step size at `step` (from 0) of `steps`: a linear rise, then a cosine to its end.

    Loshchilov & Hutter 2017, eq. 5, with `min_lr_ratio` as the share that is left at the end.
    """
    rise = recipe.warmup_fraction * steps
    if step < rise:
        return recipe.learning_rate * (step + 1) / (rise + 1)
    done = min((step - rise) / max(steps - rise, 1), 1.0)
    falling = 0.5 * (1 + math.cos(math.pi * done))
    return recipe.learning_rate * (recipe.min_lr_ratio + (1 - recipe.min_lr_ratio) * falling)


def kl_share(recipe: Recipe, step: int, steps: int) -> float:
    """The share of beta at `step`: it rises linearly to 1 (KL warm-up; Bowman et al. 2016)."""
    return min(1.0, (step + 1) / (recipe.kl_warmup_fraction * steps + 1))


def average_share(recipe: Recipe, step: int) -> float:
    """What the averaged weights keep at `step`: little at first, when they know little."""
    return min(recipe.ema_decay, (1 + step) / (10 + step))


class Meters:
    """Sums (not means, so that averages are exact) over the steps since the last reading."""

    def __init__(self, device: torch.device, *, consistency: bool = False) -> None:
        """consistency: whether the steps have such a term."""
        self._names = (*_NAMES, "consistency") if consistency else _NAMES
        self._sums = torch.zeros(len(self._names), dtype=torch.float64, device=device)
        self._bad_step = torch.tensor(-1, device=device)
        self._images = 0

    @torch.no_grad()
    def add(self, terms: StepTerms, batch: Batch, step: int) -> None:
        """Add a step's figures; remember the first step whose loss is not finite."""
        columns = [terms.elbo.reconstruction_nats, terms.elbo.kl_nats, batch.entropy_nats]
        if terms.consistency is not None:
            columns.append(terms.consistency)
        sums = torch.stack([column.double().sum() for column in columns])
        first_bad = ~sums.isfinite().all() & (self._bad_step < 0)
        self._bad_step = torch.where(first_bad, step, self._bad_step)
        self._sums += sums
        self._images += len(batch.indices)

    def flush(self, state: TrainState) -> int | None:
        """Add the sums to those of `state` and begin again; the first bad step, or None."""
        if not self._images:
            return None
        bad_step = int(self._bad_step)
        state.add(images=self._images, **dict(zip(self._names, self._sums.tolist(), strict=True)))
        self._sums.zero_()
        self._images = 0
        return bad_step if bad_step >= 0 else None


Step = Callable[[Tensor, Tensor, Tensor, Tensor], StepTerms]
"""Takes one step: pixels (B, 3, H, W) uint8, noise (B, latent) and weights (3,) float32, assets
(B,) int64."""


def graphed(step: Step, device: torch.device) -> Step:
    """The step to take on a device: on CUDA, a graph of it."""
    return GraphedStep(step) if device.type == "cuda" else step


class GraphedStep:
    """`step`, replayed from a graph where the batch has the shape of the first one."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._taken = 0
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: Inputs | None = None
        self._terms: StepTerms | None = None

    def __call__(self, pixels: Tensor, noise: Tensor, weights: Tensor, assets: Tensor) -> StepTerms:
        """Take a step; the terms are overwritten by the next one."""
        inputs = (pixels, noise, weights, assets)
        if self._inputs is None:
            self._inputs = pixels.clone(), noise.clone(), weights.clone(), assets.clone()
        if pixels.shape != self._inputs[0].shape or self._taken < _STEPS_BEFORE:
            return self._take_beside(inputs)
        for static, given in zip(self._inputs, inputs, strict=True):
            static.copy_(given, non_blocking=True)
        if self._graph is None:
            self._capture(self._inputs)
        assert self._graph is not None
        assert self._terms is not None
        self._graph.replay()
        return self._terms

    def _take_beside(self, inputs: Inputs) -> StepTerms:
        self._taken += 1
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            terms = self._step(*inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return terms

    def _capture(self, inputs: Inputs) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._terms = self._step(*inputs)
        self._graph = graph
