"""What each named recipe of training stands for, and what a user's settings make of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from vaeneer.config import TrainSettings
from vaeneer.errors import SettingsError

INVARIANCES = ("light", "turn", "scale")
"""What two crops of one surface may differ in, as `invariant_to` names it."""
USUAL_LIGHT = 1.0
WIDE_SCALE_MIN = 0.1
"""With `scale`, crops go down to this share of an image: one side three times the other's."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is started, fed and stepped; the defaults are the reference's."""

    architecture: Literal["reference", "surface"] = "reference"
    epochs: int = 16
    batch_size: int = 16
    learning_rate: float = 1e-3
    start: Literal["pytorch", "scaled"] = "pytorch"
    warmup: float = 0.0
    final_rate: float = 1.0
    kl_warmup: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    averaging: float = 0.0
    views: int = 1
    invariant_to: str | None = None
    turns: bool = False
    light: float = 0.0
    crop_scale_min: float = 0.2
    crop_scale_max: float = 1.0
    crop_ratio_min: float = 3 / 4
    crop_ratio_max: float = 4 / 3
    consistency: Literal["off", "infonce", "vicreg", "kl"] = "off"
    consistency_weight: float = 100.0
    temperature: float = 0.1

    @classmethod
    def of(cls, settings: TrainSettings) -> Recipe:
        """What `settings` asks for, and where it leaves things open, what its recipe says.

        What `invariant_to` says of turns, light and scale stands between the two.
        Raises SettingsError for an unknown recipe and for unknown invariances.
        """
        named = _named(settings)
        asked = {field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)}
        given = {name: value for name, value in asked.items() if value is not None}
        recipe = dataclasses.replace(named, **given)
        return dataclasses.replace(recipe, **(_implied(recipe) | given))

    @property
    def varies_scale(self) -> bool:
        """Whether crops of one surface are asked to agree at different scales."""
        return self.invariant_to is not None and "scale" in invariances(self.invariant_to)

    @property
    def one_scale(self) -> bool:
        """Whether the views of one asset in a step show it at one scale."""
        return self.invariant_to is not None and "scale" not in invariances(self.invariant_to)


def invariances(text: str) -> frozenset[str]:
    """The words of a list like "light,turn"; "none" has none. Raises SettingsError for others."""
    words = {word.strip() for word in text.split(",")}
    unknown = sorted(words - {*INVARIANCES, "none"})
    if unknown or (len(words) > 1 and "none" in words):
        raise SettingsError(
            f"invariant_to is {text!r}; use some of {', '.join(INVARIANCES)} with commas between"
            " them, or none."
        )
    return frozenset(words - {"none"})


def default_recipe(architecture: str | None = None) -> Literal["surface", "reference"]:
    """The recipe where none is named: the reference network's own for it, else the best one."""
    return "reference" if architecture == "reference" else "surface"


def _implied(recipe: Recipe) -> dict[str, Any]:
    """What the invariances of a recipe say of its crops."""
    if recipe.invariant_to is None:
        return {}
    words = invariances(recipe.invariant_to)
    scale_min = min(recipe.crop_scale_min, WIDE_SCALE_MIN if "scale" in words else 1.0)
    return {
        "turns": "turn" in words,
        "light": USUAL_LIGHT if "light" in words else 0.0,
        "crop_scale_min": scale_min,
    }


def _named(settings: TrainSettings) -> Recipe:
    name = settings.recipe or default_recipe(settings.architecture)
    known = [architecture for recipe, architecture in RECIPES if recipe == name]
    if not known:
        raise SettingsError(f"There is no recipe {name!r}; use surface, improved or reference.")
    architecture = settings.architecture or known[0]
    if architecture not in known:
        raise SettingsError(
            f"The recipe {name!r} has no values for the architecture {architecture!r};"
            f" use {' or '.join(known)}, or another --recipe."
        )
    return RECIPES[name, architecture]


_IMPROVED = Recipe(
    epochs=36,
    learning_rate=2e-3,
    start="scaled",
    warmup=0.1,
    final_rate=0.01,
    clip_norm=2e4,
    turns=True,
)
_IMPROVED_SURFACE = dataclasses.replace(
    _IMPROVED, architecture="surface", epochs=24, learning_rate=1e-3
)
_SURFACE = dataclasses.replace(
    _IMPROVED_SURFACE,
    epochs=12,
    batch_size=32,
    views=2,
    invariant_to="light,turn",
    light=USUAL_LIGHT,
    crop_scale_min=0.125,
    crop_scale_max=0.6,
    consistency="infonce",
    consistency_weight=300.0,
)
RECIPES = {
    ("reference", "reference"): Recipe(),
    ("reference", "surface"): Recipe(architecture="surface"),
    ("improved", "reference"): _IMPROVED,
    ("improved", "surface"): _IMPROVED_SURFACE,
    ("surface", "surface"): _SURFACE,
}
"""The values of each recipe for each architecture; the first architecture is the default one."""
