"""Planted duplicates: changed copies of real surfaces, and what each truly is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from vaeneer.data.images import read_rgb

HUE_SHIFT = 96  # of 256, so 135 degrees
_TURNS = Image.Transpose


@dataclass(frozen=True)
class Planted:
    """One file of a planted folder."""

    path: str
    """Below the folder, forward slashes."""

    source: str
    """The surface that it was made of, below the folder of surfaces."""

    variant: str
    """original, or a name in `VARIANTS`; left or right for two disjoint halves of a scan."""

    kind: str | None
    """What the pair with the original is; None for the original and the halves."""


@dataclass(frozen=True)
class Variant:
    """One way to change a picture."""

    kind: str
    change: Callable[[Image.Image], Image.Image]
    suffix: str = ".jpg"
    quality: int = 95


def _half(picture: Image.Image) -> Image.Image:
    size = (picture.width // 2, picture.height // 2)
    return picture.resize(size, Image.Resampling.LANCZOS)


def _centre(picture: Image.Image) -> Image.Image:
    width, height = picture.width // 2, picture.height // 2
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _hue(picture: Image.Image) -> Image.Image:
    values = np.array(picture.convert("HSV"))
    values[..., 0] += np.uint8(HUE_SHIFT)  # wraps around, as hue does
    return Image.fromarray(values, "HSV").convert("RGB")


VARIANTS = {
    "png": Variant("same_pixels", lambda picture: picture, ".png"),
    "half": Variant("near", _half),
    "jpeg40": Variant("near", lambda picture: picture, quality=40),
    "webp": Variant("near", lambda picture: picture, ".webp", 80),
    "turn90": Variant("near", lambda picture: picture.transpose(_TURNS.ROTATE_90)),
    "turn180": Variant("near", lambda picture: picture.transpose(_TURNS.ROTATE_180)),
    "turn270": Variant("near", lambda picture: picture.transpose(_TURNS.ROTATE_270)),
    "mirror": Variant("near", lambda picture: picture.transpose(_TURNS.FLIP_LEFT_RIGHT)),
    "dark": Variant("near", lambda picture: ImageEnhance.Brightness(picture).enhance(0.8)),
    "centre": Variant("cropped", _centre),
    "hue": Variant("recoloured", _hue),
}
"""Every change but the plain copy, whose kind is exact."""


def plant(surfaces: Path, names: Sequence[str], halved: Sequence[str], out: Path) -> list[Planted]:
    """Write each surface of `names` with every variant, and of each of `halved` its two halves.

    names, halved: paths below `surfaces`; the halves come without the surface they were cut from,
    so that nothing in the folder is their duplicate.
    """
    planted = []
    for name in names:
        planted += _variants_of(surfaces / name, name, out)
    for name in halved:
        planted += _halves_of(surfaces / name, name, out)
    return planted


def _variants_of(path: Path, name: str, out: Path) -> list[Planted]:
    plain = name.replace("/", "-").rsplit(".", 1)[0]
    found = []
    for variant, kind in (("original", None), ("copy", "exact")):
        below = f"{variant}/{plain}{path.suffix}"
        (out / below).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / below)
        found.append(Planted(below, name, variant, kind))
    picture = read_rgb(path)
    for variant, how in VARIANTS.items():
        below = f"{variant}/{plain}{how.suffix}"
        _save(how.change(picture), out / below, how.quality)
        found.append(Planted(below, name, variant, how.kind))
    return found


def _halves_of(path: Path, name: str, out: Path) -> list[Planted]:
    plain = name.replace("/", "-").rsplit(".", 1)[0]
    picture = read_rgb(path)
    middle = picture.width // 2
    found = []
    for variant, left in (("left", 0), ("right", middle)):
        below = f"{variant}/{plain}.jpg"
        _save(picture.crop((left, 0, left + middle, picture.height)), out / below, 95)
        found.append(Planted(below, name, variant, None))
    return found


def _save(picture: Image.Image, path: Path, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    clean = Image.new("RGB", picture.size)
    clean.paste(picture)  # without what the source's header said
    if path.suffix == ".png":
        clean.save(path, compress_level=1)
    else:
        clean.save(path, quality=quality)
