"""A run under way: how it begins or goes on, what it does after each epoch, how it ends."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from vaeneer.config import Recipe, TrainSettings, require
from vaeneer.data.crops import COLUMNS, CropRecipe
from vaeneer.data.folder import ImageFolder, open_data_set
from vaeneer.data.packed_crops import PackedCrops
from vaeneer.data.packs import Pack, PackLayout, open_pack
from vaeneer.errors import ImageFileError, NonFiniteLossError, SettingsError
from vaeneer.files import claim_folder
from vaeneer.measuring.measurement import measure
from vaeneer.model.architectures import build
from vaeneer.model.card import ModelCard
from vaeneer.model.checkpoint import load, save
from vaeneer.model.latents import latent_mean
from vaeneer.model.vae import VAE, in_channels_last
from vaeneer.progress import Progress
from vaeneer.runtime import Precision, choose_device, choose_precision, core_count, describe_device
from vaeneer.seeds import NumberTable, numbers_for
from vaeneer.training.events import require_tensorboard, write_events
from vaeneer.training.figures import epoch_line, spoken
from vaeneer.training.plots import draw_epoch
from vaeneer.training.run_folder import RunFolder, check_same_data, read_metrics, settings_to_resume
from vaeneer.training.schedule import average_share, kl_share, learning_rate
from vaeneer.training.state import (
    TrainState,
    check_weights,
    load_state,
    save_state,
    step_generator,
)
from vaeneer.training.stepping import new_optimizer


@dataclass
class Run:
    """Everything that the loop works on."""

    folder: RunFolder
    settings: TrainSettings
    recipe: Recipe
    train: Pack
    valid: Pack
    precision: Precision
    crops: PackedCrops
    vae: VAE
    averaged: VAE | None
    """The network with averaged weights, where the recipe keeps one."""
    optimizer: AdamW
    state: TrainState
    card: ModelCard
    """What is known of the model before it is trained."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.precision.device

    @property
    def skipped(self) -> tuple[ImageFileError, ...]:
        """The files of both sides that cannot be read."""
        return self.train.skipped + self.valid.skipped

    @property
    def kept(self) -> VAE:
        """The network that is measured and saved."""
        return self.vae if self.averaged is None else self.averaged

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.recipe.epochs * math.ceil(len(self.train) / self.settings.batch_size)

    def groups(self) -> list[list[int]]:
        """Which images make each batch of the current epoch: a function of (seed, epoch)."""
        size = self.settings.batch_size
        random = numbers_for("order", self.settings.seed, self.state.epoch)
        order = random.permutation(len(self.train)).tolist()
        return [order[start : start + size] for start in range(0, len(order), size)]

    def groups_to_do(self) -> list[list[int]]:
        """The batches of the current epoch that are still to do."""
        return self.groups()[self.state.batches_done :]

    def crop_numbers(self) -> NumberTable:
        """What the crops of the current epoch are drawn from: by (seed, epoch, index)."""
        return NumberTable("crop", self.settings.seed, self.state.epoch, columns=COLUMNS)

    def noise(self, count: int) -> Tensor:
        """The noise of the current step's latents, (count, latent), the same on every device."""
        generator = step_generator(self.settings.seed, self.state.step)
        return self._sent(torch.randn(count, self.vae.latent_size, generator=generator))

    def weights(self) -> Tensor:
        """Step size, weight of the KL term and share of the average kept, of the current step."""
        step, recipe = self.state.step, self.recipe
        rate = learning_rate(recipe, step, self.steps)
        kl_weight = self.settings.beta * kl_share(recipe, step, self.steps)
        return self._sent(torch.tensor([rate, kl_weight, average_share(recipe, step)]))

    def _sent(self, values: Tensor) -> Tensor:
        if self.device.type == "cuda":
            return values.pin_memory().to(self.device, non_blocking=True)
        return values


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
    recipe = Recipe.of(settings)
    precision = choose_precision(settings.precision, choose_device(settings.device))
    settings = replace(settings, precision=precision.name)
    sides = open_data_set(data)
    if not goes_on:
        claim_folder(folder.root, overwrite=overwrite, inputs=[data])
    crops = CropRecipe.of(settings)
    train = packed(sides.train, PackLayout(crops.source_side_px), settings, progress)
    valid = packed(sides.valid, PackLayout(crops.side_px, square=True), settings, progress)
    vae = started_network(settings, recipe, train).to(precision.device)
    run = Run(
        folder=folder,
        settings=settings,
        recipe=recipe,
        train=train,
        valid=valid,
        precision=precision,
        crops=PackedCrops(train, crops, precision.device, workers=settings.workers),
        vae=vae,
        averaged=deepcopy(vae).eval() if recipe.averaging else None,
        optimizer=new_optimizer(vae, recipe, precision.device),
        state=TrainState(),
        card=ModelCard(
            architecture=settings.architecture,
            reconstruction_loss=settings.loss,
            training_mean_rgb=train.mean_rgb,
            data={"fingerprint": train.fingerprint(), "images": len(train)},
        ),
    )
    if goes_on:
        go_on(run, data)
    else:
        begin(run, data)
    for error in run.skipped:
        progress.say(f"skipped {error}")
    return run


def packed(
    folder: ImageFolder, layout: PackLayout, settings: TrainSettings, progress: Progress
) -> Pack:
    """The pack of one side of the data set; says so when images had to be decoded for it."""
    pack = open_pack(
        folder,
        layout,
        cache=Path(settings.cache) if settings.cache else None,
        workers=settings.workers,
        progress=progress,
    )
    if pack.decoded:
        progress.say(f"decoded {pack.decoded} images of {folder.root} in {pack.seconds:.1f} s")
    return pack


def started_network(settings: TrainSettings, recipe: Recipe, train: Pack) -> VAE:
    """A network with the first weights that the recipe asks for, drawn from the seed."""
    vae = build(settings.architecture, seed=settings.seed)
    if recipe.start == "scaled":
        pass
    return in_channels_last(vae)


def begin(run: Run, data: Path) -> None:
    """Write what a new run needs to be done again or gone on with."""
    run.folder.write_config(data, run.settings)
    run.folder.write_facts(
        {
            "data": {"path": str(data.absolute()), **run.card.data},
            "train_images": len(run.train),
            "valid_images": len(run.valid),
            "skipped": {str(error.path): error.reason for error in run.skipped},
            "device": describe_device(run.device, run.precision.name),
            "precision": run.precision.name,
            "pack_seconds": run.train.seconds + run.valid.seconds,
            "vaeneer_version": version("vaeneer"),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    save_state(run.folder.state, run.vae, run.averaged, run.optimizer, run.state)


def go_on(run: Run, data: Path) -> None:
    """Put back the state of the run in its folder. Raises TrainingError when the data differ."""
    check_same_data(run.folder, run.card.data["fingerprint"])
    run.state = load_state(run.folder.state, run.vae, run.averaged, run.optimizer)
    run.folder.keep_metrics(run.state.epoch)
    run.folder.write_config(data, run.settings)


def finish_epoch(run: Run, progress: Progress) -> None:
    """Validate, keep the model where it is best, write figures and plots, save the state."""
    check_weights(run.vae, run.folder.state)
    found = measure(
        run.kept,
        run.valid,
        precision=run.precision,
        batch_size=run.settings.batch_size,
        seed=run.settings.seed,
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
    card = replace(run.card, figures=line["valid"], training=history(run, epoch))
    if run.state.best_loss is None or elbo < run.state.best_loss:
        run.state.best_loss, run.state.best_epoch = elbo, epoch
        save(run.kept, run.folder.best, card=card)
    save(run.kept, run.folder.last, card=card)
    if epoch % run.settings.checkpoint_every == 0:
        save(run.kept, run.folder.checkpoint(epoch), card=card)
    run.folder.append_metrics(line)
    draw_epoch(run.folder, run.kept, run.valid, found, run.settings.seed)
    if run.settings.tensorboard:
        write_events(run.folder.tensorboard, line)
    run.state.close_epoch()
    save_state(run.folder.state, run.vae, run.averaged, run.optimizer, run.state)
    progress.say(spoken(line, run.recipe.epochs))


def history(run: Run, epoch: int) -> dict[str, Any]:
    """What a model's card says of its training."""
    settings = {**asdict(run.settings), **asdict(run.recipe)}
    if run.settings.cache is not None:
        settings["cache"] = str(run.settings.cache)
    return {"epochs": epoch, "steps": run.state.step, "settings": settings}


def finish_run(run: Run, progress: Progress) -> dict[str, Any]:
    """Note in the kept models the mean latent of training crops; return the last figures."""
    for folder in (run.folder.best, run.folder.last):
        vae = load(folder, device=run.device)
        if vae.card.latent_mean is None:
            mean = latent_mean(
                vae,
                run.crops,
                precision=run.precision,
                progress=progress,
                seed=run.settings.seed,
                batch_size=run.settings.batch_size,
            )
            save(vae, folder, card=replace(vae.card, latent_mean=mean))
    return read_metrics(run.folder.root)[-1]


def check_settings(settings: TrainSettings) -> None:
    """Raise SettingsError for a setting out of range."""
    recipe = Recipe.of(settings)
    require(settings, batch_size=1, checkpoint_every=1, beta=0, seed=0)
    require(recipe, epochs=1, weight_decay=0, clip_norm=0)
    for name, value in (
        ("learning_rate", recipe.learning_rate),
        ("state_every_minutes", settings.state_every_minutes),
    ):
        if not value > 0:
            raise SettingsError(f"{name} is {value}; use more than 0.")
    for name in ("warmup", "final_rate", "kl_warmup", "averaging"):
        share = getattr(recipe, name)
        if not 0 <= share <= 1:
            raise SettingsError(f"{name} is {share}; it is a share, use 0 to 1.")
    if settings.loss not in ("bce", "mse"):
        raise SettingsError(f"loss is {settings.loss!r}; use bce or mse.")
    CropRecipe.of(settings)
    core_count(settings.workers)
    if settings.tensorboard:
        require_tensorboard()
