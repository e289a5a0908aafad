"""Batches of images, read or cut by threads a little ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaeneer.data.crops import Pixels
from vaeneer.errors import ImageFileError

_BATCHES_AHEAD = 3
_Known = tuple[Pixels, float]  # an image and its entropy, nats


@dataclass(frozen=True)
class Batch:
    """Some images, and which they are."""

    pixels: Tensor
    """(B, 3, H, W) uint8, channels last."""
    indices: tuple[int, ...]
    entropy_nats: Tensor
    """(B,) float64, of each image: see `pixel_entropy_nats`."""

    @property
    def images(self) -> Tensor:
        """The pixels as the networks take them: (B, 3, H, W) float32 in [0, 1]."""
        return to_unit(self.pixels)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; to CUDA it is copied while other work goes on."""
        if device.type == "cpu":
            return self
        pixels, entropy = (
            tensor.pin_memory().to(device, non_blocking=True) if tensor.is_cpu else tensor
            for tensor in (self.pixels, self.entropy_nats)
        )
        return Batch(pixels, self.indices, entropy)


def to_unit(pixels: Tensor) -> Tensor:
    """Levels 0 to 255, uint8, as shares of white, float32."""
    return pixels.float() / 255


def to_tensor(images: Sequence[Pixels]) -> Tensor:
    """Stack (H, W, 3) uint8 images to one (B, 3, H, W) float32 tensor in [0, 1]."""
    return to_unit(_stacked(images))


def _stacked(images: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # channels last in memory


def pixel_entropy_nats(image: Pixels) -> float:
    """The entropy of an image's pixels taken as Bernoulli means: the least that BCE can be, nats.

    Counted over the 256 values that a channel can have, which is exact and costs little.
    """
    p = np.arange(1, 255) / 255  # at 0 and 255 the entropy is 0
    table = -(p * np.log(p) + (1 - p) * np.log1p(-p))
    return float(np.bincount(image.ravel(), minlength=256)[1:255] @ table)


def load_batches(
    groups: Iterable[Sequence[int]],
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
        waiting: deque[tuple[Sequence[int], list[Future[_Known]]]] = deque()
        try:
            for group in groups:
                waiting.append((group, [pool.submit(_known, read, index) for index in group]))
                if len(waiting) > _BATCHES_AHEAD:
                    yield from _finish(*waiting.popleft(), skipped)
            while waiting:
                yield from _finish(*waiting.popleft(), skipped)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # a run that stops does not read on


def chunks(count: int, size: int) -> list[range]:
    """The indices 0 .. count - 1 in groups of `size`, the last one shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _known(read: Callable[[int], Pixels], index: int) -> _Known:
    image = read(index)
    return image, pixel_entropy_nats(image)


def _finish(
    group: Sequence[int], futures: list[Future[_Known]], skipped: list[ImageFileError] | None
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
        entropy = torch.tensor([nats for _, nats in images], dtype=torch.float64)
        yield Batch(_stacked([image for image, _ in images]), tuple(indices), entropy)
