"""What a machine can do at most: matrix products, copies, JPEG decoding; nothing of ours in it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from speed.timing import median_seconds
from vaeneer.device import Precision
from vaeneer.workers import core_count

SQUARE_SIDES = {"cpu": 2048, "cuda": 8192}
"""Of the matrices that are multiplied."""
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Far more than any cache holds."""
_MOST_JPEGS = 32


@dataclass(frozen=True)
class Ceilings:
    """The most that a machine does of one thing alone."""

    matmul_gflop_per_s: dict[str, float]
    """Square matrix products in float32 and bfloat16; on CUDA in tf32 too."""
    copy_gb_per_s: float
    """Bytes read and written by a copy in the device's memory."""
    upload_gb_per_s: float | None
    """From pinned memory to the device; None on a CPU."""
    jpeg_images_per_s: float
    """Decoding alone, on all cores, at the size that a pack needs."""


def find_ceilings(
    precision: Precision, images: Sequence[Path], least_px: int, seconds: float
) -> Ceilings:
    """Measure each for about `seconds`. images: files to decode, their short side `least_px`."""
    device = precision.device
    return Ceilings(
        matmul_gflop_per_s=_matrix_products(device, seconds),
        copy_gb_per_s=_copies(device, seconds),
        upload_gb_per_s=_uploads(device, seconds) if device.type == "cuda" else None,
        jpeg_images_per_s=_decoded_jpegs(images, least_px, seconds),
    )


def _matrix_products(device: torch.device, seconds: float) -> dict[str, float]:
    kinds = {"float32": (torch.float32, "highest"), "bfloat16": (torch.bfloat16, "highest")}
    if device.type == "cuda":
        kinds["tf32"] = (torch.float32, "high")
    before = torch.get_float32_matmul_precision()
    try:
        return {
            name: _matrix_product(device, dtype, rounding, seconds)
            for name, (dtype, rounding) in kinds.items()
        }
    finally:
        torch.set_float32_matmul_precision(before)


def _matrix_product(
    device: torch.device, dtype: torch.dtype, rounding: str, seconds: float
) -> float:
    torch.set_float32_matmul_precision(rounding)
    side = SQUARE_SIDES[device.type]
    random = torch.Generator(device).manual_seed(0)
    left, right = torch.randn(2, side, side, device=device, generator=random).to(dtype).unbind()
    product = torch.empty_like(left)
    taken = median_seconds(lambda: torch.mm(left, right, out=product), device, seconds)
    return 2 * side**3 / taken / 1e9


def _copies(device: torch.device, seconds: float) -> float:
    source = torch.zeros(COPIED_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    return 2 * len(source) / median_seconds(lambda: target.copy_(source), device, seconds) / 1e9


def _uploads(device: torch.device, seconds: float) -> float:
    source = torch.zeros(COPIED_BYTES["cpu"], dtype=torch.uint8).pin_memory()
    target = torch.empty_like(source, device=device)
    taken = median_seconds(lambda: target.copy_(source, non_blocking=True), device, seconds)
    return len(source) / taken / 1e9


def _decoded_jpegs(images: Sequence[Path], least_px: int, seconds: float) -> float:
    """Of files already in memory. Threads are enough: Pillow lets go of the interpreter."""
    files = [image.read_bytes() for image in images[:_MOST_JPEGS]]

    def decode(file: bytes) -> None:
        with Image.open(BytesIO(file)) as image:
            image.draft(None, (least_px, least_px))
            image.load()

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # a pack of them is made already
    try:
        with ThreadPoolExecutor(core_count()) as pool:
            work = lambda: list(pool.map(decode, files))  # noqa: E731
            return len(files) / median_seconds(work, torch.device("cpu"), seconds)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
