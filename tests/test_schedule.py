"""Step size, KL weight and averages over a run; the sums that no step waits for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaeneer.data.loader import Batch
from vaeneer.errors import SettingsError
from vaeneer.model.losses import ElboTerms
from vaeneer.model.vae import VAE
from vaeneer.settings import RECIPES, Recipe, TrainSettings
from vaeneer.training.optim import (
    Meters,
    StepTerms,
    average,
    average_share,
    kl_share,
    learning_rate,
    new_optimizer,
    step_where_finite,
)
from vaeneer.training.resume_state import TrainState

CPU = torch.device("cpu")
RISING = Recipe(learning_rate=2e-3, warmup_fraction=0.1, min_lr_ratio=0.05, kl_warmup_fraction=0.2)


def test_the_reference_recipe_changes_nothing_on_the_way() -> None:
    seed = Recipe.of(TrainSettings(recipe="reference"))
    assert seed == Recipe() == RECIPES["reference", "reference"]
    assert {learning_rate(seed, step, 100) for step in range(100)} == {1e-3}
    assert {kl_share(seed, step, 100) for step in range(100)} == {1.0}


def test_what_is_asked_for_wins_over_the_recipe() -> None:
    named = Recipe.of(TrainSettings(recipe="improved"))
    asked = Recipe.of(TrainSettings(recipe="improved", learning_rate=5e-4, rotate_flip=False))
    assert asked.learning_rate == 5e-4
    assert not asked.rotate_flip
    assert asked.epochs == named.epochs
    with pytest.raises(SettingsError, match="'best'"):
        Recipe.of(TrainSettings(recipe="best"))  # type: ignore[arg-type]


@given(st.integers(20, 5000))
def test_the_step_size_rises_to_its_full_value_and_falls_to_its_end(steps: int) -> None:
    rates = [learning_rate(RISING, step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert top <= 0.1 * steps + 1
    assert max(rates) == pytest.approx(2e-3, rel=0.2)
    assert rates[0] > 0
    assert all(a < b for a, b in pairwise(rates[: top + 1]))
    assert all(a >= b for a, b in pairwise(rates[top:]))
    assert learning_rate(RISING, steps, steps) == pytest.approx(2e-3 * 0.05)


def test_the_kl_weight_rises_linearly_to_one() -> None:
    shares = [kl_share(RISING, step, 100) for step in range(100)]
    assert 0 < shares[0] < 0.1
    assert shares[10] == pytest.approx(11 / 21)
    assert set(shares[20:]) == {1.0}


def test_averages_follow_quickly_at_first() -> None:
    recipe = Recipe(ema_decay=0.99)
    assert average_share(recipe, 0) == 0.1
    assert average_share(recipe, 100_000) == 0.99


def test_an_average_moves_by_what_is_not_kept() -> None:
    torch.manual_seed(0)
    averaged, vae = VAE(), VAE()
    before, live = averaged.state_dict()["encoder.conv1.weight"].clone(), vae.encoder.conv1.weight
    average(averaged, vae, torch.tensor(0.75))
    after = averaged.state_dict()["encoder.conv1.weight"]
    assert torch.allclose(after, 0.75 * before + 0.25 * live, atol=1e-7)


def test_a_loss_that_is_not_finite_leaves_weights_and_optimizer_alone() -> None:
    vae = VAE()
    optimizer = new_optimizer(vae, Recipe(), CPU)
    vae.encoder.conv1.weight.sum().backward()
    before = vae.encoder.conv1.weight.detach().clone()
    rate = torch.tensor(1e-3)
    step_where_finite(optimizer, rate, torch.tensor(float("nan")))
    assert torch.equal(vae.encoder.conv1.weight, before)
    step_where_finite(optimizer, rate, torch.tensor(1.0))
    moved = (vae.encoder.conv1.weight - before).abs()
    assert torch.allclose(moved, torch.full_like(moved, 1e-3), rtol=1e-3), "Adam's first step"


def terms(*reconstruction: float) -> tuple[StepTerms, Batch]:
    values = torch.tensor(reconstruction)
    pixels = torch.zeros(len(values), 3, 2, 2, dtype=torch.uint8)
    indices = tuple(range(len(values)))
    found = StepTerms(ElboTerms(values, 0.5 * values), None)
    return found, Batch(pixels, indices, values.double() / 4)


def test_a_tally_is_exact_and_begins_again() -> None:
    tally, state = Meters(CPU), TrainState()
    tally.add(*terms(1.0, 3.0), 0)
    tally.add(*terms(8.0), 1)
    assert tally.flush(state) is None
    assert state.sums == {"images": 3, "reconstruction": 12.0, "kl": 6.0, "entropy": 3.0}
    assert tally.flush(state) is None
    tally.add(*terms(2.0), 2)
    tally.flush(state)
    assert state.sums["reconstruction"] == 14.0
    assert state.mean("kl") == 7 / 4


def test_a_tally_keeps_the_consistency_of_steps_that_have_one() -> None:
    tally, state = Meters(CPU, consistency=True), TrainState()
    for value in (0.5, 1.5):
        found, batch = terms(1.0, 3.0)
        tally.add(replace(found, consistency=torch.full((2,), value)), batch, 0)
    assert tally.flush(state) is None
    assert state.mean("consistency") == 1.0
    assert state.mean("reconstruction") == 2.0


def test_a_tally_tells_the_first_step_that_was_not_finite() -> None:
    tally = Meters(CPU)
    for step, value in enumerate((1.0, float("nan"), float("inf"), 2.0)):
        tally.add(*terms(value), step)
    assert tally.flush(TrainState()) == 1
