"""What index() did, and what the library holds now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """A library after a run over its folder."""

    library: str
    folder: str
    model: str
    images: int
    """Items that can be found."""
    assets: int
    added: int
    changed: int
    """Files with other bytes than before."""
    moved: int
    """Files found at another path, with the bytes of an item."""
    removed: int
    unchanged: int
    offline: int
    """Items whose folder is not there now: they stay, with thumbnail and vectors."""
    offline_folders: dict[str, int]
    """Folder that is missing, empty or cannot be listed -> number of its items."""
    skipped: dict[str, str]
    """Files that could not be read, with the reason; also in errors.csv."""
    left_out: dict[str, int]
    """Reason -> number of files that were not looked at; errors.csv has those that are pictures."""
    noted: int
    """Images that were read without a damaged or unusual part of their file; in errors.csv."""
    vectors: int
    """Of whole images and of their parts."""
    dimensions: int
    parts_added: int
    """Images whose smallest parts were embedded in this run, those of an earlier run included."""
    parts_pending: int
    """Images whose smallest parts are still to be embedded: a run was stopped, or a file cannot be
    read now."""
    index: str
    """How parts are searched: exact or ivf."""
    images_per_second: float | None
    """Of images decoded and embedded in this run, small parts excluded; None without any."""
    searchable_seconds: float
    """Until all images could be searched."""
    seconds: float
    """The whole run, with the smallest parts."""

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)
