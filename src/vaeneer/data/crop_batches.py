"""Whole batches of crops, cut on the device that trains from a pack that lies there.

Every crop is resampled in two passes, as Pillow does it, with Pillow's weights: a sum over taps,
each a gather for the whole batch. Nothing in it waits for the device.
"""

from __future__ import annotations

import math

import numpy as np
import torch
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
    columns, column_weights = _taps(crops.width, side_px, device)  # (n, taps, side) each
    rows, row_weights = _taps(crops.height, side_px, device)
    starts = offsets // 3 + crops.top * widths_px + crops.left  # (n,), in pixels
    lines = np.minimum(np.arange(crops.height.max()), crops.height[:, None] - 1)  # (n, height)
    places = torch.from_numpy(starts[:, None] + lines * widths_px[:, None]).to(device)
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


def _taps(sizes_px: Ints, side_px: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Which pixels of a box of each size make each pixel of the square, and how much of each.

    Pillow's triangle filter, wider where it shrinks: (n, taps, side) int64 and float32.
    """
    scale = (sizes_px / side_px)[:, None]  # (n, 1)
    support = np.maximum(scale, 1.0)
    centre = (np.arange(side_px) + 0.5) * scale  # (n, side)
    low = np.maximum(np.floor(centre - support + 0.5), 0)
    taps = 2 * math.ceil(float(support.max())) + 1
    index = low[:, None] + np.arange(taps)[:, None]  # (n, taps, side)
    distance = np.abs(index - centre[:, None] + 0.5) / support[:, None]
    weights = np.where(index < sizes_px[:, None, None], np.maximum(1 - distance, 0), 0)
    weights /= weights.sum(1, keepdims=True)
    inside = np.minimum(index, sizes_px[:, None, None] - 1).astype(np.int64)
    return (
        torch.from_numpy(inside).to(device),
        torch.from_numpy(weights.astype(np.float32)).to(device),
    )


def _lit(levels: Tensor, crops: Crops) -> Tensor:
    """The light of each crop, by its table; levels: (n, side, side, 3) uint8."""
    if crops.tables is None:
        return levels
    tables = torch.from_numpy(crops.tables).to(levels.device)  # (n, 256, 3)
    return tables.gather(1, levels.flatten(1, 2).long()).view_as(levels)


def _turned(levels: Tensor, crops: Crops) -> Tensor:
    """Mirrored, then turned, as `cut_crop` does it; levels: (n, side, side, 3) uint8."""
    for mirrored in (False, True):
        for turns in range(4):
            chosen = np.flatnonzero((crops.mirrored == mirrored) & (crops.quarter_turns == turns))
            if chosen.size and (mirrored or turns):
                index = torch.from_numpy(chosen).to(levels.device)
                part = levels[index].flip(2) if mirrored else levels[index]
                levels[index] = part.rot90(turns, (1, 2))
    return levels
