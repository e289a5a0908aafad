"""A run under way: what the loop works on, and what of it depends on the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.optim import AdamW

from vaeneer.data.crops import COLUMNS, Ints, OneScale, Rows, Views
from vaeneer.data.loader import PackedCrops
from vaeneer.data.pixel_cache import Pack
from vaeneer.device import Precision
from vaeneer.errors import ImageFileError
from vaeneer.model.vae import VAE, ModelCard
from vaeneer.rng import NumberTable, numbers_for
from vaeneer.settings.training import Recipe, TrainSettings
from vaeneer.training.run_folder import RunFolder
from vaeneer.training.schedule import average_share, kl_share, learning_rate
from vaeneer.training.state import TrainState, step_generator


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
    def kept(self) -> VAE:
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
        random = numbers_for("order", self.settings.seed, self.state.epoch)
        order = random.permutation(len(self.train)).tolist()
        return self.views.groups(order, self.recipe.batch_size)

    def groups_to_do(self) -> list[list[int]]:
        """The batches of the current epoch that are still to do."""
        return self.groups()[self.state.batches_done :]

    def crop_numbers(self) -> Rows:
        """What the crops of the current epoch are drawn from: by (seed, epoch, image, view)."""
        table = NumberTable("crop", self.settings.seed, self.state.epoch, columns=COLUMNS)
        return OneScale(table, self.views) if self.recipe.one_scale else table

    def noise(self, count: int) -> Tensor:
        """The noise of the current step's latents, (count, latent), the same on every device."""
        generator = step_generator(self.settings.seed, self.state.step)
        return self._sent(torch.randn(count, self.vae.latent_size, generator=generator))

    def assets(self, images: Sequence[int]) -> Tensor:
        """The asset of each image as a number, (n,) int64: equal for one surface."""
        return self.sent(self.views.assets_of(images))

    def sent(self, numbers: Ints) -> Tensor:
        """Numbers on the device."""
        return self._sent(torch.from_numpy(numbers))

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


def views_of(pack: Pack, count: int) -> Views:
    """The crops of a pack's images, `count` views of each surface in a step."""
    several = count > 1  # else nobody asks whose an image is
    return Views(pack.table["asset"].to_pylist() if several else range(len(pack)), count)
