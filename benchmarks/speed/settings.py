"""Settings of bench.py."""

from dataclasses import dataclass
from pathlib import Path

from vaeneer.settings.base import (
    Count,
    CountOrZero,
    DeviceSettings,
    NotNegative,
    own_fields_first,
)
from vaeneer.settings.training import Architecture, SidePx


@own_fields_first
@dataclass(frozen=True, kw_only=True)
class BenchSettings(DeviceSettings):
    """How the speed of a machine is measured."""

    architecture: Architecture = "reference"
    """The network whose step is measured."""

    batch_size: Count = 16
    """Images in one step."""

    images: Count = 96
    """Images that are decoded and trained on."""

    image_side_px: SidePx = 1024
    """Width and height of the made-up images."""

    data: Path | None = None
    """Your own folder of images instead of made-up ones."""

    seconds: NotNegative = 1.0
    """Least time of each measurement, in seconds; each is the median of five or more."""

    workers: CountOrZero = 0
    """Processes that decode, threads that cut crops; 0 chooses by the cores and the device."""
