"""train(): the whole loop on one screen, with loss, step, evaluation and save in sight."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaeneer.data.loader import to_unit
from vaeneer.errors import NonFiniteLossError, TrainingInterrupted
from vaeneer.model.losses import consistency_of, elbo_terms
from vaeneer.progress import Progress, Silent
from vaeneer.settings.training import TrainSettings
from vaeneer.training.finishing import finish_epoch, finish_run
from vaeneer.training.graphs import Step, graphed
from vaeneer.training.interruption import StopRequest, stop_requests
from vaeneer.training.run import Run
from vaeneer.training.run_folder import RunFolder
from vaeneer.training.starting import start_run
from vaeneer.training.state import save_state
from vaeneer.training.stepping import StepTerms, average, step_where_finite
from vaeneer.training.tally import Tally

SECONDS_BETWEEN_FIGURES = 1.0
"""On CUDA, where reading a figure waits for the device; on a CPU every step tells its own."""


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
    """Train a network on a data set; everything lands in the run folder `out`.

    data: a folder with train/ and valid/, made by `prepare` or in the reference layout. With
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
    step = graphed(lambda *inputs: take_step(run, *inputs), run.device)
    with run.folder.training(), stop_requests() as stop:
        while run.state.epoch < run.recipe.epochs:
            train_epoch(run, step, stop, progress)
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


def take_step(
    run: Run, pixels: Tensor, noise: Tensor, weights: Tensor, assets: Tensor
) -> StepTerms:
    """One optimizer step. Nothing in it waits for the device, so that CUDA can capture it.

    pixels: (B, 3, 254, 254) uint8; noise: (B, latent) float32; weights: (3,), `Run.weights`;
    assets: (B,), `Run.assets`.
    A loss that is not finite leaves the network's weights as they were.
    """
    learning_rate, kl_weight, average_share = weights.unbind()
    images = to_unit(pixels)  # (B, 3, 254, 254) float32 in [0, 1]
    with run.precision.autocast():
        output = run.vae(images, noise=noise)
    terms = elbo_terms(output, images, run.settings.loss)  # each (B,), nats
    loss = terms.total_nats(kl_weight).mean()
    apart = consistency_of(output, assets, run.recipe, run.vae.texture_size)  # (B,), or None
    if apart is not None:
        loss = loss + run.recipe.consistency_weight * apart.mean()
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if run.recipe.clip_norm:
        torch.nn.utils.clip_grad_norm_(run.vae.parameters(), run.recipe.clip_norm)
    step_where_finite(run.optimizer, learning_rate, loss)
    if run.averaged is not None:
        average(run.averaged, run.vae, average_share)
    return StepTerms(terms.detach(), None if apart is None else apart.detach())


def train_epoch(run: Run, step: Step, stop: StopRequest, progress: Progress) -> None:
    """Train on what is left of the current epoch, adding to the sums of `run.state`."""
    state, tally = run.state, Tally(run.device, consistency=run.recipe.consistency != "off")
    pause = SECONDS_BETWEEN_FIGURES if run.device.type == "cuda" else 0.0
    title = f"epoch {state.epoch + 1}/{run.recipe.epochs}"
    saved = told = time.monotonic()
    run.vae.train()
    with progress.bar(title, total=run.crops_per_epoch, unit="images") as bar:
        bar.advance(int(state.sums.get("images", 0)))
        for batch in run.crops.batches(run.groups_to_do(), run.crop_numbers()):
            inputs = batch.pixels, run.noise(len(batch.indices)), run.weights()
            terms = step(*inputs, run.assets(batch.indices))
            tally.add(terms, batch, state.step)
            state.step += 1
            state.batches_done += 1
            now = time.monotonic()
            if stop or now - told >= pause:
                seen = read_tally(run, tally)
                state.add_seconds(now - told)
                told = now
                bar.advance(seen, f"{state.mean('reconstruction') + state.mean('kl'):,.0f} nats")
            if stop or now - saved > 60 * run.settings.state_every_minutes:
                read_tally(run, tally)
                save_state(run.folder.state, run.vae, run.averaged, run.optimizer, state)
                saved = now
            if stop:
                raise interrupted(run, stop)
        read_tally(run, tally)
        state.add_seconds(time.monotonic() - told)


def interrupted(run: Run, stop: StopRequest) -> TrainingInterrupted:
    """What to raise once the state is saved."""
    return TrainingInterrupted(
        f"Stopped by {stop.name} at step {run.state.step}; the same command with --resume goes on."
    )


def read_tally(run: Run, tally: Tally) -> int:
    """Move what was summed into `run.state`; how many images that were.

    Raises NonFiniteLossError, with the step and the files, when a loss was not finite.
    """
    before = run.state.sums.get("images", 0)
    bad_step = tally.move_into(run.state)
    if bad_step is not None:
        epoch_began = run.state.step - run.state.batches_done
        images = {i % len(run.train): None for i in run.groups()[bad_step - epoch_began]}
        names = ", ".join(run.train.name(i) for i in images)
        raise NonFiniteLossError(
            f"The loss became NaN or infinite at step {bad_step} (epoch {run.state.epoch + 1}) on"
            f" {names}; the last good state is in {run.folder.state}. Look at those files, or"
            " start again with a smaller --learning-rate."
        )
    return int(run.state.sums.get("images", 0) - before)
