"""Settings of bench.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vaeneer.settings import require
from vaeneer.settings.base import require_types


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How the speed of a machine is measured."""

    architecture: Literal["reference", "surface"] = "reference"
    """The network whose step is measured."""

    batch_size: int = 16
    """Images in one step."""

    images: int = 96
    """Images that are decoded and trained on."""

    image_side_px: int = 1024
    """Width and height of the made-up images."""

    data: Path | None = None
    """Your own folder of images instead of made-up ones."""

    seconds: float = 1.0
    """Least time of each measurement, in seconds; each is the median of five or more."""

    workers: int = 0
    """Processes that decode, threads that cut crops; 0 chooses by the cores and the device."""

    device: str = "auto"
    """What to measure: auto, cpu, cuda or cuda:N."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto is bfloat16 where the hardware has it."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self, batch_size=1, images=1, image_side_px=64, seconds=0)
