"""What a recipe stands for, and what a user's settings make of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vaeneer.data.crops import CropRecipe
from vaeneer.errors import SettingsError
from vaeneer.settings import (
    RECIPES,
    WIDE_SCALE_MIN,
    PrepareSettings,
    Recipe,
    TrainSettings,
    invariances,
    read_settings,
)


def test_a_recipe_names_its_architecture() -> None:
    reference = Recipe.of(TrainSettings(recipe="reference"))
    assert reference.architecture == "reference"
    changed = TrainSettings(recipe="reference", architecture="surface")
    assert Recipe.of(changed) == replace(reference, architecture="surface")
    for (_, architecture), recipe in RECIPES.items():
        assert recipe.architecture == architecture


@pytest.mark.parametrize(
    ("text", "expected"),
    [("light,turn,scale", {"light", "turn", "scale"}), (" turn , light", {"turn", "light"}),
     ("none", set())],
)  # fmt: skip
def test_invariances_are_words_between_commas(text: str, expected: set[str]) -> None:
    assert invariances(text) == expected


@pytest.mark.parametrize("text", ["", "weather", "light,,turn", "none,light", "light turn"])
def test_other_invariances_are_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(SettingsError, match=r"invariant_to.*light, turn, scale"):
        Recipe.of(TrainSettings(invariant_to=text))


def test_invariances_choose_the_crops() -> None:
    crops = CropRecipe.of(TrainSettings(recipe="reference", invariant_to="light,turn,scale"))
    assert (crops.color_jitter, crops.rotate_flip, crops.scale) == (
        1.0,
        True,
        (WIDE_SCALE_MIN, 1.0),
    )
    crops = CropRecipe.of(TrainSettings(recipe="improved", invariant_to="none"))
    assert (crops.color_jitter, crops.rotate_flip, crops.scale) == (0.0, False, (0.2, 1.0))


def test_what_is_given_wins_over_the_invariances() -> None:
    given = TrainSettings(
        recipe="reference",
        invariant_to="light,scale",
        color_jitter=0.5,
        rotate_flip=True,
        crop_scale_min=0.3,
    )
    crops = CropRecipe.of(given)
    assert (crops.color_jitter, crops.rotate_flip, crops.scale) == (0.5, True, (0.3, 1.0))


def test_views_share_their_scale_only_where_scale_was_left_out_on_purpose() -> None:
    assert not Recipe.of(TrainSettings(recipe="reference")).one_scale
    assert not Recipe.of(TrainSettings(invariant_to="scale")).one_scale
    assert Recipe.of(TrainSettings(invariant_to="light")).one_scale


def test_without_invariances_the_crops_are_the_recipe_s() -> None:
    assert CropRecipe.of(TrainSettings(recipe="reference")) == CropRecipe(
        scale=(0.2, 1), ratio=(3 / 4, 4 / 3)
    )
    assert CropRecipe.of(TrainSettings(recipe="improved")).rotate_flip


def test_without_a_recipe_the_best_one_for_surfaces_is_taken() -> None:
    assert Recipe.of(TrainSettings()) == Recipe.of(TrainSettings(recipe="surface"))
    named = TrainSettings(recipe="reference")
    assert Recipe.of(TrainSettings(architecture="reference")) == Recipe.of(named)


def test_seed_is_another_name_of_the_reference_recipe() -> None:
    assert TrainSettings(recipe="seed") == TrainSettings(recipe="reference")
    with pytest.raises(SettingsError, match="use surface, improved or reference"):
        Recipe.of(TrainSettings(recipe="best"))  # type: ignore[arg-type]


def test_the_surface_recipe_brings_its_network_views_and_term() -> None:
    recipe = Recipe.of(TrainSettings(recipe="surface"))
    assert recipe.architecture == "surface"
    assert recipe.views > 1
    assert recipe.consistency == "infonce"
    assert invariances(recipe.invariant_to or "") == {"light", "turn"}
    assert (recipe.color_jitter, recipe.rotate_flip) == (1.0, True)
    with pytest.raises(SettingsError, match=r"'surface'.*'reference'.*--recipe"):
        Recipe.of(TrainSettings(recipe="surface", architecture="reference"))


def test_other_invariances_change_the_surface_recipe() -> None:
    recipe = Recipe.of(TrainSettings(recipe="surface", invariant_to="turn"))
    assert (recipe.color_jitter, recipe.rotate_flip, recipe.one_scale) == (0.0, True, True)
    assert Recipe.of(TrainSettings(recipe="surface", consistency="off")).consistency == "off"


BEFORE = """[train]
averaging = 0.998
final_rate = 0.01
warmup = 0.1
kl_warmup = 0.3
init = "surface-base"
start = "scaled"
turns = true
light = 1.0
loss = "mse"
"""
"""Settings of a run as earlier versions wrote them."""


def test_settings_of_earlier_runs_are_read_by_their_new_names(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(BEFORE)
    assert read_settings(tmp_path / "config.toml", TrainSettings, "train") == TrainSettings(
        ema_decay=0.998,
        min_lr_ratio=0.01,
        warmup_fraction=0.1,
        kl_warmup_fraction=0.3,
        init_from="surface-base",
        init="scaled",
        rotate_flip=True,
        color_jitter=1.0,
        reconstruction_loss="mse",
    )


def test_init_means_what_it_means_now_where_its_value_does(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[train]\ninit = "pytorch"\n')
    read = read_settings(tmp_path / "config.toml", TrainSettings, "train")
    assert (read.init, read.init_from) == ("pytorch", None)


def test_old_names_of_training_are_unknown_to_other_commands(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[prepare]\ninit = "surface-base"\n')
    with pytest.raises(SettingsError, match="unknown setting 'init'"):
        read_settings(tmp_path / "config.toml", PrepareSettings, "prepare")
