"""The 311 surfaces scaled up to the sizes of real scans, as JPEG files of quality 95."""

from __future__ import annotations

import csv
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

Sides = dict[str, list[str]]
"""train and valid: paths below the folder of surfaces."""


def read_split(split: Path) -> Sides:
    """What a split file (columns: file, split) says, each side shuffled (seed 0)."""
    with split.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    sides: Sides = {}
    for side in ("train", "valid"):
        names = sorted(row["file"] for row in rows if row["split"] == side)
        order = np.random.default_rng(0).permutation(len(names))
        sides[side] = [names[index] for index in order]
    return sides


def copy_surfaces(surfaces: Path, sides: Sides, side_px: int, out: Path) -> Path:
    """`out`/SIDE_PX/{train,valid}/...: what is not there yet is made, short side `side_px`."""
    root = out / str(side_px)
    jobs = [
        (surfaces / name, copy_path(root, side, name), side_px)
        for side, names in sides.items()
        for name in names
        if not copy_path(root, side, name).is_file()
    ]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_copy, jobs))
    return root


def copy_path(root: Path, side: str, name: str) -> Path:
    """Where the copy of a surface lies."""
    return (root / side / name).with_suffix(".jpg")


def link_surfaces(root: Path, sides: Sides, out: Path) -> Path:
    """A folder that no pack knows yet: hard links to the copies of `sides`."""
    for side, names in sides.items():
        for name in names:
            link = copy_path(out, side, name)
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(copy_path(root, side, name), link)
    return out


def _copy(job: tuple[Path, Path, int]) -> None:
    source, target, side_px = job
    with Image.open(source) as image:
        picture = image.convert("RGB")
    scale = side_px / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(f".{os.getpid()}.part")
    picture.resize(size, Image.Resampling.LANCZOS).save(temporary, "JPEG", quality=95)
    temporary.replace(target)
