"""sample() and reconstruct(): what a model makes, as picture grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vaeneer.data.crops import Pixels
from vaeneer.data.dataset import open_folder
from vaeneer.data.images import read_rgb, resize_rgb
from vaeneer.device import choose_device
from vaeneer.errors import DataError, ImageFileError, OutputExistsError, SettingsError
from vaeneer.evaluation.plots import reconstructed, save_grid, to_pixels
from vaeneer.model.checkpoint import load
from vaeneer.model.vae import VAE
from vaeneer.progress import Progress, Silent
from vaeneer.settings import RECONSTRUCTIONS, SAMPLES, SEED, Count, Seed, check
from vaeneer.workers import chunks

_AT_ONCE = 16
_MOST_COLUMNS = 8


@dataclass(frozen=True)
class PictureReport:
    """A picture that was written."""

    picture: str
    images: int
    skipped: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def sample(
    model: Path | str,
    *,
    out: Path | str,
    count: Count = SAMPLES,
    seed: Seed = SEED,
    device: str = "auto",
    overwrite: bool = False,
) -> PictureReport:
    """Draw `count` random samples as one PNG grid; one seed, one picture.

    Raises ModelFileError, SettingsError or OutputExistsError.
    """
    check("count", count, Count)
    check("seed", seed, Seed)
    path = _claim_file(Path(out), overwrite)
    vae = load(model, device=choose_device(device))
    pixels = draw_samples(vae, count, seed)
    save_grid(pixels, path, columns=min(_MOST_COLUMNS, count))
    return PictureReport(str(path), count, {})


def draw_samples(
    vae: VAE,
    count: int,
    seed: int,
    *,
    temperature: float = 1.0,
    run: Callable[[Callable[[], list[Pixels]]], list[Pixels]] = lambda draw: draw(),
) -> list[Pixels]:
    """Random samples, (side, side, 3) uint8 each: one seed, one list of them.

    run: what calls the network for a few of them at a time.
    """
    random = torch.Generator().manual_seed(seed)
    pixels: list[Pixels] = []
    while len(pixels) < count:
        some = min(_AT_ONCE, count - len(pixels))
        pixels += run(lambda: to_pixels(vae.sample(some, random, temperature=temperature)))  # noqa: B023
    return pixels


def reconstruct(
    model: Path | str,
    images: Sequence[Path | str],
    *,
    out: Path | str,
    count: Count = RECONSTRUCTIONS,
    seed: Seed = SEED,
    device: str = "auto",
    all_maps: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PictureReport:
    """Draw images and, below each, its reconstruction (the decoded posterior mean), as one PNG.

    images: files and folders; of a folder, `count` colour maps chosen by `seed`, or with `all_maps`
    any maps. Unreadable files are skipped and listed.
    Raises ModelFileError, DataError, SettingsError or OutputExistsError.
    """
    check("count", count, Count)
    check("seed", seed, Seed)
    path = _claim_file(Path(out), overwrite)
    vae = load(model, device=choose_device(device))
    progress = progress or Silent()
    files = [
        file
        for image in images
        for file in _chosen(Path(image), count, seed, all_maps=all_maps, progress=progress)
    ]
    pixels, names, skipped = _read(files, vae.image_side_px)
    if not pixels:
        first, reason = next(iter(skipped.items()))
        raise DataError(
            f"None of the {len(files)} images can be read; the first: {first}: {reason}"
        )
    answers = [
        answer
        for some in chunks(len(pixels), _AT_ONCE)
        for answer in reconstructed(vae, pixels[some.start : some.stop])
    ]
    columns = min(_MOST_COLUMNS, len(pixels))
    tiles, captions = _above_each_other(pixels, answers, names, columns)
    save_grid(tiles, path, columns=columns, captions=captions)
    return PictureReport(str(path), len(pixels), skipped)


def _chosen(path: Path, count: int, seed: int, *, all_maps: bool, progress: Progress) -> list[Path]:
    if not path.is_dir():
        return [path]
    items = open_folder(path, all_maps=all_maps, progress=progress).items
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    return [items[place].path for place in sorted(order[:count])]


def _read(files: list[Path], side_px: int) -> tuple[list[Pixels], list[str], dict[str, str]]:
    pixels, names, skipped = [], [], {}
    for file in files:
        try:
            pixels.append(resize_rgb(read_rgb(file), side_px))
            names.append(file.name)
        except ImageFileError as error:
            skipped[str(file)] = error.reason
    return pixels, names, skipped


def _above_each_other(
    pixels: list[Pixels], answers: list[Pixels], names: list[str], columns: int
) -> tuple[list[Pixels], list[str]]:
    """A row of images, then the row of their answers, and so on; the last row filled with white."""
    tiles: list[Pixels] = []
    captions: list[str] = []
    for start in range(0, len(pixels), columns):
        stop = min(start + columns, len(pixels))
        blanks = columns - (stop - start)
        for row, texts in ((pixels, names), (answers, ["reconstruction"] * len(names))):
            tiles += row[start:stop] + [pixels[0] * 0 + 255] * blanks
            captions += texts[start:stop] + [""] * blanks
    return tiles, captions


def _claim_file(path: Path, overwrite: bool) -> Path:
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder; name a .png file for the picture.")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; pass --overwrite to replace it, or another --out.")
    if path.suffix.lower() != ".png":
        raise SettingsError(f"The picture {path} is written as PNG; give it the suffix .png.")
    return path
