"""Settings of the commands that evaluate, and of `vaeneer serve`. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vaeneer.errors import SettingsError
from vaeneer.settings.base import SEED, require, require_types

_LARGEST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """How a model is measured on a folder of images."""

    batch_size: int = 16
    """Images in one forward pass; changes the speed, not the figures."""

    quality: bool = True
    """Also PSNR and SSIM, which take two thirds of the time."""

    iwae: int = 0
    """Samples K of the importance-weighted bound (Burda et al. 2016); 0 leaves it out."""

    worst: int = 8
    """How many of the worst images to picture."""

    seed: int = SEED
    """Seed of the latents that are sampled from the posterior."""

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
        require(self, batch_size=1, iwae=0, worst=0, seed=0)


@dataclass(frozen=True, kw_only=True)
class SimilaritySettings:
    """How crops of one image are told from crops of two."""

    protocol: Literal["reference", "strict", "seed"] = "reference"
    """Which crops: overlapping ones as the reference draws them (seed is another name of it), or
    four disjoint ones of each image, rotated, rescaled and relit."""

    baselines: Literal["on", "off"] = "on"
    """Whether descriptors that nobody had to train stand beside the model."""

    whitened: Path | None = None
    """Another matrix for the whitened baseline, as benchmarks/whitened_baseline.py writes it."""

    pairs_per_image: int = 5
    """Pairs of random crops drawn from each image (protocol reference)."""

    scale_gap: float = 0.5
    """Scale of the crops that ask over that of the crops that are asked, in the strict protocol's
    variants with a scale gap."""

    max_images: int = 2000
    """Images that take part; of a larger folder, a seeded sample."""

    different_pairs: int | None = None
    """Max number of pairs of crops from two assets, a seeded sample (reference: 20000; strict:
    500000, which are all of them up to 250 images)."""

    bootstrap: int = 1000
    """Resamples of the images behind each 95 % interval."""

    all_maps: bool = False
    """Also take normal maps, roughness and the like; by default colour maps only, as told by their
    names. A prepared data set is taken as it is."""

    cache: Path | None = None
    """Folder for the pack of decoded images (protocol strict); by default in the user's cache."""

    batch_size: int = 16
    """Crops in one forward pass; changes the speed, not the figures."""

    seed: int = SEED
    """Seed of the crops, the pairs, the sampled latents and the bootstrap."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto is bfloat16 where the hardware has it."""

    def __post_init__(self) -> None:
        if self.protocol == "seed":  # its name in older scripts
            object.__setattr__(self, "protocol", "reference")
        require_types(self)
        require(
            self,
            pairs_per_image=1,
            max_images=2,
            bootstrap=0,
            batch_size=1,
            seed=0,
            different_pairs=1,
        )


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Where the page and the API are, and how much one request may ask for."""

    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own (127.0.0.1, ::1, localhost) needs a
    token."""

    port: int = 8765
    """TCP port; 0 takes a free one."""

    token_file: Path | None = None
    """File with the token that clients must show: one line of 16 characters or more."""

    allowed_hosts: str | None = None
    """Other names that the server is called by, divided by commas: surfaces.example.org."""

    max_upload_bytes: int = 32 * 2**20
    """Largest body of a request with pictures."""

    max_megapixels: float = 100.0
    """Pictures with more pixels are not decoded."""

    timeout_seconds: float = 30.0
    """Longest that a request may take to arrive, and then to be answered."""

    queue_length: int = 64
    """Requests that may wait for the network; the next get 503 with Retry-After."""

    batch_crops: int = 32
    """Crops of several requests that go through the network together."""

    batch_wait_ms: float = 5.0
    """Longest that the first of them waits for others, milliseconds."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto is bfloat16 where the hardware has it."""

    def __post_init__(self) -> None:
        require_types(self)
        require(
            self,
            port=0,
            max_upload_bytes=1024,
            max_megapixels=0.01,
            timeout_seconds=0.1,
            queue_length=1,
            batch_crops=1,
            batch_wait_ms=0,
        )
        if self.port > _LARGEST_PORT:
            raise SettingsError(f"port is {self.port}; use 0 to {_LARGEST_PORT}.")
