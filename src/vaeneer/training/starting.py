"""How a run begins, or goes on where it stopped."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from vaeneer.data.crops import CropRecipe
from vaeneer.data.dataset import ImageFolder, open_data_set
from vaeneer.data.loader import PackedCrops
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.device import (
    Precision,
    choose_device,
    choose_precision,
    describe_device,
)
from vaeneer.errors import SettingsError
from vaeneer.files import claim_folder
from vaeneer.model.vae import ModelCard
from vaeneer.progress import Progress
from vaeneer.settings.training import Recipe, TrainSettings, default_recipe
from vaeneer.training.events import require_tensorboard
from vaeneer.training.first_weights import started_network, with_init, with_place_of_init
from vaeneer.training.run import Run
from vaeneer.training.run_folder import RunFolder, check_same_data, settings_to_resume
from vaeneer.training.state import TrainState, load_state, save_state
from vaeneer.training.stepping import new_optimizer


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
    if folder.is_training():
        raise folder.being_trained()
    goes_on = resume and folder.state.is_file()
    settings = with_place_of_init(settings)
    settings = settings_to_resume(folder, settings) if goes_on else with_init(settings)
    check_settings(settings)
    recipe = Recipe.of(settings)
    precision = choose_precision(settings.precision, choose_device(settings.device))
    settings = written_out(settings, recipe, precision)
    sides = open_data_set(data, all_maps=settings.all_maps, progress=progress)
    if not goes_on:
        inputs = [data] if settings.init is None else [data, Path(settings.init)]
        folder.clear_unstarted()
        claim_folder(folder.root, kind="run", overwrite=overwrite, inputs=inputs)
    crops = CropRecipe.of(settings)
    train = packed(sides.train, PackLayout(crops.source_side_px), settings, progress)
    valid = packed(sides.valid, PackLayout(crops.side_px, square=True), settings, progress)
    cut = partial(PackedCrops, device=precision.device, workers=settings.workers)
    valid_crops = None
    if recipe.consistency != "off":
        source = packed(sides.valid, PackLayout(crops.source_side_px), settings, progress)
        valid_crops = cut(source, crops)
    vae = started_network(
        settings, recipe, None if goes_on else train, progress, device=precision.device
    )
    run = Run(
        folder=folder,
        settings=settings,
        recipe=recipe,
        train=train,
        valid=valid,
        precision=precision,
        crops=cut(train, crops),
        valid_crops=valid_crops,
        vae=vae,
        averaged=deepcopy(vae).eval() if recipe.averaging else None,
        optimizer=new_optimizer(vae, recipe, precision.device),
        state=TrainState(),
        card=ModelCard(
            architecture=recipe.architecture,
            reconstruction_loss=settings.loss,
            training_mean_rgb=train.mean_rgb,
            data={"fingerprint": train.fingerprint(), "images": len(train)},
        ),
    )
    go_on(run, data) if goes_on else begin(run, data)
    say_start(run, progress)
    return run


def written_out(settings: TrainSettings, recipe: Recipe, precision: Precision) -> TrainSettings:
    """The settings with what was chosen for them, as config.toml keeps them."""
    return replace(
        settings,
        recipe=settings.recipe or default_recipe(settings.architecture),
        architecture=recipe.architecture,
        precision=precision.name,
    )


def say_start(run: Run, progress: Progress) -> None:
    """Which files were skipped, and what is trained on what."""
    for error in run.skipped:
        progress.say(f"skipped {error}")
    of, recipe = run.settings.init, run.recipe
    views = f", {recipe.views} crops of each" if recipe.views > 1 else ""
    progress.say(
        f"{recipe.architecture} network{f' of {of}' if of else ''}, recipe {run.settings.recipe},"
        f" {recipe.epochs} epochs of {len(run.train)} images{views} on"
        f" {describe_device(run.device, run.precision.name)}"
    )


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


def check_settings(settings: TrainSettings) -> None:
    """Raise SettingsError for settings that do not go together with their recipe."""
    recipe = Recipe.of(settings)
    if 1 < recipe.views > recipe.batch_size // 2:
        raise SettingsError(
            f"views is {recipe.views}, so a step of {recipe.batch_size} crops holds fewer than two"
            f" surfaces; use a batch_size of {2 * recipe.views} or more."
        )
    if recipe.consistency != "off" and recipe.views < 2:
        raise SettingsError(
            f"consistency is {recipe.consistency}, which compares crops of one surface, and views"
            f" is {recipe.views}; use --views 2 or more."
        )
    CropRecipe.of(settings)
    if settings.tensorboard:
        require_tensorboard()
