"""A training step as one CUDA graph: a single launch instead of some hundred.

Small batches are bound by launches. The graph is captured once from the function that takes
steps elsewhere, after a few real steps, and replayed for every batch of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vaeneer.training.stepping import StepTerms

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
Step = Callable[[Tensor, Tensor, Tensor, Tensor], StepTerms]
"""Takes one step: pixels (B, 3, H, W) uint8, noise (B, latent) and weights (3,) float32, assets
(B,) int64."""
_STEPS_BEFORE = 3  # taken eagerly on a side stream, so that libraries choose their algorithms


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
