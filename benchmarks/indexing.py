"""How quick `vaeneer index` is beside its ceilings, and how quick a run that finds nothing new.

    python benchmarks/indexing.py SURFACES WORK [--images 96] [--rounds 3] [--small 10000]

Each round indexes the same seeded sample of SURFACES anew, with halves and with quarters, and
between them measures the ceilings on the same machine: the same files decoded alone, by the same
processes; and crops embedded alone, in batches of 16. The ceiling of indexing is both in turn,
since both use every core: 1 / (1/decoding + 1/embedding). Medians of the rounds. Then --small
images of 64 px are indexed (and kept), again with nothing changed, and with ten. Writes
results/indexing.json. About 12 minutes.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from machine import keep
from PIL import Image

from vaeneer.cli.options import ConsoleProgress
from vaeneer.data.cache_index import PackLayout
from vaeneer.data.decode_worker import (
    SOURCE_SIDE_PX,
    DecodeJob,
    decode_image,
    in_processes,
)
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.model.embedder import Embedder
from vaeneer.settings import IndexSettings


def main(
    surfaces: Path, work: Path, *, images: int = 96, rounds: int = 3, small: int = 10000
) -> None:
    """Measure, write."""
    folder = sample(surfaces, work / "sample", images)
    figures: dict[str, list[float]] = {}
    embedder = Embedder("surface-base")
    for _ in range(rounds):
        for parts in ("halves", "quarters"):
            library = work / f"library-{parts}"
            shutil.rmtree(library, ignore_errors=True)
            settings = IndexSettings(parts=parts)  # type: ignore[arg-type]
            report = index(folder, library=library, settings=settings, progress=ConsoleProgress())
            assert report.images_per_second is not None
            note(figures, f"index_{parts}", report.images_per_second)
            note(figures, f"crops_{parts}", (report.vectors - report.images) / report.images)
        note(figures, "decode", images / seconds(lambda: decode(folder)))
        note(figures, "crops", 320 / seconds(lambda: embed(embedder, 320)))
    medians = {name: statistics.median(values) for name, values in figures.items()}
    result: dict[str, Any] = {"images": images, "rounds": rounds, "images_per_second": {}}
    for parts in ("halves", "quarters"):
        crops = medians[f"crops_{parts}"]
        most = 1 / (1 / medians["decode"] + crops / medians["crops"])
        result["images_per_second"][parts] = {
            "index": medians[f"index_{parts}"],
            "crops_per_image": crops,
            "ceiling": most,
            "share": medians[f"index_{parts}"] / most,
        }
    result["decode_images_per_second"] = medians["decode"]
    result["embed_crops_per_second"] = medians["crops"]
    result["unchanged"] = again(work, small)
    print(keep("indexing", result))
    print(result)


def sample(surfaces: Path, folder: Path, images: int) -> Path:
    """A seeded sample of the files, linked."""
    files = sorted(p for p in surfaces.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    shutil.rmtree(folder, ignore_errors=True)
    for number in np.random.default_rng(0).permutation(len(files))[:images]:
        target = folder / files[number].relative_to(surfaces)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(files[number].resolve())
    return folder


def decode(folder: Path) -> None:
    """What index does with files before the network, nothing else."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    layout = PackLayout(SOURCE_SIDE_PX)
    jobs = [
        DecodeJob(path, 500.0, 64, fingerprint=True, layout=layout, thumbnail=True)
        for path in files
    ]
    for seen in in_processes(decode_image, jobs, workers=0, size_bytes=2**40):
        assert seen.reason is None


def embed(embedder: Embedder, crops: int) -> None:
    """Only the network."""
    side_px = embedder.vae.image_side_px
    pixels = torch.randint(0, 256, (crops, 3, side_px, side_px), dtype=torch.uint8)
    embedder.embed(pixels)


def again(work: Path, count: int) -> dict[str, float]:
    """Seconds of runs over many small files: the first, one with nothing new, one with ten new."""
    folder, library = work / f"small-{count}", work / f"small-{count}-library"
    if not folder.is_dir():
        draw(folder, range(count))
    draw(folder, range(10))  # as they were before they changed
    index(folder, library=library, progress=ConsoleProgress())
    found: dict[str, float] = {"images": count}
    for name in ("unchanged", "ten_changed"):
        if name == "ten_changed":
            draw(folder, range(10), seed=1)
        report = index(folder, library=library, progress=ConsoleProgress())
        found[f"{name}_seconds"] = report.seconds
    with Library.open(library) as opened:
        assert len(opened) == count
    return found


def draw(folder: Path, numbers: range, seed: int = 0) -> None:
    """Small surfaces of noise, 100 in a folder."""
    for number in numbers:
        random = np.random.default_rng([seed, number])
        pixels = random.integers(40, 216, 3) + random.normal(0, 12, (64, 64, 1))
        path = folder / f"{number // 100:03}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def note(figures: dict[str, list[float]], name: str, value: float) -> None:
    """Remember one more value."""
    figures.setdefault(name, []).append(value)


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    cyclopts.run(main)
