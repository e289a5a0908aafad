"""What `duplicates` reports: groups of copies, and of each file what it is to the file to keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vaeneer.library.catalog import PixelBox
from vaeneer.library.duplicates.verify import Kind

Decision = Literal["keep", "redundant"]


@dataclass(frozen=True)
class DuplicateItem:
    """One file of a group of duplicates."""

    id: int
    path: str
    """Below the root, with forward slashes."""
    box: PixelBox | None
    """x, y, width, height of a part in the file that holds it, in pixels of that file."""
    relation: Kind | None
    """What it is to the file to keep; None is that file."""
    confidence: float
    """0 to 1: how much of the structure is the same."""
    orientation: int | None
    """How to turn it for the file to keep: 0 to 3 quarter turns counter-clockwise, 4 to 7 the same
    after mirroring; None is not known."""
    change: str
    """What was done to it, in words."""
    width_px: int
    height_px: int
    size_bytes: int
    redundant: bool
    """Whether the file to keep can stand for it, and its bytes are free once it is deleted."""
    decision: Decision
    """Of the file, in whichever group: redundant where it is so in one of them."""
    keep_path: str
    """The file that stands for a redundant one, maybe of another group; else `keep`."""
    maps: list[str]
    """Kinds of the other maps of its asset; empty for a loose file."""
    sidecar: bool
    """Whether its asset has a side-car."""
    link: str | None
    """Target of a symbolic link, below the library's root or absolute; None for other files."""
    same_file: str | None
    """Path of the better name of the same file (hard link); None for other files."""
    offline: bool
    """Whether its folder is not there now."""


@dataclass(frozen=True)
class DuplicateGroup:
    """Files that are copies of each other."""

    id: int
    """Its place among all groups, from 1."""
    kind: Kind
    items: list[DuplicateItem]
    """The one to keep first."""
    keep: str
    """The path of the best: no link, there, with maps and side-car, most pixels, then depth, no
    loss, most bytes, a plain name."""
    confidence: float
    """Of the least certain item, 0 to 1."""


@dataclass(frozen=True)
class DuplicatesReport:
    """What a library has twice."""

    library: str
    root: str
    """Folder of the images, absolute; all paths are below it."""
    groups: list[DuplicateGroup]
    """Those of the page; the surest of each kind first."""
    page: int
    pages: int
    total_groups: int
    groups_by_kind: dict[str, int]
    images: int
    """Items of the library."""
    redundant_files: int
    """Files that an equal or near one can stand for: parts and recoloured ones, links, further
    names of a file and what is offline are not counted."""
    redundant_bytes: int
    threshold: float
    skipped: dict[str, str] = field(default_factory=dict)
    """Files that could not be read, with the reason."""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)
