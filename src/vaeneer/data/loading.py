"""Batches of images, read by threads a little ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.errors import ImageFileError

Pixels = NDArray[np.uint8]  # (H, W, 3)
_BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Batch:
    """Images (B, 3, H, W) float32 in [0, 1], and which they are."""

    images: Tensor
    indices: tuple[int, ...]
    entropy_nats: tuple[float, ...]
    """Of each image: see `pixel_entropy_nats`."""


def to_tensor(images: Sequence[Pixels]) -> Tensor:
    """Stack (H, W, 3) uint8 images to one (B, 3, H, W) float32 tensor in [0, 1]."""
    stacked = torch.from_numpy(np.stack(images))
    return stacked.permute(0, 3, 1, 2).contiguous().float() / 255


def pixel_entropy_nats(image: Pixels) -> float:
    """The entropy of an image's pixels taken as Bernoulli means: the least that BCE can be, nats.

    Counted over the 256 values that a channel can have, which is exact and costs little.
    """
    p = np.arange(1, 255) / 255  # at 0 and 255 the entropy is 0
    table = -(p * np.log(p) + (1 - p) * np.log1p(-p))
    return float(np.bincount(image.ravel(), minlength=256)[1:255] @ table)


def load_batches(
    groups: Sequence[Sequence[int]],
    read: Callable[[int], Pixels],
    *,
    workers: int,
    skipped: list[ImageFileError] | None = None,
) -> Iterator[Batch]:
    """One batch for each group of indices, `read` by `workers` threads ahead of time.

    A file that cannot be read is added to `skipped` and left out of its batch (a batch that
    becomes empty is left out whole); without `skipped` the ImageFileError is raised.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Sequence[int], list[Future[Pixels]]]] = deque()
        try:
            for group in groups:
                waiting.append((group, [pool.submit(read, index) for index in group]))
                if len(waiting) > _BATCHES_AHEAD:
                    yield from _finish(*waiting.popleft(), skipped)
            while waiting:
                yield from _finish(*waiting.popleft(), skipped)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # a run that stops does not read on


def chunks(count: int, size: int) -> list[range]:
    """The indices 0 .. count - 1 in groups of `size`, the last one shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _finish(
    group: Sequence[int], futures: list[Future[Pixels]], skipped: list[ImageFileError] | None
) -> Iterator[Batch]:
    images, indices = [], []
    for index, future in zip(group, futures, strict=True):
        try:
            images.append(future.result())
            indices.append(index)
        except ImageFileError as error:
            if skipped is None:
                raise
            skipped.append(error)
    if images:
        entropy = tuple(pixel_entropy_nats(image) for image in images)
        yield Batch(to_tensor(images), tuple(indices), entropy)
