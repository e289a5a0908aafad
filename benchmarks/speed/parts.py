"""How many images a second each part of vaeneer does: the code that trains and measures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch

from speed.timing import Arrivals, Listener, median_seconds
from vaeneer.data.dataset import open_folder
from vaeneer.data.pixel_cache import PackLayout, open_pack
from vaeneer.evaluation.evaluate import evaluate
from vaeneer.library.embed.folder import embedded
from vaeneer.model.checkpoint import save
from vaeneer.progress import Silent
from vaeneer.settings import EvaluateSettings
from vaeneer.training.optim import Step, graphed
from vaeneer.training.setup import Run
from vaeneer.training.train import StopRequest, take_step, train_epoch
from vaeneer.workers import core_count

_BATCHES_AHEAD = 5  # what threads have done before anyone looks is left out
_STEPS_BEFORE = {"cpu": 1, "cuda": 6}  # on CUDA the first ones are not yet a graph


def decoding_pool(workers: int) -> int:
    """How many images are read before all processes work."""
    return 8 * core_count(workers)


def decode(folder: Path, cache: Path, side_px: int, workers: int) -> float:
    """Build the pack of a folder, as before the first epoch."""
    listener = Listener(torch.device("cpu"))
    open_pack(
        open_folder(folder), PackLayout(side_px), cache=cache, workers=workers, progress=listener
    )
    (arrivals,) = listener.bars.values()
    return arrivals.per_second(decoding_pool(workers))


def crop(run: Run, seconds: float) -> float:
    """Draw and cut the random crops of batches, with nobody using them."""
    arrivals, size = Arrivals(run.device), run.recipe.batch_size
    skipped = _BATCHES_AHEAD * size
    for batch in run.crops.batches(_endless(run), run.crop_numbers()):
        arrivals.advance(len(batch.indices))
        if arrivals.seconds_since(skipped) >= seconds and arrivals.count >= 3 * skipped:
            break
    return arrivals.per_second(skipped)


def _endless(run: Run) -> Iterator[list[int]]:
    size = run.recipe.batch_size
    for start in count(step=size):
        yield [index % len(run.train) for index in range(start, start + size)]


def new_step(run: Run) -> Step:
    """The step that `train` takes."""
    return graphed(lambda *inputs: take_step(run, *inputs), run.device)


def step(run: Run, take: Step, seconds: float) -> float:
    """Forward, loss, backward, optimizer: always on the same batch."""
    size = run.recipe.batch_size
    batch = next(run.crops.batches(_endless(run), run.crop_numbers()))
    inputs = (batch.pixels, run.noise(size), run.step_scalars(), run.assets(batch.indices))
    run.vae.train()
    before = _STEPS_BEFORE[run.device.type]
    taken = median_seconds(lambda: take(*inputs), run.device, seconds, warm_up=before)
    return size / taken


def epoch(run: Run, take: Step, seconds: float) -> float:
    """The whole: epochs of `train`, without what comes after each (validation, files).

    Measured after `step`, so that everything has been warmed up.
    """

    def work() -> None:
        train_epoch(run, take, StopRequest(), Silent())
        run.state.close_epoch()

    return run.crops_per_epoch / median_seconds(work, run.device, seconds, warm_up=0)


def evaluation(run: Run, images: Path, folder: Path) -> float:
    """`evaluate` on a folder: with PSNR and SSIM, without decoding and drawing."""
    save(run.vae, folder / "model", card=run.card)
    settings = EvaluateSettings(
        batch_size=run.recipe.batch_size,
        cache=folder / "cache",
        device=str(run.device),
        precision=run.precision.name,
    )
    listener = Listener(run.device)
    evaluate(
        folder / "model", images, out=folder / "evaluation", settings=settings, progress=listener
    )
    return list(listener.bars.values())[-1].per_second(run.recipe.batch_size)


def embedding(run: Run, images: Path, cache: Path, seconds: float) -> float:
    """`embed` on a folder whose squares are packed: the posterior mean of each image."""
    layout = PackLayout(run.vae.image_side_px, square=True)
    pack = open_pack(open_folder(images), layout, cache=cache)
    size = run.recipe.batch_size

    def work() -> object:
        return embedded(run.vae, pack, run.precision, batch_size=size, progress=Silent())

    return len(pack) / median_seconds(work, run.device, seconds)
