"""Procedural surfaces for the demo and the tests, and a raw library of them on disk."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.synthetic import built as laid
from vaeneer.data.synthetic import built as made
from vaeneer.data.synthetic import natural as natural
from vaeneer.data.synthetic.textures import Material, Sheet, normals, render
from vaeneer.errors import SettingsError
from vaeneer.files import new_output_dir, write_bytes, write_json
from vaeneer.progress import Progress, Silent
from vaeneer.settings import SEED, SURFACE_SIDE_PX, SURFACES, Count, Seed, SidePx, check

_MAKERS: Mapping[str, Callable[[Sheet], Material]] = MappingProxyType(
    {
        "brick": laid.brick,
        "wood": natural.wood,
        "tile": laid.tile,
        "gravel": natural.gravel,
        "fabric": made.fabric,
        "rock": natural.rock,
        "roof": laid.roof,
        "marble": natural.marble,
        "planks": laid.planks,
        "grass": natural.grass,
        "metal": made.metal,
        "leather": natural.leather,
        "concrete": made.concrete,
        "cobble": natural.cobble,
        "parquet": laid.parquet,
        "sand": natural.sand,
        "terrazzo": laid.terrazzo,
        "bark": natural.bark,
        "rust": made.rust,
        "cork": natural.cork,
        "asphalt": made.asphalt,
    }
)

FAMILIES: tuple[str, ...] = tuple(_MAKERS)
"""The kinds of surface that can be made."""

_SEEDS_APART = 1_000_000  # surfaces of one family in libraries of neighbouring seeds never meet
_NORMAL_EVERY = 3


def surface(family: str, *, seed: int, side_px: int = SURFACE_SIDE_PX) -> NDArray[np.uint8]:
    """One seamless surface: (side_px, side_px, 3) uint8, sRGB; the same arguments, the same pixels.

    family: one of FAMILIES. seed: 0 or more; neighbouring seeds differ in palette, scale,
    proportions, orientation and wear. Raises SettingsError.
    """
    pixels, _ = _surface_and_height(family, seed, side_px)
    return pixels


def synthesize(
    folder: Path | str,
    *,
    count: Count = SURFACES,
    side_px: SidePx = SURFACE_SIDE_PX,
    seed: Seed = SEED,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write a raw library as scanners deliver it, and return its colour maps in order.

    `count` assets, the families in turn, each in its folder `<family>/<family>_<nnn>/`: a colour
    map `..._Albedo.jpg`, a side-car `....json` in the manner of Quixel Megascans, and for every
    third asset a normal map `..._Normal.png` (OpenGL, half the side).
    Raises SettingsError, and OutputExistsError for a folder that holds
    something, unless `overwrite` empties it.
    """
    check("count", count, Count)
    _check(FAMILIES[0], seed, side_px)
    root = new_output_dir(Path(folder), kind=None, overwrite=overwrite)

    def write(index: int) -> Path:
        number, turn = divmod(index, len(FAMILIES))
        family = FAMILIES[turn]
        pixels, height = _surface_and_height(family, seed * _SEEDS_APART + number, side_px)
        name = f"{family}_{number:03d}"
        asset = root / family / name
        write_json(asset / f"{name}.json", _side_car(family, number, seed, pixels))
        if index % _NORMAL_EVERY == 0:
            _save(_normal_map(height), asset / f"{name}_Normal.png", "PNG")
        return _save(pixels, asset / f"{name}_Albedo.jpg", "JPEG", quality=92)

    # Threads are enough: NumPy, SciPy and Pillow let go of the interpreter while they work.
    bar = (progress or Silent()).bar("making surfaces", total=count, unit="surfaces")
    with bar as advancing, ThreadPoolExecutor(max_workers=4) as pool:
        written = []
        for path in pool.map(write, range(count)):
            advancing.advance()
            written.append(path)
    return written


def _surface_and_height(
    family: str, seed: int, side_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    _check(family, seed, side_px)
    rng = np.random.default_rng([zlib.crc32(family.encode()), seed])  # hash() changes by process
    azimuth, elevation = float(rng.uniform(1.9, 2.8)), float(rng.uniform(0.7, 1.0))
    material = _MAKERS[family](Sheet(side_px, rng, turn=seed))
    lit = render(material, azimuth=azimuth, elevation=elevation)
    return np.rint(lit * 255).astype(np.uint8), material.height


def _check(family: str, seed: int, side_px: int) -> None:
    if family not in _MAKERS:
        raise SettingsError(f"there is no family {family!r}; choose from {', '.join(FAMILIES)}.")
    check("side_px", side_px, SidePx)
    check("seed", seed, Seed)


def _normal_map(height: NDArray[np.float32]) -> NDArray[np.uint8]:
    x, y, z = normals(height)[:, ::2, ::2]
    return np.rint((np.stack([x, -y, z], axis=-1) + 1) * 127.5).astype(np.uint8)


def _side_car(
    family: str, number: int, seed: int, pixels: NDArray[np.uint8]
) -> dict[str, str | list[str]]:
    colour = pixels.reshape(-1, 3).mean(axis=0)
    identity = zlib.crc32(f"{family} {number} {seed}".encode())
    return {
        "id": f"{identity:08x}",
        "name": f"{family.capitalize()} {number:03d}",
        "categories": ["surface", family],
        "tags": [family, *_looks(colour), "seamless", "procedural"],
        "averageColor": "#" + bytes(np.rint(colour).astype(np.uint8)).hex(),
    }


def _looks(colour: NDArray[np.float64]) -> Iterator[str]:
    red, _, blue = colour
    yield "dark" if colour.mean() < 90 else "light" if colour.mean() > 160 else "medium"
    yield "warm" if red > blue + 12 else "cool" if blue > red + 12 else "neutral"


def _save(pixels: NDArray[np.uint8], path: Path, kind: str, **options: int) -> Path:
    stream = io.BytesIO()  # Pillow writes JPEG to files without noticing a full disk
    Image.fromarray(pixels).save(stream, format=kind, **options)
    write_bytes(path, stream.getvalue())
    return path
