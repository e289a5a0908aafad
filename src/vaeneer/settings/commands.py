"""Settings of every command but training. Standard library only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from vaeneer.errors import SettingsError
from vaeneer.settings.base import (
    SEED,
    BatchSettings,
    Checked,
    Count,
    CountOrZero,
    DeviceSettings,
    FolderSettings,
    NotNegative,
    Range,
    ScanSettings,
    Seed,
    Share,
    own_fields_first,
)
from vaeneer.text import is_utf8

ScaleGap = Annotated[float, Range(ge=0.05, le=1)]


@own_fields_first
@dataclass(frozen=True, kw_only=True)
class PrepareSettings(ScanSettings):
    """How a raw folder becomes a data set."""

    valid_fraction: Annotated[float, Range(gt=0, lt=1)] = 0.15
    """Share of the assets that is held out for validation, 0 to 1."""

    seed: Seed = SEED
    """Seed of the split; the same seed always sends the same asset to the same side."""

    min_side_px: Count = 64
    """Images with a shorter side than this are skipped."""

    near_duplicate_bits: Annotated[int, Range(ge=0, le=31)] = 6
    """Bits of 64 in which perceptual hashes of near duplicates may differ; where the light and
    dark of their thumbnails agree, twice as many."""

    split: Path | None = None
    """CSV file (columns: file, split) with a given split; files it does not name are skipped."""


@own_fields_first
@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(BatchSettings, FolderSettings):
    """How a model is measured on a folder of images."""

    quality: bool = True
    """Also PSNR and SSIM, which take two thirds of the time."""

    iwae: CountOrZero = 0
    """Samples K of the importance-weighted bound (Burda et al. 2016); 0 leaves it out."""

    worst: CountOrZero = 8
    """How many of the worst images to picture."""

    seed: Seed = SEED
    """Seed of the latents that are sampled from the posterior."""


@own_fields_first
@dataclass(frozen=True, kw_only=True)
class SimilaritySettings(BatchSettings, FolderSettings):
    """How crops of one image are told from crops of two."""

    protocol: Literal["reference", "strict", "seed"] = "reference"
    """Which crops: overlapping ones as the reference draws them (seed is another name of it), or
    four disjoint ones of each image, rotated, rescaled and relit."""

    baselines: Literal["on", "off"] = "on"
    """Whether descriptors that nobody had to train stand beside the model."""

    whitened: Path | None = None
    """Another matrix for the whitened baseline, as benchmarks/whitened_baseline.py writes it."""

    pairs_per_image: Count = 5
    """Pairs of random crops drawn from each image (protocol reference)."""

    scale_gap: ScaleGap = 0.5
    """Scale of the crops that ask over that of the crops that are asked, in the strict protocol's
    variants with a scale gap."""

    max_images: Annotated[int, Range(ge=2)] = 2000
    """Images that take part; of a larger folder, a seeded sample."""

    different_pairs: Count | None = None
    """Max number of pairs of crops from two assets, a seeded sample (reference: 20000; strict:
    500000, which are all of them up to 250 images)."""

    bootstrap: CountOrZero = 1000
    """Resamples of the images behind each 95 % interval."""

    seed: Seed = SEED
    """Seed of the crops, the pairs, the sampled latents and the bootstrap."""

    def __post_init__(self) -> None:
        if self.protocol == "seed":  # its name in older scripts
            object.__setattr__(self, "protocol", "reference")
        super().__post_init__()


@own_fields_first
@dataclass(frozen=True, kw_only=True)
class ServeSettings(DeviceSettings):
    """Where the page and the API are, and how much one request may ask for."""

    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own (127.0.0.1, ::1, localhost) needs a
    token."""

    port: Annotated[int, Range(ge=0, le=65535)] = 8765
    """TCP port; 0 takes a free one."""

    token_file: Path | None = None
    """File with the token that clients must show: one line of 16 characters or more."""

    allowed_hosts: str | None = None
    """Other names that the server is called by, divided by commas: surfaces.example.org."""

    max_upload_bytes: Annotated[int, Range(ge=1024)] = 32 * 2**20
    """Largest body of a request with pictures."""

    max_megapixels: Annotated[float, Range(ge=0.01)] = 100.0
    """Pictures with more pixels are not decoded."""

    timeout_seconds: Annotated[float, Range(ge=0.1)] = 30.0
    """Longest that a request may take to arrive, and then to be answered."""

    queue_length: Count = 64
    """Requests that may wait for the network; the next get 503 with Retry-After."""

    batch_crops: Count = 32
    """Crops of several requests that go through the network together."""

    batch_wait_ms: NotNegative = 5.0
    """Longest that the first of them waits for others, milliseconds."""


@own_fields_first
@dataclass(frozen=True, kw_only=True)
class IndexSettings(BatchSettings, ScanSettings):
    """How a folder of images becomes a library."""

    parts: Literal["auto", "none", "halves", "quarters"] = "auto"
    """The smallest parts of an image that search by region finds and places: of half its short
    side, or of a quarter too (four times the work); none finds whole images only. auto is quarters
    for up to 2,000 images, else halves. A library keeps what it began with."""

    min_side_px: Annotated[int, Range(ge=16)] = 64
    """Images with a shorter side are skipped."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings(Checked):
    """Which hits a search returns."""

    k: Count = 10
    """Max number of hits."""

    where: str | None = None
    """A condition on the items: category = 'wood' and width >= 1024 (docs/library.md)."""

    category: str | None = None
    """Only items of this category."""

    tag: str | None = None
    """Only items with this tag."""

    min_probability: Share = 0.0
    """Min probability of a hit, 0 to 1; less probable ones are left out."""

    likely_threshold: Share = 0.5
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
        super().__post_init__()
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
class DuplicatesSettings(Checked):
    """Which pictures count as copies of each other."""

    threshold: Annotated[float, Range(gt=0, le=1)] | Literal["auto"] = "auto"
    """Least likeness of a pair, 0 to 1; auto takes what was measured best (docs/library.md)."""

    page: Count = 1
    """Which page of groups to answer, from 1."""

    page_size: CountOrZero = 0
    """Groups on a page; 0 answers all."""


@dataclass(frozen=True, kw_only=True)
class MapSettings(Checked):
    """How a library is laid out on a plane."""

    perplexity: Annotated[float, Range(ge=1)] | None = None
    """About how many neighbours each item looks at, less in a small library; by default that of
    the layout which the library keeps, of a new one 15."""

    colour: Literal["cluster", "category"] = "cluster"
    """What the frames of the pictures show."""

    recompute: bool = False
    """Compute a new layout, instead of placing only what is new."""

    seed: Seed | None = None
    """Seed of the layout; by default that of the layout which the library keeps, of a new one 0."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettings(Checked):
    """Which items form a cluster."""

    min_size: CountOrZero = 0
    """Items that a cluster has at least; 0 is 5, and in a large library a quarter of the root of
    its items."""


@dataclass(frozen=True, kw_only=True)
class OutliersSettings(Checked):
    """Which items do not belong."""

    limit: CountOrZero = 50
    """How many to list at most, the strangest first."""

    neighbours: Count = 10
    """How many nearest items each is compared with."""


@dataclass(frozen=True, kw_only=True)
class ReadoutSettings(Checked):
    """How latents become the vectors that search compares; each step can be switched off."""

    centre: bool = True
    """Take away the mean latent."""

    min_relative_std: Annotated[float, Range(ge=0, lt=1)] = 1e-3
    """Leave out latents that vary less than this share of the one that varies most; 0 is off."""

    whiten: bool = True
    """Make small what varies between crops of one image (within-asset whitening)."""

    shrinkage: Share = 0.5
    """How far that covariance is drawn to a multiple of the identity, 0 to 1."""

    dimensions: CountOrZero = 128
    """Numbers in a vector, at most: the directions in which images differ most; 0 keeps all."""

    discriminant_power: Annotated[float, Range(ge=-2, le=2)] = 0.0
    """Multiply each direction by its variance between images over that within, to this power."""

    norm: bool = True
    """Scale the vectors to length 1."""


@own_fields_first
@dataclass(frozen=True, kw_only=True)
class CalibrateSettings(BatchSettings, FolderSettings, ReadoutSettings):
    """How a model's read-out, and the probability of the same surface, are fitted."""

    draws: Count = 4
    """How often the four crops of each image are drawn."""

    color_jitter: bool = True
    """Change gamma, colour and brightness of each crop, for invariance to light."""

    max_images: Annotated[int, Range(ge=2)] = 2000
    """Images of each side that take part; of a larger folder, a seeded sample."""

    different_pairs: Count = 100000
    """Most pairs of crops from two assets behind the probability."""

    seed: Seed = SEED
    """Seed of the crops, the pairs and the sample."""


@own_fields_first
@dataclass(frozen=True, kw_only=True)
class EmbedSettings(BatchSettings, FolderSettings):
    """How images become vectors."""

    vectors: Literal["embedding", "latent"] = "embedding"
    """The unit vectors that search compares, or the latent of the image squeezed to a square."""

    views: Literal["all", "squares", "tiles", "centre"] = "all"
    """What an embedding is the average of: squares along the image, tiles of half their side,
    all of both, or the central square alone."""

    shard: str | None = None
    """Only the i-th of n parts of the folder, as i/n, into OUT.shard-i-of-n.parquet; vaeneer
    merge-vectors OUT joins them."""
