"""Begin a run, or resume it where it stopped; what the loop works on, as a function of the step."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import AdamW

from vaeneer.data.crops import COLUMNS, CropRecipe, Ints, Rows, SharedScale, Views
from vaeneer.data.dataset import ImageFolder, open_data_set
from vaeneer.data.loader import PackedCrops
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.device import Precision, choose_device, choose_precision, describe_device
from vaeneer.errors import ImageFileError, SettingsError
from vaeneer.files import new_output_dir
from vaeneer.model.checkpoint import build, load, read_card
from vaeneer.model.texture import Texture
from vaeneer.model.vae import VAE, ModelCard
from vaeneer.model.weights import scaled_start
from vaeneer.progress import Progress
from vaeneer.rng import UniformRows, rng_for
from vaeneer.settings import Recipe, TrainSettings, default_recipe, has_recipe
from vaeneer.training.metrics import require_tensorboard
from vaeneer.training.optim import average_share, kl_share, learning_rate, new_optimizer
from vaeneer.training.resume_state import TrainState, load_state, save_state, step_generator
from vaeneer.training.run_folder import RunFolder, check_same_data, settings_to_resume
from vaeneer.training.texture_init import start_texture


def with_place_of_init(settings: TrainSettings) -> TrainSettings:
    """Settings with `init_from` as an absolute path where it is a folder, as config.toml has it."""
    if settings.init_from is None or not Path(settings.init_from).exists():
        return settings
    return replace(settings, init_from=str(Path(settings.init_from).absolute()))


def with_init(settings: TrainSettings) -> TrainSettings:
    """The same with the architecture and, where none is named, the recipe of the `init_from` model.

    Raises ModelFileError where there is no such model, SettingsError where another architecture
    was asked for.
    """
    if settings.init_from is None:
        return settings
    card = read_card(settings.init_from)
    if settings.architecture not in (None, card.architecture):
        raise SettingsError(
            f"{settings.init_from} is a {card.architecture} network and cannot start a"
            f" {settings.architecture} one; leave --architecture out, or name another --init-from."
        )
    own = card.training.get("settings", {}).get("recipe")
    recipe = settings.recipe or TrainSettings(recipe=own).recipe
    known = has_recipe(recipe, card.architecture)
    if settings.recipe is not None and not known:
        raise SettingsError(
            f"{settings.init_from} is a {card.architecture} network, for which there is no recipe"
            f" {settings.recipe!r}; use another --recipe or another --init-from."
        )
    recipe = recipe if known else default_recipe(card.architecture)
    return replace(settings, recipe=recipe, architecture=card.architecture)


def started_network(
    settings: TrainSettings,
    recipe: Recipe,
    train: Pack | None,
    progress: Progress,
    *,
    device: torch.device,
) -> VAE:
    """A network on `device` with the weights of `init_from`, else those that the recipe draws from
    the seed.

    A texture part starts in closed form from the images. train: the images that it will see, or
    None where a resumed run puts back its own weights.
    """
    vae = build(recipe.architecture, seed=settings.seed)
    if train is None:
        return vae.to(device)
    if settings.init_from is not None:
        vae.load_state_dict(load(settings.init_from).state_dict())
    elif recipe.init == "scaled":
        red, green, blue = (min(max(channel, 0.01), 0.99) for channel in train.mean_rgb)
        scaled_start(vae, (red, green, blue), torch.Generator().manual_seed(settings.seed))
    vae.to(device)
    texture = getattr(vae.encoder, "texture", None)
    if settings.init_from is None and isinstance(texture, Texture):
        start_texture(texture, train, recipe, seed=settings.seed, progress=progress)
    return vae


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
    valid_crops: PackedCrops | None = None
    """Where crops of one surface shall agree: those of the validation images."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.precision.device

    @property
    def skipped(self) -> tuple[ImageFileError, ...]:
        """The files of both sides that cannot be read."""
        return self.train.skipped + self.valid.skipped

    @property
    def eval_model(self) -> VAE:
        """The network that is measured and saved."""
        return self.vae if self.averaged is None else self.averaged

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.recipe.epochs * self.views.steps(self.recipe.batch_size)

    @cached_property
    def views(self) -> Views:
        """Which crops are views of one surface."""
        return views_of(self.train, self.recipe.views)

    @property
    def crops_per_epoch(self) -> int:
        """How many crops an epoch trains on."""
        return self.views.images * self.views.count

    def groups(self) -> list[list[int]]:
        """Which crops make each batch of the current epoch, by number: of (seed, epoch) alone."""
        random = rng_for("order", self.settings.seed, self.state.epoch)
        order = random.permutation(len(self.train)).tolist()
        return self.views.groups(order, self.recipe.batch_size)

    def groups_to_do(self) -> list[list[int]]:
        """The batches of the current epoch that are still to do."""
        return self.groups()[self.state.batches_done :]

    def crop_numbers(self) -> Rows:
        """What the crops of the current epoch are drawn from: by (seed, epoch, image, view)."""
        table = UniformRows("crop", self.settings.seed, self.state.epoch, columns=COLUMNS)
        return SharedScale(table, self.views) if self.recipe.one_scale else table

    def noise(self, count: int) -> Tensor:
        """The noise of the current step's latents, (count, latent), the same on every device."""
        generator = step_generator(self.settings.seed, self.state.step)
        return self._sent(torch.randn(count, self.vae.latent_size, generator=generator))

    def assets(self, images: Sequence[int]) -> Tensor:
        """The asset of each image as a number, (n,) int64: equal for one surface."""
        return self.to_device(self.views.assets_of(images))

    def to_device(self, numbers: Ints) -> Tensor:
        """Numbers on the device."""
        return self._sent(torch.from_numpy(numbers))

    def step_scalars(self) -> Tensor:
        """Step size, weight of the KL term and share of the average kept, of the current step."""
        step, recipe = self.state.step, self.recipe
        rate = learning_rate(recipe, step, self.steps)
        kl_weight = self.settings.beta * kl_share(recipe, step, self.steps)
        return self._sent(torch.tensor([rate, kl_weight, average_share(recipe, step)]))

    def _sent(self, values: Tensor) -> Tensor:
        if self.device.type == "cuda":
            return values.pin_memory().to(self.device, non_blocking=True)
        return values


def views_of(pack: Pack, count: int) -> Views:
    """The crops of a pack's images, `count` views of each surface in a step."""
    several = count > 1  # else nobody asks whose an image is
    return Views(pack.table["asset"].to_pylist() if several else range(len(pack)), count)


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
    recipe, crops = Recipe.of(settings), CropRecipe.of(settings)
    if settings.tensorboard:
        require_tensorboard()
    precision = choose_precision(settings.precision, choose_device(settings.device))
    settings = written_out(settings, recipe, precision)
    sides = open_data_set(data, all_maps=settings.all_maps, progress=progress)
    if not goes_on:
        inputs = [data] if settings.init_from is None else [data, Path(settings.init_from)]
        folder.clear_unstarted()
        new_output_dir(folder.root, kind="run", overwrite=overwrite, inputs=inputs)
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
        averaged=deepcopy(vae).eval() if recipe.ema_decay else None,
        optimizer=new_optimizer(vae, recipe, precision.device),
        state=TrainState(),
        card=ModelCard(
            architecture=recipe.architecture,
            reconstruction_loss=settings.reconstruction_loss,
            training_mean_rgb=train.mean_rgb,
            data={"fingerprint": train.fingerprint(), "images": len(train)},
        ),
    )
    resume_run(run, data) if goes_on else create_run(run, data)
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
    of, recipe = run.settings.init_from, run.recipe
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


def create_run(run: Run, data: Path) -> None:
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


def resume_run(run: Run, data: Path) -> None:
    """Put back the state of the run in its folder. Raises TrainingError when the data differ."""
    check_same_data(run.folder, run.card.data["fingerprint"])
    run.state = load_state(run.folder.state, run.vae, run.averaged, run.optimizer)
    run.folder.keep_metrics(run.state.epoch)
    run.folder.write_config(data, run.settings)
