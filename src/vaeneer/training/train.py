"""train(): the whole loop on one screen, with loss, step, evaluation and save in sight."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from vaeneer.data.crops import COLUMNS, Rows, SharedScale, Views
from vaeneer.data.dataset import open_folder
from vaeneer.data.decode_worker import SOURCE_SIDE_PX
from vaeneer.data.loader import PackedCrops, to_unit
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.errors import NonFiniteLossError, TrainingInterrupted
from vaeneer.evaluation.calibrate import fit_similarity
from vaeneer.evaluation.per_image import measure
from vaeneer.model.checkpoint import load, save
from vaeneer.model.losses import consistency_of, elbo_terms
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.model.weights import latent_mean
from vaeneer.progress import Progress, Silent
from vaeneer.rng import UniformRows
from vaeneer.settings import CalibrateSettings, TrainSettings
from vaeneer.training.metrics import draw_epoch, epoch_line, format_epoch, write_events
from vaeneer.training.optim import Meters, Step, StepTerms, average, graphed, step_where_finite
from vaeneer.training.resume_state import check_weights, save_state
from vaeneer.training.run_folder import RunFolder, read_metrics
from vaeneer.training.setup import Run, start_run, views_of

SECONDS_BETWEEN_FIGURES = 1.0
"""On CUDA, where reading a figure waits for the device; on a CPU every step tells its own."""
MOST_IMAGES = 512
"""Images of each side that a read-out is fitted to at the end of a run; `calibrate` takes more."""
DRAWS = {"best": 4, "last": 1}
"""How often their four crops are drawn: the best model is the one that is used."""
_MOST_DECODED = 2000  # validation images that are decoded once more, larger than `evaluate` does


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


def train_epoch(run: Run, step: Step, stop: StopRequest, progress: Progress) -> None:
    """Train on what is left of the current epoch, adding to the sums of `run.state`."""
    state, tally = run.state, Meters(run.device, consistency=run.recipe.consistency != "off")
    pause = SECONDS_BETWEEN_FIGURES if run.device.type == "cuda" else 0.0
    title = f"epoch {state.epoch + 1}/{run.recipe.epochs}"
    saved = told = time.monotonic()
    run.vae.train()
    with progress.bar(title, total=run.crops_per_epoch, unit="images") as bar:
        bar.advance(int(state.sums.get("images", 0)))
        for batch in run.crops.batches(run.groups_to_do(), run.crop_numbers()):
            inputs = batch.pixels, run.noise(len(batch.indices)), run.step_scalars()
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
    terms = elbo_terms(output, images, run.settings.reconstruction_loss)  # each (B,), nats
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


def interrupted(run: Run, stop: StopRequest) -> TrainingInterrupted:
    """What to raise once the state is saved."""
    return TrainingInterrupted(
        f"Stopped by {stop.name} at step {run.state.step}; the same command with --resume goes on."
    )


def read_tally(run: Run, tally: Meters) -> int:
    """Move what was summed into `run.state`; how many images that were.

    Raises NonFiniteLossError, with the step and the files, when a loss was not finite.
    """
    before = run.state.sums.get("images", 0)
    bad_step = tally.flush(run.state)
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


def finish_epoch(run: Run, progress: Progress) -> None:
    """Validate, keep the model where it is best, write figures and plots, save the state."""
    check_weights(run.vae, run.folder.state)
    found = measure(
        run.eval_model,
        run.valid,
        precision=run.precision,
        batch_size=run.recipe.batch_size,
        seed=run.settings.seed,
        title="validating",
        progress=progress,
    )
    apart = valid_consistency(run, progress)
    line = epoch_line(
        run.state,
        run.settings.reconstruction_loss,
        found,
        run.card.training_mean_rgb,
        texture_size=run.eval_model.texture_size,
        valid_consistency=apart,
        consistency_weight=run.recipe.consistency_weight,
    )
    epoch, loss = line["epoch"], line["valid"]["trained_loss"]
    if not math.isfinite(loss):
        raise NonFiniteLossError(
            f"The validation loss became {loss} after epoch {epoch}; the last good state is in"
            f" {run.folder.state}. Start again with a smaller --learning-rate."
        )
    card = replace(run.card, figures=line["valid"], training=history(run, epoch))
    if run.state.best_loss is None or loss < run.state.best_loss:
        run.state.best_loss, run.state.best_epoch = loss, epoch
        save(run.eval_model, run.folder.best, card=card)
    save(run.eval_model, run.folder.last, card=card)
    if epoch % run.settings.checkpoint_every == 0:
        save(run.eval_model, run.folder.checkpoint(epoch), card=card)
    run.folder.append_metrics(line)
    draw_epoch(run.folder, run.eval_model, run.valid, found, run.settings.seed)
    if run.settings.tensorboard:
        write_events(run.folder.tensorboard, line)
    run.state.close_epoch()
    save_state(run.folder.state, run.vae, run.averaged, run.optimizer, run.state)
    progress.say(format_epoch(line, run.recipe.epochs))


def history(run: Run, epoch: int) -> dict[str, Any]:
    """What a model's card says of its training."""
    settings = {**asdict(run.settings), **asdict(run.recipe)}
    if run.settings.cache is not None:
        settings["cache"] = str(run.settings.cache)
    return {"epochs": epoch, "steps": run.state.step, "settings": settings}


def finish_run(run: Run, progress: Progress) -> dict[str, Any]:
    """Finish the kept models; return the last figures."""
    finish_models(run, progress)
    return read_metrics(run.folder.root)[-1]


def valid_consistency(run: Run, progress: Progress) -> float | None:
    """The mean term over crops of the validation images, the same crops after each epoch.

    In batches of the size that is trained with, in the order of the images. None where the recipe
    has no such term.
    """
    if run.valid_crops is None:
        return None
    views = views_of(run.valid, run.recipe.views)
    table = UniformRows("validation view", run.settings.seed, columns=COLUMNS)
    return _mean_term(run, run.valid_crops, views, table, progress)


def _mean_term(
    run: Run, crops: PackedCrops, views: Views, table: UniformRows, progress: Progress
) -> float:
    numbers: Rows = SharedScale(table, views) if run.recipe.one_scale else table
    groups = views.groups(range(views.images), run.recipe.batch_size)
    total, count = 0.0, 0
    title = "validating crops of one surface"
    with (
        eval_mode(run.eval_model),
        progress.bar(title, total=views.images * views.count, unit="crops") as bar,
    ):
        for batch in crops.batches(groups, numbers):
            with run.precision.autocast():
                posterior = run.eval_model.encode(batch.images)
            assets = run.to_device(views.assets_of(batch.indices))
            terms = consistency_of(posterior, assets, run.recipe, run.eval_model.texture_size)
            assert terms is not None
            total += float(terms.double().sum())
            count += len(batch.indices)
            bar.advance(len(batch.indices))
    return total / count


def finish_models(run: Run, progress: Progress) -> None:
    """Note in the best and the last model the mean latent of training crops and the read-out."""
    done: dict[object, VAE] = {}
    for folder in (run.folder.best, run.folder.last):
        vae = load(folder, device=run.device)
        if vae.card.latent_mean is None or vae.readout is None:
            epochs = vae.card.training.get("epochs")  # best and last are often one and the same
            done[epochs] = done.get(epochs) or _finished(run, vae, DRAWS[folder.name], progress)
            save(done[epochs], folder)


def _finished(run: Run, vae: VAE, draws: int, progress: Progress) -> VAE:
    seed, batch_size = run.settings.seed, run.recipe.batch_size
    mean = latent_mean(
        vae,
        run.crops,
        precision=run.precision,
        progress=progress,
        seed=seed,
        batch_size=batch_size,
    )
    vae.card = replace(vae.card, latent_mean=mean)
    light = run.recipe.invariant_to is None or run.recipe.color_jitter > 0  # as the user chose
    settings = CalibrateSettings(max_images=MOST_IMAGES, draws=draws, seed=seed, color_jitter=light)
    vae.readout, vae.calibration = fit_similarity(
        vae, run.train, _larger_valid(run, progress), settings, run.precision, progress
    )
    return vae


def _larger_valid(run: Run, progress: Progress) -> Pack | None:
    """The validation images large enough for crops; of very many, none, to save the time."""
    if len(run.valid) > _MOST_DECODED:
        return None
    return open_pack(
        open_folder(run.valid.folder_root, all_maps=run.settings.all_maps),
        PackLayout(SOURCE_SIDE_PX),
        cache=run.settings.cache,
        workers=run.settings.workers,
        progress=progress,
    )


class StopRequest:
    """Whether someone asked the run to stop; `name` says who (SIGINT or SIGTERM)."""

    name: str = ""

    def __bool__(self) -> bool:
        return bool(self.name)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM for the block; a second SIGINT is a KeyboardInterrupt as ever.

    Only the main thread can catch signals: elsewhere the request is never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.name = signal.Signals(number).name

    caught = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, note) for number in caught}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
