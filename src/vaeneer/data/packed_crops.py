"""Batches of random crops of a pack, cut where they cost least."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vaeneer.data.crop_batches import cut_crops
from vaeneer.data.crops import CropRecipe, Pixels, cut_crop, draw_crops
from vaeneer.data.loading import Batch, load_batches, to_unit
from vaeneer.data.packs import Pack
from vaeneer.data.views import Rows
from vaeneer.workers import core_count

_SHARE_OF_MEMORY = 0.5  # of what is free on a device: the network needs the rest
_UPLOAD_BYTES = 2**28


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

        groups: indices of images, or numbers of crops (`views.py`), whose image is the remainder.
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
