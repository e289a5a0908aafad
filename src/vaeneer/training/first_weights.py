"""The weights that a run starts from: drawn from its seed, or those of another model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vaeneer.data.pixel_cache import Pack
from vaeneer.errors import SettingsError
from vaeneer.model import surface
from vaeneer.model.checkpoint import build, load, read_card
from vaeneer.model.vae import VAE
from vaeneer.model.weights import scaled_start
from vaeneer.progress import Progress
from vaeneer.settings.training import RECIPES, Recipe, TrainSettings, default_recipe
from vaeneer.training.texture_start import start_texture


def with_place_of_init(settings: TrainSettings) -> TrainSettings:
    """The same with `init` as an absolute path, where it is a folder: as config.toml keeps it."""
    if settings.init is None or not Path(settings.init).exists():
        return settings
    return replace(settings, init=str(Path(settings.init).absolute()))


def with_init(settings: TrainSettings) -> TrainSettings:
    """The same with the architecture and, where none is named, the recipe of the `init` model.

    Raises ModelFileError where there is no such model, SettingsError where another architecture
    was asked for.
    """
    if settings.init is None:
        return settings
    card = read_card(settings.init)
    if settings.architecture not in (None, card.architecture):
        raise SettingsError(
            f"{settings.init} is a {card.architecture} network and cannot start a"
            f" {settings.architecture} one; leave --architecture out, or name another --init."
        )
    own = card.training.get("settings", {}).get("recipe")
    recipe = settings.recipe or TrainSettings(recipe=own).recipe
    known = (recipe, card.architecture) in RECIPES
    if settings.recipe is not None and not known:
        raise SettingsError(
            f"{settings.init} is a {card.architecture} network, for which there is no recipe"
            f" {settings.recipe!r}; use another --recipe or another --init."
        )
    architecture: Any = card.architecture
    recipe = recipe if known else default_recipe(card.architecture)
    return replace(settings, recipe=recipe, architecture=architecture)


def started_network(
    settings: TrainSettings,
    recipe: Recipe,
    train: Pack | None,
    progress: Progress,
    *,
    device: torch.device,
) -> VAE:
    """A network on `device` with the weights of `init`, else with those that the recipe draws from
    the seed.

    A texture part starts in closed form from the images. train: the images that it will see, or
    None where a resumed run puts back its own weights.
    """
    vae = build(recipe.architecture, seed=settings.seed)
    if train is None:
        return vae.to(device)
    if settings.init is not None:
        vae.load_state_dict(load(settings.init).state_dict())
    elif recipe.start == "scaled":
        red, green, blue = (min(max(channel, 0.01), 0.99) for channel in train.mean_rgb)
        scaled_start(vae, (red, green, blue), torch.Generator().manual_seed(settings.seed))
    vae.to(device)
    if settings.init is None and isinstance(vae.encoder, surface.Encoder):
        start_texture(vae.encoder.texture, train, recipe, seed=settings.seed, progress=progress)
    return vae
