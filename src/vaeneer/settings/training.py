"""Settings of training, the named recipes, and settings read from TOML files.

Flags, `--help`, docs/cli.md and config.toml are all made from these dataclasses; the text below a
field is its help everywhere. Standard library only.
"""

import dataclasses
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from vaeneer.errors import SettingsError
from vaeneer.settings.base import (
    SEED,
    Changed,
    Count,
    CountOrZero,
    DeviceSettings,
    FolderSettings,
    NotNegative,
    Positive,
    Range,
    Seed,
    Share,
    own_fields_first,
)

SURFACES = 192
"""How many surfaces `synthesize` makes."""
SURFACE_SIDE_PX = 384
SidePx = Annotated[int, Range(ge=64)]
"""Of a surface that `synthesize` makes."""
SAMPLES = 16
"""How many samples `sample` draws."""
RECONSTRUCTIONS = 8
"""How many images `reconstruct` chooses from a folder."""
INVARIANCES = ("light", "turn", "scale")
"""What two crops of one surface may differ in, as `invariant_to` names it."""
USUAL_LIGHT = 1.0
ColorJitter = Annotated[float, Range(ge=0, le=5)]
WIDE_SCALE_MIN = 0.1
"""With `scale`, crops go down to this share of an image: one side three times the other's."""
ARCHITECTURES = {
    "reference": "vaeneer.model.reference",
    "surface": "vaeneer.model.surface",
}
"""Name of each network and its module, whose `layers` gives a new encoder and decoder. A line is
all that a new architecture needs here; rows of RECIPES may follow."""
if TYPE_CHECKING:
    Architecture = str
else:
    Architecture = Literal[tuple(ARCHITECTURES)]  # --help lists the names, errors hint at them
_RENAMED = {
    "averaging": "ema_decay",
    "final_rate": "min_lr_ratio",
    "warmup": "warmup_fraction",
    "kl_warmup": "kl_warmup_fraction",
    "start": "init",
    "turns": "rotate_flip",
    "light": "color_jitter",
    "loss": "reconstruction_loss",
}
"""Names in the config.toml of runs from before vaeneer 0.1 -> today's."""


@own_fields_first
@dataclass(frozen=True, kw_only=True)
class TrainSettings(DeviceSettings, FolderSettings):
    """How a model is trained; what is left out is as the recipe says, by default `surface`."""

    recipe: Literal["surface", "improved", "reference", "seed"] | None = None
    """Values for what is left out: surface (default) trains latents that find the same surface
    again, improved predicts pixels, reference is the plain VAE to compare with (seed is another
    name of it)."""

    architecture: Architecture | None = None
    """The network: the plain VAE, or the one for surfaces; by default the recipe's, or that of
    --init-from."""

    init_from: str | None = None
    """Start from the weights of this model (a folder, a run, a name such as surface-base)."""

    epochs: Count | None = None
    """Passes over the training images (surface: 12, reference: 16)."""

    batch_size: Count | None = None
    """Crops in one step (surface: 32, reference: 16)."""

    learning_rate: Positive | None = None
    """Step size of Adam (surface and reference: 0.001)."""

    init: Literal["pytorch", "scaled"] | None = None
    """First weights: PyTorch's own (reference), or scaled so that no signal shrinks and the first
    output is the mean colour (surface)."""

    warmup_fraction: Share | None = None
    """Share of all steps over which the step size rises from 0 (surface: 0.1, reference: 0)."""

    min_lr_ratio: Share | None = None
    """Share of the step size that is left at the end of a cosine (surface: 0.01; reference: 1,
    constant)."""

    kl_warmup_fraction: Share | None = None
    """Share of all steps over which the weight of the KL term rises to beta (0 in every recipe)."""

    weight_decay: NotNegative | None = None
    """Decoupled weight decay, as in AdamW (0 in every recipe)."""

    clip_norm: NotNegative | None = None
    """Largest norm of a gradient; longer ones are shortened to it (surface: 20000; reference: 0,
    off)."""

    ema_decay: Share | None = None
    """Share of the averaged weights that each step keeps, such as 0.998; the averaged weights are
    what is measured and saved (0, off, in every recipe)."""

    views: Count | None = None
    """Crops of one surface in a step, of all its images in turn (surface: 2, reference: 1)."""

    invariant_to: str | None = None
    """What crops of one surface differ in beside their place: some of light,turn,scale, or none.
    Sets --rotate-flip, --color-jitter and --crop-scale-min where they are left out."""

    rotate_flip: bool | None = None
    """Also turn crops by quarters and mirror them (surface: yes, reference: no)."""

    color_jitter: ColorJitter | None = None
    """Strength of random changes of gamma, colour and brightness; 0 is off (reference), 1
    usual (surface)."""

    consistency: Literal["off", "infonce", "vicreg", "kl"] | None = None
    """Term that asks crops of one surface to agree in their latents; needs 2 views (surface:
    infonce, reference: off)."""

    consistency_weight: NotNegative | None = None
    """Nats of the ELBO that one unit of the consistency term weighs (surface: 300, others:
    100)."""

    temperature: Positive | None = None
    """Of infonce: the difference of cosines that counts, such as 0.1."""

    beta: NotNegative = 1.0
    """Weight of the KL term in the training loss (1 is the ELBO)."""

    reconstruction_loss: Literal["bce", "mse"] = "bce"
    """Reconstruction loss: binary cross entropy, or the sum of squared errors."""

    crop_scale_min: Annotated[float, Range(gt=0, le=1)] | None = None
    """Smallest share of an image's area that a training crop may cover (surface: 0.125,
    reference: 0.2)."""

    crop_scale_max: Annotated[float, Range(gt=0, le=1)] | None = None
    """Largest share of an image's area that a training crop may cover (surface: 0.6,
    reference: 1)."""

    crop_ratio_min: Positive | None = None
    """Smallest width / height of a training crop before it is resized (3/4)."""

    crop_ratio_max: Positive | None = None
    """Largest width / height of a training crop before it is resized (4/3)."""

    seed: Seed = SEED
    """Seed of the weights, the order, the crops and the latents."""

    checkpoint_every: Count = 5
    """Epochs between the models kept under checkpoints/."""

    state_every_minutes: Positive = 10.0
    """Minutes between the resume states written inside a long epoch."""

    workers: CountOrZero = 0
    """Processes that decode, threads that cut crops; 0 chooses by the cores and the device."""

    tensorboard: bool = False
    """Also write TensorBoard events (they need: pip install tensorboard)."""

    def __post_init__(self) -> None:
        if self.recipe == "seed":  # its name in older runs and scripts
            object.__setattr__(self, "recipe", "reference")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is started, fed and stepped; the defaults are the reference's."""

    architecture: Architecture = "reference"
    epochs: int = 16
    batch_size: int = 16
    learning_rate: float = 1e-3
    init: Literal["pytorch", "scaled"] = "pytorch"
    warmup_fraction: float = 0.0
    min_lr_ratio: float = 1.0
    kl_warmup_fraction: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    views: int = 1
    invariant_to: str | None = None
    rotate_flip: bool = False
    color_jitter: float = 0.0
    crop_scale_min: float = 0.2
    crop_scale_max: float = 1.0
    crop_ratio_min: float = 3 / 4
    crop_ratio_max: float = 4 / 3
    consistency: Literal["off", "infonce", "vicreg", "kl"] = "off"
    consistency_weight: float = 100.0
    temperature: float = 0.1

    @classmethod
    def of(cls, settings: TrainSettings) -> "Recipe":
        """What `settings` asks for, and where it leaves things open, what its recipe says.

        What `invariant_to` says of turns, light and scale stands between the two.
        Raises SettingsError for an unknown recipe, for unknown invariances, and for views that
        do not go together with the batch size or the consistency term.
        """
        named = _named(settings)
        asked = {field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)}
        given = {name: value for name, value in asked.items() if value is not None}
        recipe = dataclasses.replace(named, **given)
        recipe = dataclasses.replace(recipe, **(_implied(recipe) | given))
        if 1 < recipe.views > recipe.batch_size // 2:
            raise SettingsError(
                f"views is {recipe.views}, so a step of {recipe.batch_size} crops holds fewer than"
                f" two surfaces; use a batch_size of {2 * recipe.views} or more."
            )
        if recipe.consistency != "off" and recipe.views < 2:
            raise SettingsError(
                f"consistency is {recipe.consistency}, which compares crops of one surface, and"
                f" views is {recipe.views}; use --views 2 or more."
            )
        return recipe

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
        "rotate_flip": "turn" in words,
        "color_jitter": USUAL_LIGHT if "light" in words else 0.0,
        "crop_scale_min": scale_min,
    }


def _named(settings: TrainSettings) -> Recipe:
    name = settings.recipe or default_recipe(settings.architecture)
    known = [architecture for recipe, architecture in RECIPES if recipe == name]
    if not known:
        raise SettingsError(f"There is no recipe {name!r}; use surface, improved or reference.")
    architecture = settings.architecture or known[0]
    if not has_recipe(name, architecture):
        raise SettingsError(
            f"The recipe {name!r} has no values for the architecture {architecture!r};"
            f" use {' or '.join(known)}, or another --recipe."
        )
    values = RECIPES.get((name, architecture), RECIPES[name, known[0]])
    return dataclasses.replace(values, architecture=architecture)


def has_recipe(name: str | None, architecture: str) -> bool:
    """Whether a recipe can train an architecture; one without rows in RECIPES takes every recipe's
    first row."""
    return (name, architecture) in RECIPES or architecture not in {other for _, other in RECIPES}


_IMPROVED = Recipe(
    epochs=36,
    learning_rate=2e-3,
    init="scaled",
    warmup_fraction=0.1,
    min_lr_ratio=0.01,
    clip_norm=2e4,
    rotate_flip=True,
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
    color_jitter=USUAL_LIGHT,
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


def read_settings(
    path: Path, kind: type[Changed], section: str, *, ignore: tuple[str, ...] = ()
) -> Changed:
    """Read one section of a TOML file into its dataclass; names in `ignore` may stand there too.

    Raises SettingsError for a file that cannot be read and for unknown names, with a hint.
    """
    table = read_sections(path).get(section)
    if table is None:
        raise SettingsError(f"{path} has no section [{section}].")
    names = {field.name for field in dataclasses.fields(kind)}
    table = {_current_name(name, value, names): value for name, value in table.items()}
    for name in table:
        if name not in names and name not in ignore:
            raise unknown_name(path, f"setting {name!r}", name, names)
    return kind(**{name: value for name, value in table.items() if name in names})


def _current_name(name: str, value: object, names: set[str]) -> str:
    """Today's name of a setting; `init` once named the model to start from."""
    if name == "init" and "init_from" in names and value not in ("pytorch", "scaled"):
        return "init_from"
    return name if name in names else _RENAMED.get(name, name)


def read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a TOML file of settings. Raises SettingsError when it cannot be read."""
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as TOML settings: {error}.") from error
    loose = [name for name, value in sections.items() if not isinstance(value, dict)]
    if loose:
        raise SettingsError(f"{path} has {loose[0]!r} outside a section, such as [train].")
    return sections


def unknown_name(path: Path, what: str, name: str, known: Iterable[str]) -> SettingsError:
    """The error for an unknown name in a settings file, with the nearest known one as a hint."""
    import difflib

    close = difflib.get_close_matches(name, list(known), 1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return SettingsError(f"{path} has the unknown {what}{hint}")
