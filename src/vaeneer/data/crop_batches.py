"""Whole batches of crops, cut on the device that trains from a pack that lies there.

Every crop is resampled in two passes, as Pillow does it, with Pillow's weights: a sum over taps,
each a gather for the whole batch. Nothing in it waits for the device.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.data.crops import Crops, Ints

_AT_ONCE = 128  # crops whose intermediate rows are in memory together: 220 MB at 568 px


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
