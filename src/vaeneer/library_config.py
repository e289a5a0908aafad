"""Settings of a library: indexing, search, duplicates, the map; as in config.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from vaeneer.bounds import require, require_positive, require_types
from vaeneer.errors import SettingsError
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

    exact_places: bool = True
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
    exact_places: bool


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

    fresh: bool = False
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

    most: int = 50
    """How many to list at most, the strangest first."""

    neighbours: int = 10
    """How many nearest items each is compared with."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self, most=0, neighbours=1)
