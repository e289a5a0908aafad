"""Every persistent setting once: name, type, default, unit and help. Standard library only.

Flags, `--help`, docs/cli.md and config.toml are all made from these dataclasses; the text below a
field is its help everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vaeneer.bounds import LARGEST_SEED as LARGEST_SEED
from vaeneer.bounds import SEED as SEED
from vaeneer.bounds import require as require
from vaeneer.bounds import require_number as require_number
from vaeneer.bounds import require_positive, require_shares, require_types
from vaeneer.embedding_config import CalibrateSettings as CalibrateSettings
from vaeneer.embedding_config import EmbedSettings as EmbedSettings
from vaeneer.embedding_config import ReadoutSettings as ReadoutSettings
from vaeneer.errors import SettingsError
from vaeneer.library_config import ClusterSettings as ClusterSettings
from vaeneer.library_config import DuplicatesSettings as DuplicatesSettings
from vaeneer.library_config import IndexSettings as IndexSettings
from vaeneer.library_config import MapSettings as MapSettings
from vaeneer.library_config import OutliersSettings as OutliersSettings
from vaeneer.library_config import SearchOptions as SearchOptions
from vaeneer.library_config import SearchSettings as SearchSettings
from vaeneer.measuring_config import BenchSettings as BenchSettings
from vaeneer.measuring_config import EvaluateSettings as EvaluateSettings
from vaeneer.measuring_config import SimilaritySettings as SimilaritySettings
from vaeneer.serving_config import ServeSettings as ServeSettings

SURFACES = 192
"""How many surfaces `synthesize` makes."""
SURFACE_SIDE_PX = 384
SAMPLES = 16
"""How many samples `sample` draws."""
RECONSTRUCTIONS = 8
"""How many images `reconstruct` chooses from a folder."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """How a raw folder becomes a data set."""

    valid_fraction: float = 0.15
    """Share of the assets that is held out for validation, 0 to 1."""

    seed: int = SEED
    """Seed of the split; the same seed always sends the same asset to the same side."""

    min_side_px: int = 64
    """Images with a shorter side than this are skipped."""

    max_megapixels: float = 500.0
    """Images with more pixels than this are skipped undecoded (decompression bombs)."""

    near_duplicate_bits: int = 6
    """Bits of 64 in which perceptual hashes of near duplicates may differ; where the light and
    dark of their thumbnails agree, twice as many."""

    exclude: tuple[str, ...] | None = None
    """Leave out paths below the folder that fit a pattern as in .gitignore, without case: wip/ or
    *.psd. Repeatable. By default as in the run before; --empty-exclude ends it."""

    include_previews: bool | None = None
    """Also take folders of thumbnails, and previews and much smaller copies beside their originals.
    By default as in the run before, at first not."""

    split: Path | None = None
    """CSV file (columns: file, split) with a given split; files it does not name are skipped."""

    workers: int = 0
    """Processes that decode; 0 takes one for each core."""

    def __post_init__(self) -> None:
        require_types(self)
        limits = {
            "valid_fraction": (0 < self.valid_fraction < 1, "between 0 and 1"),
            "min_side_px": (self.min_side_px >= 1, "1 or more"),
            "max_megapixels": (self.max_megapixels > 0, "more than 0"),
            "near_duplicate_bits": (0 <= self.near_duplicate_bits <= 31, "0 to 31"),
            "workers": (self.workers >= 0, "0 or more"),
        }
        for name, (good, allowed) in limits.items():
            if not good:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be {allowed}.")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained; what is left out is as the recipe says, by default `surface`."""

    recipe: Literal["surface", "improved", "reference", "seed"] | None = None
    """Values for what is left out: surface (default) trains latents that find the same surface
    again, improved predicts pixels, reference is the plain VAE to compare with (seed is another
    name of it)."""

    architecture: Literal["reference", "surface"] | None = None
    """The network: the plain VAE, or the one for surfaces; by default the recipe's, or --init's."""

    init: str | None = None
    """Start from the weights of this model (a folder, a run, a name such as surface-base)."""

    epochs: int | None = None
    """Passes over the training images (surface: 12, reference: 16)."""

    batch_size: int | None = None
    """Crops in one step (surface: 32, reference: 16)."""

    learning_rate: float | None = None
    """Step size of Adam (surface and reference: 0.001)."""

    start: Literal["pytorch", "scaled"] | None = None
    """First weights: PyTorch's own (reference), or scaled so that no signal shrinks and the first
    output is the mean colour (surface)."""

    warmup: float | None = None
    """Share of all steps over which the step size rises from 0 (surface: 0.1, reference: 0)."""

    final_rate: float | None = None
    """Share of the step size that is left at the end of a cosine (surface: 0.01; reference: 1,
    constant)."""

    kl_warmup: float | None = None
    """Share of all steps over which the weight of the KL term rises to beta (0 in every recipe)."""

    weight_decay: float | None = None
    """Decoupled weight decay, as in AdamW (0 in every recipe)."""

    clip_norm: float | None = None
    """Largest norm of a gradient; longer ones are shortened to it (surface: 20000; reference: 0,
    off)."""

    averaging: float | None = None
    """Share of the averaged weights that each step keeps, such as 0.998; the averaged weights are
    what is measured and saved (0, off, in every recipe)."""

    views: int | None = None
    """Crops of one surface in a step, of all its images in turn (surface: 2, reference: 1)."""

    invariant_to: str | None = None
    """What crops of one surface differ in beside their place: some of light,turn,scale, or none.
    Sets --turns, --light and --crop-scale-min where they are left out."""

    turns: bool | None = None
    """Also turn crops by quarters and mirror them (surface: yes, reference: no)."""

    light: float | None = None
    """Strength of random changes of gamma, colour and brightness; 0 is off (reference), 1
    usual (surface)."""

    consistency: Literal["off", "infonce", "vicreg", "kl"] | None = None
    """Term that asks crops of one surface to agree in their latents; needs 2 views (surface:
    infonce, reference: off)."""

    consistency_weight: float | None = None
    """Nats of the ELBO that one unit of the consistency term weighs (surface: 300, others:
    100)."""

    temperature: float | None = None
    """Of infonce: the difference of cosines that counts, such as 0.1."""

    beta: float = 1.0
    """Weight of the KL term in the training loss (1 is the ELBO)."""

    loss: Literal["bce", "mse"] = "bce"
    """Reconstruction loss: binary cross entropy, or the sum of squared errors."""

    crop_scale_min: float | None = None
    """Smallest share of an image's area that a training crop may cover (surface: 0.125,
    reference: 0.2)."""

    crop_scale_max: float | None = None
    """Largest share of an image's area that a training crop may cover (surface: 0.6,
    reference: 1)."""

    crop_ratio_min: float | None = None
    """Smallest width / height of a training crop before it is resized (3/4)."""

    crop_ratio_max: float | None = None
    """Largest width / height of a training crop before it is resized (4/3)."""

    seed: int = SEED
    """Seed of the weights, the order, the crops and the latents."""

    checkpoint_every: int = 5
    """Epochs between the models kept under checkpoints/."""

    state_every_minutes: float = 10.0
    """Minutes between the resume states written inside a long epoch."""

    all_maps: bool = False
    """Also take normal maps, roughness and the like; by default colour maps only, as told by their
    names. A prepared data set is taken as it is."""

    cache: Path | None = None
    """Folder for the packs of decoded images; by default in the user's cache."""

    workers: int = 0
    """Processes that decode, threads that cut crops; 0 chooses by the cores and the device."""

    device: str = "auto"
    """Where to train: auto, cpu, cuda or cuda:N."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto is bfloat16 where the hardware has it."""

    tensorboard: bool = False
    """Also write TensorBoard events (they need: pip install tensorboard)."""

    def __post_init__(self) -> None:
        if self.recipe == "seed":  # its name in older runs and scripts
            object.__setattr__(self, "recipe", "reference")
        require_types(self)
        require(self, checkpoint_every=1, beta=0, seed=0, workers=0, epochs=1, batch_size=1)
        require(self, views=1, weight_decay=0, clip_norm=0, consistency_weight=0)
        require_positive(self, "temperature", "learning_rate", "state_every_minutes")
        require_shares(self, "warmup", "final_rate", "kl_warmup", "averaging")
