"""Settings of libraries, projections and vectors. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from vaeneer.errors import SettingsError
from vaeneer.settings.base import SEED, require, require_positive, require_shares, require_types
from vaeneer.text import is_utf8


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """How a folder of images becomes a library."""

    parts: Literal["auto", "none", "halves", "quarters"] = "auto"
    """The smallest parts of an image that search by region finds and places: of half its short
    side, or of a quarter too (four times the work); none finds whole images only. auto is quarters
    for up to 2,000 images, else halves. A library keeps what it began with."""

    exclude: tuple[str, ...] | None = None
    """Leave out paths below the folder that fit a pattern as in .gitignore, without case: wip/ or
    *.psd. Repeatable. By default as in the run before; --empty-exclude ends it."""

    include_previews: bool | None = None
    """Also take folders of thumbnails, and previews and much smaller copies beside their originals.
    By default as in the run before, at first not."""

    min_side_px: int = 64
    """Images with a shorter side are skipped."""

    max_megapixels: float = 500.0
    """Images with more are skipped before they are decoded."""

    batch_size: int = 16
    """Crops in one forward pass; changes the speed, not the vectors."""

    workers: int = 0
    """Processes that decode images; 0 takes one for each core."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto is bfloat16 where the hardware has it."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self, min_side_px=16, batch_size=1, workers=0)
        require_positive(self, "max_megapixels")


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Which hits a search returns."""

    k: int = 10
    """Max number of hits."""

    where: str | None = None
    """A condition on the items: category = 'wood' and width >= 1024 (docs/library.md)."""

    category: str | None = None
    """Only items of this category."""

    tag: str | None = None
    """Only items with this tag."""

    min_probability: float = 0.0
    """Min probability of a hit, 0 to 1; less probable ones are left out."""

    likely_threshold: float = 0.5
    """Min probability of a hit that counts as a likely match, 0 to 1; below it a hit is only
    similar."""

    exclude_duplicates: bool = False
    """Leave out copies of the query, and of better hits."""

    parts: bool = False
    """Compare with the parts of images, also without a box; each hit has the place of its best
    part."""

    exact_match: bool = True
    """Prove by local features which hits contain the pixels of the query; these come first, with
    their place to the pixel."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self, k=1, min_probability=0, likely_threshold=0)
        for name in ("min_probability", "likely_threshold"):
            if getattr(self, name) > 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; use 0 to 1.")
        for name, text in (("category", self.category), ("tag", self.tag)):
            if text is not None and not is_utf8(text):
                raise SettingsError(f"{name} is {text!r}, which is not UTF-8; no item has it.")


class SearchOptions(TypedDict, total=False):
    """The fields of SearchSettings as keywords of `search`."""

    k: int
    where: str | None
    category: str | None
    tag: str | None
    min_probability: float
    likely_threshold: float
    exclude_duplicates: bool
    parts: bool
    exact_match: bool


@dataclass(frozen=True, kw_only=True)
class DuplicatesSettings:
    """Which pictures count as copies of each other."""

    threshold: float | Literal["auto"] = "auto"
    """Least likeness of a pair, 0 to 1; auto takes what was measured best (docs/library.md)."""

    page: int = 1
    """Which page of groups to answer, from 1."""

    page_size: int = 0
    """Groups on a page; 0 answers all."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self, page=1, page_size=0)
        if self.threshold != "auto" and not 0 < self.threshold <= 1:
            raise SettingsError(f"threshold is {self.threshold!r}; use auto, or 0.01 to 1.")


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """How a library is laid out on a plane."""

    perplexity: float | None = None
    """About how many neighbours each item looks at, less in a small library; by default that of
    the layout which the library keeps, of a new one 15."""

    colour: Literal["cluster", "category"] = "cluster"
    """What the frames of the pictures show."""

    recompute: bool = False
    """Compute a new layout, instead of placing only what is new."""

    seed: int | None = None
    """Seed of the layout; by default that of the layout which the library keeps, of a new one 0."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self, perplexity=1, seed=0)


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Which items form a cluster."""

    min_size: int = 0
    """Items that a cluster has at least; 0 is 5, and in a large library a quarter of the root of
    its items."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self, min_size=0)


@dataclass(frozen=True, kw_only=True)
class OutliersSettings:
    """Which items do not belong."""

    limit: int = 50
    """How many to list at most, the strangest first."""

    neighbours: int = 10
    """How many nearest items each is compared with."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self, limit=0, neighbours=1)


@dataclass(frozen=True, kw_only=True)
class ReadoutSettings:
    """How latents become the vectors that search compares; each step can be switched off."""

    centre: bool = True
    """Take away the mean latent."""

    min_relative_std: float = 1e-3
    """Leave out latents that vary less than this share of the one that varies most; 0 is off."""

    whiten: bool = True
    """Make small what varies between crops of one image (within-asset whitening)."""

    shrinkage: float = 0.5
    """How far that covariance is drawn to a multiple of the identity, 0 to 1."""

    dimensions: int = 128
    """Numbers in a vector, at most: the directions in which images differ most; 0 keeps all."""

    discriminant_power: float = 0.0
    """Multiply each direction by its variance between images over that within, to this power."""

    norm: bool = True
    """Scale the vectors to length 1."""

    def __post_init__(self) -> None:
        require_types(self)
        require_shares(self, "shrinkage")
        if not 0 <= self.min_relative_std < 1:
            raise SettingsError(
                f"min_relative_std is {self.min_relative_std}; it is a share, use 0 (off) to"
                " below 1."
            )
        if self.dimensions < 0:
            raise SettingsError(f"dimensions is {self.dimensions}; use 0 (all) or more.")
        if not -2 <= self.discriminant_power <= 2:
            raise SettingsError(
                f"discriminant_power is {self.discriminant_power}; use -2 to 2, 0 is off."
            )


@dataclass(frozen=True, kw_only=True)
class CalibrateSettings(ReadoutSettings):
    """How a model's read-out, and the probability of the same surface, are fitted."""

    draws: int = 4
    """How often the four crops of each image are drawn."""

    color_jitter: bool = True
    """Change gamma, colour and brightness of each crop, for invariance to light."""

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
