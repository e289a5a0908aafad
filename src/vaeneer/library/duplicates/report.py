"""What `duplicates` reports, and decisions about it: which files are kept or redundant.

A decision belongs to a file, not to a group: a file that is redundant in one group is shown as
redundant in each. The proposal is that of `duplicates`; a person's marks change it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from vaeneer.library.catalog import FIELD_DOCS, PixelBox
from vaeneer.library.duplicates.verify import Kind
from vaeneer.text import to_csv

Decision = Literal["keep", "redundant"]
KINDS: tuple[Kind, ...] = ("exact", "same_pixels", "near", "cropped", "recoloured")
WHOLE: tuple[Kind, ...] = ("exact", "same_pixels", "near")
"""Kinds of copies that the file to keep can stand for."""
COLUMNS = ("path", "group", "kind", "decision", "keep_path", "box")
"""Of the CSV, of the command line and of the page."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class DuplicateItem:
    """One file of a group of duplicates."""

    __pydantic_config__ = FIELD_DOCS

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

    __pydantic_config__ = FIELD_DOCS

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

    __pydantic_config__ = FIELD_DOCS

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


@dataclass(frozen=True)
class Mark:
    """Decision of a person about one file."""

    __pydantic_config__ = FIELD_DOCS

    decision: Decision
    keep_path: str
    """The file that stands for it; of the file to keep, its own path."""


Marks = Mapping[str, Mark]
"""By path, below the library's folder of images."""


def with_proposal(groups: Sequence[DuplicateGroup]) -> list[DuplicateGroup]:
    """All groups with the proposed decisions: of a redundant file the best of the largest group
    that says so stands for it in each."""
    keepers = {
        item.path: group.keep
        for group in groups  # exact ones first, near ones last
        if group.kind in WHOLE
        for item in group.items
        if item.redundant
    }
    lasts = {path: _last(path, keepers.get) for path in keepers}
    return [
        replace(
            group,
            items=[
                replace(item, decision="redundant", keep_path=lasts[item.path])
                if item.path in lasts
                else item
                for item in group.items
            ],
        )
        for group in groups
    ]


def valid_marks(groups: Sequence[DuplicateGroup], marks: Marks) -> dict[str, Mark]:
    """Marks whose file and file to keep are still copies of each other, in one of all groups."""
    groups_of: dict[str, set[int]] = defaultdict(set)
    for group in groups:
        for item in group.items:
            groups_of[item.path].add(group.id)
    return {
        path: mark
        for path, mark in marks.items()
        if not groups_of.get(path, set()).isdisjoint(groups_of.get(mark.keep_path, set()))
    }


def decided(groups: Sequence[DuplicateGroup], marks: Marks) -> list[DuplicateGroup]:
    """All groups with their decisions, once a person's marks are applied to the proposal."""
    marks = valid_marks(groups, marks)
    proposal = {
        item.path: item.keep_path
        for group in groups
        for item in group.items
        if item.decision == "redundant"
    }

    def stands_for(path: str) -> str | None:
        mark = marks.get(path)
        if mark is None:
            return proposal.get(path)
        return mark.keep_path if mark.decision == "redundant" else None

    return [_with_decisions(group, marks, stands_for) for group in groups] if marks else [*groups]


def redundant_in(groups: Iterable[DuplicateGroup]) -> dict[str, int]:
    """Bytes of each redundant file, by path."""
    items = (item for group in groups for item in group.items)
    return {item.path: item.size_bytes for item in items if item.decision == "redundant"}


def csv_text(groups: Iterable[DuplicateGroup]) -> str:
    """One line for each file of each group, fit for UTF-8.

    Paths are below the folder of the images; one that a spreadsheet would take for a formula starts
    with "./". box: x,y,width,height of a part in the file of its group to keep, pixels.
    """
    rows = [
        (
            *(_safe(item.path), group.id, group.kind),
            *(item.decision, _safe(item.keep_path), ",".join(map(str, item.box or ()))),
        )
        for group in groups
        for item in group.items
    ]
    return to_csv([COLUMNS, *rows])


def _with_decisions(
    group: DuplicateGroup, marks: Marks, stands_for: Callable[[str], str | None]
) -> DuplicateGroup:
    lasts = {item.path: _last(item.path, stands_for) for item in group.items}
    keep = _keeper(group, marks)
    if lasts[keep] != keep:  # redundant itself: then whatever of the group is kept
        kept = (path for path, last in lasts.items() if path == last)
        keep = lasts[keep] if lasts[keep] in lasts else next(kept, keep)
    items = []
    for item in group.items:
        last = lasts[item.path]
        redundant = last != item.path
        items.append(
            replace(
                item,
                decision="redundant" if redundant else "keep",
                keep_path=last if redundant else keep,
            )
        )
    return replace(group, items=items, keep=keep)


def _keeper(group: DuplicateGroup, marks: Marks) -> str:
    """The file of a group to keep: that which a person chose, else the proposed one."""
    own = {item.path for item in group.items}

    def following(path: str) -> str | None:
        mark = marks.get(path)
        return mark.keep_path if mark and mark.keep_path in own else None

    if group.keep in marks:
        return _last(group.keep, following)
    chosen = (_last(item.path, following) for item in group.items)
    others = {marks[path].keep_path for path in own & marks.keys() if marks[path].keep_path != path}
    return next((path for path in chosen if path in others), group.keep)


def _last(one: str, following: Callable[[str], str | None]) -> str:
    """End of a chain; the start itself where the chain is a ring."""
    seen, now = {one}, one
    while (after := following(now)) is not None and after != now:
        if after in seen:
            return one
        seen.add(after)
        now = after
    return now


def _safe(path: str) -> str:
    return f"./{path}" if path.startswith(_FORMULA_STARTS) else path
