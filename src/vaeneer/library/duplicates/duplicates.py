"""duplicates(): what a library has twice, in groups by kind, with the best of each to keep.

Nothing is ever deleted. What was found is kept in the library (duplicates.json) until its vectors
or the files of its groups change, so that pages of groups cost little.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from vaeneer.checksums import read_stamped_json, write_stamped_json
from vaeneer.errors import LibraryError, SettingsError
from vaeneer.files import atomic_write
from vaeneer.library.catalog import Item
from vaeneer.library.duplicates.detect import find_copies
from vaeneer.library.duplicates.groups import KINDS, Group, Member, groups_of
from vaeneer.library.duplicates.report import (
    DuplicateGroup,
    DuplicateItem,
    DuplicatesReport,
    csv_text,
    proposed_keepers,
)
from vaeneer.library.duplicates.verify import LEAST_LIKENESS
from vaeneer.library.file_states import ABSENT, disk_digest
from vaeneer.library.index.finalize import DUPLICATES
from vaeneer.library.open_library import LibraryLike, OpenLibrary
from vaeneer.progress import Progress, Silent
from vaeneer.settings import DuplicatesSettings

NAME = DUPLICATES
_VERSION = 5


@dataclass(frozen=True)
class _Found:
    """All groups, by ids."""

    groups: list[Group]
    skipped: dict[str, str]


def duplicates(
    library: LibraryLike,
    *,
    settings: DuplicatesSettings | None = None,
    out_csv: Path | str | None = None,
    out_html: Path | str | None = None,
    progress: Progress | None = None,
) -> DuplicatesReport:
    """Find what a library has twice: equal files, equal pixels, near copies, parts, recoloured.

    out_csv, out_html: write one line for each file of the page's groups, or a page that shows them
    side by side. Raises LibraryError, or SettingsError for a threshold outside 0..1 or a page that
    is not there.
    """
    settings, progress, started = (
        settings or DuplicatesSettings(),
        progress or Silent(),
        time.monotonic(),
    )
    least = _least(settings)
    with ExitStack() as stack:
        if not isinstance(library, OpenLibrary):
            library = stack.enter_context(OpenLibrary.open(library))
        found = _remembered(library, least) or _search(library, least, progress)
        report = _report(library, found, settings, least, started)
        if out_csv is not None:
            write_csv(Path(out_csv), report.groups)
        if out_html is not None:
            from vaeneer.library.duplicates.html import write_duplicates_html

            write_duplicates_html(report, Path(out_html), progress=progress)
    return report


def write_csv(path: Path, groups: Sequence[DuplicateGroup]) -> None:
    """Write `csv_text` to a file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(csv_text(groups).encode())


def _least(settings: DuplicatesSettings) -> float:
    return LEAST_LIKENESS if settings.threshold == "auto" else float(settings.threshold)


def _search(library: OpenLibrary, least: float, progress: Progress) -> _Found:
    """Search, and keep what was found for the next time."""
    if not os.access(library.folder, os.W_OK):
        raise LibraryError(
            f"{library.folder} cannot be written to, and what is compared is kept there; run"
            " vaeneer duplicates once where it can be, or copy the library."
        )
    generation = library.catalog.generation
    copies, sketches = find_copies(library, least, progress)
    library.catalog.seal()
    groups = groups_of(copies, sketches, library, least)
    skipped = {str(error.path): error.reason for error in copies.skipped}
    kept = {
        "version": _VERSION,
        "library": library.catalog.library,
        "generation": generation,
        "threshold": least,
        "skipped": skipped,
        "groups": [group.to_dict() for group in groups],
        "files": _files_digest(library, groups, skipped),
    }
    if set(skipped.values()) <= set(ABSENT):  # what cannot be read now may be readable later
        write_stamped_json(library.folder / NAME, kept)
    return _Found(groups, skipped)


def _remembered(library: OpenLibrary, least: float) -> _Found | None:
    """What an earlier search found, where nothing has changed since."""
    try:
        kept = read_stamped_json(library.folder / NAME)
        asked = (_VERSION, library.catalog.library, library.catalog.generation, least)
        if tuple(kept[name] for name in ("version", "library", "generation", "threshold")) != asked:
            return None
        found = _Found([Group.from_dict(one) for one in kept["groups"]], kept["skipped"])
        return (
            found if kept["files"] == _files_digest(library, found.groups, found.skipped) else None
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _files_digest(library: OpenLibrary, groups: Sequence[Group], skipped: dict[str, str]) -> str:
    """Equal as long as the files of groups, and those that were skipped, are as they were."""
    members = {member.item for group in groups for member in group.members}
    paths = [library.path(item) for item in library.catalog.items(members)]
    return disk_digest([*paths, *map(Path, skipped)])


def _report(
    library: OpenLibrary, found: _Found, settings: DuplicatesSettings, least: float, started: float
) -> DuplicatesReport:
    total = len(found.groups)
    size = settings.page_size or max(1, total)
    pages = max(1, -(-total // size))
    if settings.page > pages:
        raise SettingsError(f"page is {settings.page}; there are {pages}, of {size:,} groups each.")
    start = (settings.page - 1) * size
    items = {item.id: item for item in library.items()}
    keepers = proposed_keepers(found.groups)
    describe = _GroupReports(library, items, keepers)
    by_kind = Counter(group.kind for group in found.groups)
    return DuplicatesReport(
        library=str(library.folder),
        root=str(library.root),
        groups=[
            describe.group(number, group)
            for number, group in enumerate(found.groups[start : start + size], start=start + 1)
        ],
        page=settings.page,
        pages=pages,
        total_groups=total,
        groups_by_kind={kind: by_kind[kind] for kind in KINDS},
        images=len(items),
        redundant_files=len(keepers),
        redundant_bytes=sum(items[one].size_bytes for one in keepers),
        threshold=least,
        skipped={_below(library.root, path): why for path, why in found.skipped.items()},
        seconds=time.monotonic() - started,
    )


def _below(root: Path, path: str) -> str:
    """A path below the root; an absolute one elsewhere as it is."""
    absolute = Path(path)
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else path


class _GroupReports:
    """Groups with the facts of their files."""

    def __init__(
        self, library: OpenLibrary, items: Mapping[int, Item], keepers: Mapping[int, int]
    ) -> None:
        self._items, self._keepers = items, keepers
        rows = library.catalog.execute("SELECT DISTINCT asset, kind FROM maps ORDER BY kind")
        self._maps: dict[str, list[str]] = {}
        for asset, kind in rows.fetchall():
            self._maps.setdefault(asset, []).append(kind)
        rows = library.catalog.execute("SELECT asset FROM assets WHERE sidecar NOT NULL")
        self._sidecars = {asset for (asset,) in rows.fetchall()}

    def group(self, number: int, group: Group) -> DuplicateGroup:
        """A group under its number."""
        return DuplicateGroup(
            id=number,
            kind=group.kind,
            items=[self._item(member, group.keep) for member in group.members],
            keep=self._items[group.keep].path,
            confidence=group.confidence,
        )

    def _item(self, member: Member, keep: int) -> DuplicateItem:
        item = self._items[member.item]
        redundant = item.id in self._keepers
        return DuplicateItem(
            id=item.id,
            path=item.path,
            box=member.box,
            relation=member.relation,
            confidence=member.confidence,
            orientation=member.orientation,
            change=member.change,
            width_px=item.width_px,
            height_px=item.height_px,
            size_bytes=item.size_bytes,
            redundant=member.redundant,
            decision="redundant" if redundant else "keep",
            keep_path=self._items[self._keepers.get(item.id, keep)].path,
            maps=list(self._maps.get(item.asset, ())),
            sidecar=item.asset in self._sidecars,
            link=member.link,
            same_file=None if member.same_file is None else self._items[member.same_file].path,
            offline=member.offline,
        )
