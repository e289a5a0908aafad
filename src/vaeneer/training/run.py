"""A run under way: how it begins or goes on, what it does after each epoch, how it ends."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.optim import Adam

from vaeneer.config import TrainSettings, require
from vaeneer.data.crops import CropRecipe, random_crop
from vaeneer.data.folder import ImageFolder, Survey, open_data_set, survey
from vaeneer.data.images import read_rgb
from vaeneer.data.loading import Pixels
from vaeneer.errors import ImageFileError, NonFiniteLossError, SettingsError
from vaeneer.files import claim_folder
from vaeneer.measuring.measurement import measure
from vaeneer.model.card import ModelCard
from vaeneer.model.checkpoint import load, save
from vaeneer.model.latents import latent_mean
from vaeneer.model.vae import VAE
from vaeneer.progress import Progress
from vaeneer.runtime import choose_device, core_count, describe_device
from vaeneer.seeds import numbers_for
from vaeneer.training.events import require_tensorboard, write_events
from vaeneer.training.figures import epoch_line, spoken
from vaeneer.training.plots import draw_epoch
from vaeneer.training.run_folder import RunFolder, check_same_data, read_metrics, settings_to_resume
from vaeneer.training.state import TrainState, check_weights, load_state, save_state


@dataclass
class Run:
    """Everything that the loop works on."""

    folder: RunFolder
    settings: TrainSettings
    train: ImageFolder
    valid: ImageFolder
    skipped: tuple[ImageFileError, ...]
    device: torch.device
    vae: VAE
    optimizer: Adam
    state: TrainState
    card: ModelCard
    """What is known of the model before it is trained."""

    def read_crop(self, index: int, epoch: int) -> Pixels:
        """The crop of training image `index` in `epoch`: (254, 254, 3) uint8."""
        random = numbers_for("crop", self.settings.seed, epoch, index)
        image = read_rgb(self.train.items[index].path)
        return random_crop(image, CropRecipe.of(self.settings), random)


def start_run(
    data: Path,
    folder: RunFolder,
    settings: TrainSettings,
    *,
    resume: bool,
    overwrite: bool,
    progress: Progress,
) -> Run:
    """Begin a run, or go on with the one in `folder` where `resume` is set and there is one."""
    goes_on = resume and folder.state.is_file()
    if goes_on:
        settings = settings_to_resume(folder, settings)
    check_settings(settings)
    device = choose_device(settings.device)
    sides = open_data_set(data)
    if not goes_on:
        claim_folder(folder.root, overwrite=overwrite, inputs=[data])
    workers = core_count(settings.workers)
    train = survey(sides.train, workers=workers, progress=progress)
    valid = survey(sides.valid, workers=workers, progress=progress)
    vae = seeded_network(settings.seed).to(device)
    optimizer = Adam(vae.parameters(), lr=settings.learning_rate)
    card = ModelCard(
        reconstruction_loss=settings.loss,
        training_mean_rgb=train.mean_rgb,
        data={"fingerprint": train.folder.fingerprint(), "images": len(train.folder)},
    )
    run = Run(
        folder=folder,
        settings=settings,
        train=train.folder,
        valid=valid.folder,
        skipped=train.skipped + valid.skipped,
        device=device,
        vae=vae,
        optimizer=optimizer,
        state=TrainState(),
        card=card,
    )
    if goes_on:
        go_on(run, data)
    else:
        begin(run, data, train, valid)
    for error in run.skipped:
        progress.say(f"skipped {error}")
    return run


def begin(run: Run, data: Path, train: Survey, valid: Survey) -> None:
    """Write what a new run needs to be done again or gone on with."""
    run.folder.write_config(data, run.settings)
    run.folder.write_facts(
        {
            "data": {"path": str(data.absolute()), **run.card.data},
            "train_images": len(train.folder),
            "valid_images": len(valid.folder),
            "skipped": {str(error.path): error.reason for error in run.skipped},
            "device": describe_device(run.device),
            "vaeneer_version": version("vaeneer"),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    save_state(run.folder.state, run.vae, run.optimizer, run.state)


def go_on(run: Run, data: Path) -> None:
    """Put back the state of the run in its folder. Raises TrainingError when the data differ."""
    check_same_data(run.folder, run.card.data["fingerprint"])
    run.state = load_state(run.folder.state, run.vae, run.optimizer)
    run.folder.keep_metrics(run.state.epoch)
    run.folder.write_config(data, run.settings)


def finish_epoch(run: Run, progress: Progress) -> None:
    """Validate, keep the model where it is best, write figures and plots, save the state."""
    check_weights(run.vae, run.folder.state)
    found = measure(
        run.vae,
        run.valid.items,
        batch_size=run.settings.batch_size,
        seed=run.settings.seed,
        workers=run.settings.workers,
        title="validating",
        progress=progress,
    )
    line = epoch_line(run.state, run.settings.loss, found, run.card.training_mean_rgb)
    epoch, elbo = line["epoch"], line["valid"]["elbo_loss"]
    if not math.isfinite(elbo):
        raise NonFiniteLossError(
            f"The validation loss became {elbo} after epoch {epoch}; the last good state is in"
            f" {run.folder.state}. Start again with a smaller --learning-rate."
        )
    card = replace(
        run.card,
        figures=line["valid"],
        training={"epochs": epoch, "steps": run.state.step, "settings": asdict(run.settings)},
    )
    if run.state.best_loss is None or elbo < run.state.best_loss:
        run.state.best_loss, run.state.best_epoch = elbo, epoch
        save(run.vae, run.folder.best, card=card)
    save(run.vae, run.folder.last, card=card)
    if epoch % run.settings.checkpoint_every == 0:
        save(run.vae, run.folder.checkpoint(epoch), card=card)
    run.folder.append_metrics(line)
    draw_epoch(run.folder, run.vae, run.valid, found, run.settings.seed)
    if run.settings.tensorboard:
        write_events(run.folder.tensorboard, line)
    run.state.close_epoch()
    save_state(run.folder.state, run.vae, run.optimizer, run.state)
    progress.say(spoken(line, run.settings.epochs))


def finish_run(run: Run, progress: Progress) -> dict[str, Any]:
    """Note in the kept models the mean latent of training crops; return the last figures."""
    for folder in (run.folder.best, run.folder.last):
        vae = load(folder, device=run.device)
        if vae.card.latent_mean is None:
            mean = latent_mean(
                vae,
                run.train,
                CropRecipe.of(run.settings),
                progress=progress,
                seed=run.settings.seed,
                batch_size=run.settings.batch_size,
                workers=run.settings.workers,
            )
            save(vae, folder, card=replace(vae.card, latent_mean=mean))
    return read_metrics(run.folder.root)[-1]


def seeded_network(seed: int) -> VAE:
    """The reference network with PyTorch's own initialisation, drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE()


def check_settings(settings: TrainSettings) -> None:
    """Raise SettingsError for a setting out of range."""
    require(settings, epochs=1, batch_size=1, checkpoint_every=1, beta=0, seed=0)
    for name in ("learning_rate", "state_every_minutes"):
        if not getattr(settings, name) > 0:
            raise SettingsError(f"{name} is {getattr(settings, name)}; use more than 0.")
    if settings.loss not in ("bce", "mse"):
        raise SettingsError(f"loss is {settings.loss!r}; use bce or mse.")
    CropRecipe.of(settings)
    core_count(settings.workers)
    if settings.tensorboard:
        require_tensorboard()
