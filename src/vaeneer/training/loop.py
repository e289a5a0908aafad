"""train(): the whole loop on one screen, with loss, step, evaluation and save in sight."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaeneer.config import TrainSettings
from vaeneer.data.loading import Batch, load_batches
from vaeneer.errors import NonFiniteLossError, TrainingInterrupted
from vaeneer.model.losses import ElboTerms, elbo_terms
from vaeneer.progress import Progress, Silent
from vaeneer.runtime import core_count
from vaeneer.seeds import numbers_for
from vaeneer.training.interruption import StopRequest, stop_requests
from vaeneer.training.run import Run, finish_epoch, finish_run, start_run
from vaeneer.training.run_folder import RunFolder
from vaeneer.training.state import TrainState, save_state, step_generator


@dataclass(frozen=True)
class TrainReport:
    """What a finished run gives back; `figures` is the last line of metrics.jsonl."""

    out: str
    epochs: int
    steps: int
    best_epoch: int
    best_valid_loss: float
    """Of the best epoch, on the validation images: reconstruction (by `loss`) + KL."""
    figures: dict[str, Any]
    skipped: dict[str, str]
    pictures: list[str]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def train(
    data: Path | str,
    *,
    out: Path | str,
    settings: TrainSettings | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TrainReport:
    """Train the reference network on a data set; everything lands in the run folder `out`.

    data: a folder with train/ and valid/, made by `prepare` or in the seed's own layout. With
    `resume`, a run that is there goes on exactly where it stopped, with its own settings.
    Raises DataError, SettingsError, OutputExistsError, NonFiniteLossError or TrainingInterrupted.
    """
    progress = progress or Silent()
    run = start_run(
        Path(data),
        RunFolder(Path(out)),
        settings or TrainSettings(),
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )
    with stop_requests() as stop:
        while run.state.epoch < run.settings.epochs:
            train_epoch(run, stop, progress)
            finish_epoch(run, progress)
            if stop:
                raise interrupted(run, stop)
        line = finish_run(run, progress)
    return TrainReport(
        out=str(run.folder.root),
        epochs=run.state.epoch,
        steps=run.state.step,
        best_epoch=run.state.best_epoch,
        best_valid_loss=run.state.best_loss if run.state.best_loss is not None else math.nan,
        figures=line,
        skipped={str(error.path): error.reason for error in run.skipped},
        pictures=[str(picture) for picture in sorted(run.folder.plots.glob("*.png"))],
        seconds=run.state.seconds,
    )


def train_epoch(run: Run, stop: StopRequest, progress: Progress) -> None:
    """Train on what is left of the current epoch, adding to the sums of `run.state`."""
    vae, optimizer, state, settings = run.vae, run.optimizer, run.state, run.settings
    title = f"epoch {state.epoch + 1}/{settings.epochs}"
    saved = tick = time.monotonic()
    vae.train()
    with progress.bar(title, total=len(run.train), unit="images") as bar:
        bar.advance(int(state.sums.get("images", 0)))
        for batch in epoch_batches(run):
            images = batch.images.to(run.device)  # (B, 3, 254, 254) float32 in [0, 1]
            output = vae(images, step_generator(settings.seed, state.step))
            terms = elbo_terms(output, images, settings.loss)  # each (B,), nats
            loss = terms.total_nats(settings.beta).mean()
            check_finite(loss, run, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

            state.step += 1
            state.batches_done += 1
            add_sums(state, terms, batch)
            now = time.monotonic()
            state.add_seconds(now - tick)
            tick = now
            bar.advance(len(images), f"{state.mean('reconstruction') + state.mean('kl'):,.0f} nats")
            if stop or now - saved > 60 * settings.state_every_minutes:
                save_state(run.folder.state, vae, optimizer, state)
                saved = time.monotonic()
            if stop:
                raise interrupted(run, stop)


def interrupted(run: Run, stop: StopRequest) -> TrainingInterrupted:
    """What to raise once the state is saved."""
    return TrainingInterrupted(
        f"Stopped by {stop.name} at step {run.state.step}; the same command with --resume goes on."
    )


def epoch_batches(run: Run) -> Iterator[Batch]:
    """The batches of the current epoch that are still to do.

    The order is a function of (seed, epoch), a crop of (seed, epoch, index): so nothing else has
    to be kept for a resumed run to see the same pixels.
    """
    epoch, size = run.state.epoch, run.settings.batch_size
    order = numbers_for("order", run.settings.seed, epoch).permutation(len(run.train)).tolist()
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    return load_batches(
        groups[run.state.batches_done :],
        lambda index: run.read_crop(index, epoch),
        workers=core_count(run.settings.workers),
    )


def check_finite(loss: Tensor, run: Run, batch: Batch) -> None:
    """Raise NonFiniteLossError, with the step and the files, before a bad step is taken."""
    if math.isfinite(loss.item()):
        return
    names = ", ".join(run.train.items[index].name for index in batch.indices)
    raise NonFiniteLossError(
        f"The loss became {loss.item()} at step {run.state.step} (epoch {run.state.epoch + 1}) on"
        f" {names}; the last good state is in {run.folder.state}. Look at those files, or start"
        " again with a smaller --learning-rate."
    )


@torch.no_grad()
def add_sums(state: TrainState, terms: ElboTerms, batch: Batch) -> None:
    """Add a batch's figures to the sums of the epoch (sums, so that the averages are exact)."""
    state.add(
        images=len(batch.indices),
        reconstruction=terms.reconstruction_nats.double().sum().item(),
        kl=terms.kl_nats.double().sum().item(),
        entropy=sum(batch.entropy_nats),
    )
