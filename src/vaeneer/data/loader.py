"""Batches of images and of random crops, read or cut a little ahead of the network.

Where the pixels lie on the device that trains, whole batches of crops are cut there: resampled in
two passes, as Pillow does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.data.crops import CropRecipe, Crops, Ints, Pixels, Rows, cut_crop, draw_crops
from vaeneer.data.pixel_cache import Pack
from vaeneer.errors import ImageFileError
from vaeneer.workers import core_count, prefetch_groups

_BATCHES_AHEAD = 3
_AT_ONCE = 128  # crops whose intermediate rows are in memory together: 220 MB at 568 px
_SHARE_OF_MEMORY = 0.5  # of what is free on a device: the network needs the rest
_UPLOAD_BYTES = 2**28


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

    def read_with_entropy(index: int) -> tuple[Pixels, float]:
        image = read(index)
        return image, pixel_entropy_nats(image)

    for group in prefetch_groups(
        read_with_entropy, groups, workers=workers, ahead=_BATCHES_AHEAD, skipped=skipped
    ):
        images = [image for _, (image, _) in group]
        entropy = torch.tensor([nats for _, (_, nats) in group], dtype=torch.float64)
        yield Batch(_stacked(images), tuple(index for index, _ in group), entropy)


def cut_crops(pixels: Tensor, offsets: Ints, widths_px: Ints, crops: Crops, side_px: int) -> Tensor:
    """n crops out of a flat pack: (n, 3, side, side) uint8, channels last, on its device.

    pixels: all bytes of the pack, uint8. offsets and widths_px: first byte, and width, of the
    image of each crop. The same as `cut_crop` one by one, within one level of 255.
    """
    parts = [
        _cut(pixels, offsets[part], widths_px[part], crops.part(part), side_px)
        for part in (slice(n, n + _AT_ONCE) for n in range(0, len(crops), _AT_ONCE))
    ]
    return torch.cat(parts).permute(0, 3, 1, 2)


def _cut(pixels: Tensor, offsets: Ints, widths_px: Ints, crops: Crops, side_px: int) -> Tensor:
    device, points = pixels.device, pixels.view(-1, 3)
    start = _sent(offsets // 3 + crops.top * widths_px + crops.left, device)  # (n,), in pixels
    width, height = _sent(crops.width, device), _sent(crops.height, device)  # (n,) of the box
    columns, column_weights = _taps(width, side_px, int(crops.width.max()))  # (n, taps, side)
    rows, row_weights = _taps(height, side_px, int(crops.height.max()))
    lines = torch.arange(int(crops.height.max()), device=device).minimum(height[:, None] - 1)
    places = start[:, None] + lines * _sent(widths_px, device)[:, None]  # (n, height)
    narrow = torch.zeros(*places.shape, side_px, 3, device=device)  # (n, height, side, 3)
    for column, weight in zip(columns.unbind(1), column_weights.unbind(1), strict=True):
        levels = points[places[:, :, None] + column[:, None, :]]  # (n, height, side, 3)
        narrow += levels * weight[:, None, :, None]
    narrow = narrow.add_(0.5).floor_()  # Pillow keeps whole levels between the passes
    square = torch.zeros(len(crops), side_px, side_px, 3, device=device)
    each = torch.arange(len(crops), device=device)[:, None]
    for row, weight in zip(rows.unbind(1), row_weights.unbind(1), strict=True):
        square += narrow[each, row] * weight[:, :, None, None]
    return _turned(_lit(square.add_(0.5).to(torch.uint8), crops), crops)


def _taps(sizes_px: Tensor, side_px: int, largest_px: int) -> tuple[Tensor, Tensor]:
    """Which pixels of a box of each size make each pixel of the square, and how much of each.

    Pillow's triangle filter, wider where it shrinks. sizes_px: (n,) int64, none above
    `largest_px`. Returns indices (n, taps, side) int64 and weights, float32.
    """
    device = sizes_px.device
    scale = (sizes_px.double() / side_px)[:, None, None]  # (n, 1, 1)
    support = scale.clamp_min(1)
    centre = (torch.arange(side_px, device=device) + 0.5) * scale  # (n, 1, side)
    low = (centre - support + 0.5).floor().clamp_min(0)
    taps = 2 * math.ceil(max(largest_px / side_px, 1)) + 1
    index = low + torch.arange(taps, device=device)[:, None]  # (n, taps, side)
    weights = (1 - (index - centre + 0.5).abs() / support).clamp_min(0)
    weights = weights * (index < sizes_px[:, None, None])
    weights = weights / weights.sum(1, keepdim=True)
    inside = index.long().minimum(sizes_px[:, None, None] - 1)
    return inside, weights.float()


def _sent(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array on a device; CUDA copies it from pinned memory, so that nobody waits."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _lit(levels: Tensor, crops: Crops) -> Tensor:
    """The light of each crop, by its table; levels: (n, side, side, 3) uint8."""
    if crops.tables is None:
        return levels
    tables = _sent(crops.tables, levels.device)  # (n, 256, 3)
    return tables.gather(1, levels.flatten(1, 2).long()).view_as(levels)


def _turned(levels: Tensor, crops: Crops) -> Tensor:
    """Mirrored, then turned, as `cut_crop` does it; levels: (n, side, side, 3) uint8."""
    for mirrored in (False, True):
        for turns in range(4):
            chosen = np.flatnonzero((crops.mirrored == mirrored) & (crops.quarter_turns == turns))
            if chosen.size and (mirrored or turns):
                index = _sent(chosen, levels.device)
                part = levels[index].flip(2) if mirrored else levels[index]
                levels[index] = part.rot90(turns, (1, 2))
    return levels


class PackedCrops:
    """Random crops of a pack's images.

    On CUDA a pack that fits lies on the device whole and each batch is cut there; else threads
    cut crops from the memory map, ahead of the network. The crops are the same within one level.
    """

    def __init__(
        self,
        pack: Pack,
        recipe: CropRecipe,
        device: torch.device,
        *,
        workers: int = 0,
        resident: bool | None = None,
    ) -> None:
        """workers: threads that cut; 0 takes one on the CPU, where the network needs the cores,
        and one for each core on CUDA. resident: None decides by the free memory of the device."""
        self.pack, self.recipe, self.device = pack, recipe, device
        self._workers = workers or (1 if device.type == "cpu" else core_count())
        resident = _fits(pack, device) if resident is None else resident
        self._pixels = _upload(pack, device) if resident else None

    def batches(self, groups: Iterable[Sequence[int]], numbers: Rows) -> Iterator[Batch]:
        """One batch for each group of crops, on the device; a crop is drawn from its row.

        groups: indices of images, or numbers of crops (`crops.py`), whose image is the remainder.
        """
        if self._pixels is not None:
            for group in groups:
                yield self._cut_together(self._pixels, group, numbers)
            return
        for batch in load_batches(
            groups, lambda number: self._cut_one(number, numbers), workers=self._workers
        ):
            images = tuple(number % len(self.pack) for number in batch.indices)
            yield replace(batch, indices=images).to(self.device)

    def _cut_one(self, number: int, numbers: Rows) -> Pixels:
        pack, index = self.pack, number % len(self.pack)
        size = pack.widths[[index]], pack.heights[[index]]
        crops = draw_crops(numbers.rows([number]), *size, self.recipe)
        return cut_crop(pack.image(index), crops, 0, self.recipe.side_px)

    def _cut_together(self, pixels: Tensor, group: Sequence[int], numbers: Rows) -> Batch:
        pack, chosen = self.pack, np.asarray(group) % len(self.pack)
        widths, heights = pack.widths[chosen].astype(np.int64), pack.heights[chosen]
        crops = draw_crops(numbers.rows(group), widths, heights, self.recipe)
        cut = cut_crops(pixels, pack.offsets[chosen], widths, crops, self.recipe.side_px)
        return Batch(cut, tuple(chosen.tolist()), _entropy_nats(to_unit(cut)))


def _entropy_nats(images: Tensor) -> Tensor:
    """As `pixel_entropy_nats`, on the device: (B, 3, H, W) in [0, 1] to (B,) float64."""
    nats = torch.special.entr(images) + torch.special.entr(1 - images)
    total: Tensor = nats.sum((1, 2, 3), dtype=torch.float64)
    return total


def _fits(pack: Pack, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return pack.pixels.nbytes < _SHARE_OF_MEMORY * free_bytes


def _upload(pack: Pack, device: torch.device) -> Tensor:
    """All bytes of a pack on a device, copied in parts so that no second copy is in memory."""
    whole = torch.empty(pack.pixels.nbytes // 3 * 3, dtype=torch.uint8, device=device)
    for start in range(0, len(whole), _UPLOAD_BYTES):
        end = min(start + _UPLOAD_BYTES, len(whole))
        whole[start:end] = torch.from_numpy(np.array(pack.pixels[start:end])).to(device)
    return whole
