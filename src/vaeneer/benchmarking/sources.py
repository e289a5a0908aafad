"""The images that a bench works on: made up, or out of a folder; linked as often as needed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from vaeneer.data.dataset import open_folder
from vaeneer.data.synthetic.synthesize import FAMILIES, surface
from vaeneer.workers import core_count

_DIFFERENT = 12  # surfaces that are made; the images are these, shifted
_SURFACE_SIDE_PX = 384


def make_images(folder: Path, count: int, side_px: int) -> list[Path]:
    """JPEGs of procedural surfaces, side_px x side_px: surfaces repeat, so they stay as sharp."""
    folder.mkdir()

    def write(number: int) -> Path:
        pixels = np.roll(sheets[number % len(sheets)], 7 * number, axis=(0, 1))
        repeats = -(-side_px // _SURFACE_SIDE_PX)
        tiled = np.tile(pixels, (repeats, repeats, 1))[:side_px, :side_px]
        path = folder / f"surface_{number:05d}.jpg"
        Image.fromarray(tiled).save(path, quality=92)
        return path

    families = FAMILIES[: min(_DIFFERENT, count)]
    with ThreadPoolExecutor(core_count()) as pool:
        sheets = list(
            pool.map(lambda name: surface(name, seed=0, side_px=_SURFACE_SIDE_PX), families)
        )
        return list(pool.map(write, range(count)))


def choose_images(folder: Path, count: int) -> list[Path]:
    """Up to `count` images of a folder, spread evenly. Raises DataError when it has none."""
    items = open_folder(folder).items
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place].path for place in places.tolist()]


def link_images(images: Sequence[Path], folder: Path, count: int) -> Path:
    """A folder of `count` images: the given ones in turn, as hard links where they can be."""
    folder.mkdir(parents=True)
    for number in range(count):
        image = images[number % len(images)]
        target = folder / f"{number:05d}{image.suffix}"
        try:
            os.link(image, target)
        except OSError:
            shutil.copyfile(image, target)
    return folder
