"""Settings of the read-out and of vectors, as in config.py. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vaeneer.bounds import SEED, require, require_shares, require_types
from vaeneer.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class ReadoutSettings:
    """How latents become the vectors that search compares; each step can be switched off."""

    centre: bool = True
    """Take away the mean latent."""

    dead: float = 1e-3
    """Leave out latents that vary less than this share of the one that varies most; 0 is off."""

    whiten: bool = True
    """Make small what varies between crops of one image (within-asset whitening)."""

    shrinkage: float = 0.5
    """How far that covariance is drawn to a multiple of the identity, 0 to 1."""

    dimensions: int = 128
    """Numbers in a vector, at most: the directions in which images differ most; 0 keeps all."""

    weigh: float = 0.0
    """Multiply each direction by its variance between images over that within, to this power."""

    norm: bool = True
    """Scale the vectors to length 1."""

    def __post_init__(self) -> None:
        require_types(self)
        require_shares(self, "shrinkage")
        if not 0 <= self.dead < 1:
            raise SettingsError(f"dead is {self.dead}; it is a share, use 0 (off) to below 1.")
        if self.dimensions < 0:
            raise SettingsError(f"dimensions is {self.dimensions}; use 0 (all) or more.")
        if not -2 <= self.weigh <= 2:
            raise SettingsError(f"weigh is {self.weigh}; use -2 to 2, 0 is off.")


@dataclass(frozen=True, kw_only=True)
class CalibrateSettings(ReadoutSettings):
    """How a model's read-out, and the probability of the same surface, are fitted."""

    draws: int = 4
    """How often the four crops of each image are drawn."""

    light: bool = True
    """Also change gamma, colour and brightness of each crop, so that light stops to matter."""

    max_images: int = 2000
    """Images of each side that take part; of a larger folder, a seeded sample."""

    different_pairs: int = 100000
    """Most pairs of crops from two assets behind the probability."""

    batch_size: int = 16
    """Crops in one forward pass; changes the speed, not the figures."""

    seed: int = SEED
    """Seed of the crops, the pairs and the sample."""

    all_maps: bool = False
    """Also take normal maps, roughness and the like; by default colour maps only, as told by their
    names. A prepared data set is taken as it is."""

    cache: Path | None = None
    """Folder for the packs of decoded images; by default in the user's cache."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto is bfloat16 where the hardware has it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, draws=1, max_images=2, different_pairs=1, batch_size=1, seed=0)


@dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """How images become vectors."""

    vectors: Literal["embedding", "latent"] = "embedding"
    """The unit vectors that search compares, or the latent of the image squeezed to a square."""

    views: Literal["all", "squares", "tiles", "centre"] = "all"
    """What an embedding is the average of: squares along the image, tiles of half their side,
    all of both, or the central square alone."""

    batch_size: int = 16
    """Images in one forward pass; changes the speed, not the vectors."""

    shard: str | None = None
    """Only the i-th of n parts of the folder, as i/n, into OUT.shard-i-of-n.parquet; vaeneer
    merge-vectors OUT joins them."""

    all_maps: bool = False
    """Also take normal maps, roughness and the like; by default colour maps only, as told by their
    names. A prepared data set is taken as it is."""

    cache: Path | None = None
    """Folder for the pack of decoded images; by default in the user's cache."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto is bfloat16 where the hardware has it."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self, batch_size=1)
