"""vaeneer's side of benchmarks/training.py: its public functions, timed from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sides import serve

import vaeneer
from vaeneer.progress import Bar, Progress, Silent
from vaeneer.settings import EvaluateSettings, TrainSettings
from vaeneer.training.run_folder import read_metrics

PREPARING = ("checking", "packing")  # the first words of the bars of what is done once


class Stopwatch:
    """A Progress that keeps the wall-clock of each bar, by its title."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Bar]:
        """Time the block."""
        return self._timed(title, Silent().bar(title, total=total, unit=unit))

    def say(self, line: str) -> None:
        """Say nothing."""

    def sum_of(self, *beginnings: str) -> float:
        """Seconds of all bars whose title begins so."""
        return sum(s for title, s in self.seconds.items() if title.startswith(beginnings))

    @contextmanager
    def _timed(self, title: str, bar: AbstractContextManager[Bar]) -> Iterator[Bar]:
        started = time.perf_counter()
        with bar as inner:
            yield inner
        self.seconds[title] = self.seconds.get(title, 0.0) + time.perf_counter() - started


def train(data: str, out: str, epochs: int = 1) -> dict[str, Any]:
    """`vaeneer.train` with its defaults; the rate is that of the passes over training images."""
    watch: Stopwatch = Stopwatch()
    progress: Progress = watch
    started = time.perf_counter()
    vaeneer.train(
        data, out=out, settings=TrainSettings(recipe="reference", epochs=epochs), progress=progress
    )
    whole = time.perf_counter() - started
    lines = read_metrics(Path(out))
    images = sum(line["train"]["images"] for line in lines)
    seconds = watch.sum_of("epoch ")
    return {
        "images": images,
        "images_per_second": images / seconds,
        "images_per_second_by_metrics": [line["images_per_second"] for line in lines],
        "pack_seconds": watch.sum_of(*PREPARING),
        "whole_seconds": whole,
        "bars": watch.seconds,
    }


def evaluate(model: str, folder: str, quality: bool) -> dict[str, Any]:
    """`vaeneer.evaluate`, the model's loading with it; `quality` adds PSNR and SSIM."""
    started = time.perf_counter()
    settings = EvaluateSettings(quality=quality)
    images = vaeneer.evaluate(model, folder, settings=settings).images
    return _rate(images, time.perf_counter() - started)


def embed(model: str, folder: str, out: str) -> dict[str, Any]:
    """`embed` of latents, as the reference has them, with loading and the Parquet file."""
    try:
        from vaeneer.library.embed.embed import embed as embed_folder
        from vaeneer.settings import EmbedSettings
    except ImportError as error:
        return {"missing": str(error)}
    started = time.perf_counter()
    settings = EmbedSettings(vectors="latent")
    images = embed_folder(model, folder, out=out, settings=settings, overwrite=True).images
    return _rate(images, time.perf_counter() - started)


def new_model(out: str) -> dict[str, Any]:
    """An untrained reference network."""
    vaeneer.save(vaeneer.VAE(), out)
    return {"model": out}


def _rate(images: int, seconds: float) -> dict[str, Any]:
    return {"images": images, "seconds": seconds, "images_per_second": images / seconds}


if __name__ == "__main__":
    serve(train=train, evaluate=evaluate, embed=embed, new_model=new_model)
