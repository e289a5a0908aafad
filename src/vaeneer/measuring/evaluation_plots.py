"""Pictures of an evaluation: the loss of each image (as AEtest.py), and the worst images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaeneer.data.images import read_rgb, resize_rgb
from vaeneer.data.loader import to_tensor
from vaeneer.measuring.charts import PER_IMAGE, QUIET, TRAIN, new_chart, save_chart
from vaeneer.measuring.measurement import Measurements
from vaeneer.measuring.pictures import save_grid, to_pixels
from vaeneer.model.vae import VAE, eval_mode


def draw_loss_per_image(found: Measurements, path: Path) -> Path:
    """The loss of each image in the folder's order, above its entropy, the minimum."""
    figure, axes = new_chart(
        f"Loss of each image, n = {len(found.items)}, mean {found.total_nats.mean():,.0f} nats",
        "image, in the order of the file names",
        PER_IMAGE,
        width=9,
    )
    places = np.arange(len(found.items))
    axes.plot(places, found.total_nats, marker=".", color=TRAIN, label="loss (BCE + KL)")
    axes.plot(places, found.entropy_nats, color=QUIET, label="entropy of its pixels")
    axes.axhline(found.total_nats.mean(), color=TRAIN, linestyle=":", label="mean loss")
    axes.legend(frameon=False)
    return save_chart(figure, path)


def draw_worst(vae: VAE, found: Measurements, path: Path, count: int) -> Path:
    """The images that cost most above their entropy, each above its reconstruction."""
    worst = np.argsort(-found.excess_nats, kind="stable")[:count]
    images = [resize_rgb(read_rgb(found.items[i].path), vae.image_side_px) for i in worst]
    captions = [f"+{found.excess_nats[i]:,.0f}  {found.items[i].path.name}" for i in worst]
    below = [f"PSNR {found.psnr_db[i]:.1f} dB" if found.psnr_db is not None else "" for i in worst]
    device = next(vae.parameters()).device
    with eval_mode(vae):
        answers = vae.reconstruct(to_tensor(images).to(device))
    return save_grid(
        [*images, *to_pixels(answers)],
        path,
        columns=len(worst),
        captions=captions + below,
    )
