"""duplicates(): what a library has twice, in groups by kind, with the best of each to keep.

Nothing is ever deleted. The groups are stored in the library (duplicates.json) until its vectors or
the files of its groups change, so that pages of groups cost little.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vaeneer.checksums import read_stamped_json, write_stamped_json
from vaeneer.errors import LibraryError, SettingsError
from vaeneer.files import atomic_write
from vaeneer.library.duplicates.detect import find_groups
from vaeneer.library.duplicates.report import (
    KINDS,
    DuplicateGroup,
    DuplicateItem,
    DuplicatesReport,
    csv_text,
    redundant_in,
)
from vaeneer.library.duplicates.verify import LEAST_LIKENESS
from vaeneer.library.file_states import ABSENT, disk_digest
from vaeneer.library.store import DUPLICATES, LibraryLike, OpenLibrary
from vaeneer.progress import Progress, Silent
from vaeneer.settings import DuplicatesSettings

_VERSION = 6


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
    settings, progress = settings or DuplicatesSettings(), progress or Silent()
    started = time.monotonic()
    threshold = LEAST_LIKENESS if settings.threshold == "auto" else float(settings.threshold)
    with ExitStack() as stack:
        if not isinstance(library, OpenLibrary):
            library = stack.enter_context(OpenLibrary.open(library))
        stored = _read_stored(library, threshold)
        if stored is not None:
            groups, skipped = stored
        elif not os.access(library.folder, os.W_OK):
            raise LibraryError(
                f"{library.folder} cannot be written to, and what is compared is kept there; run"
                " vaeneer duplicates once where it can be, or copy the library."
            )
        else:
            generation = library.catalog.generation
            groups, errors = find_groups(library, threshold, progress)
            skipped = {str(error.path): error.reason for error in errors}
            _store(library, threshold, generation, groups, skipped)
        report = _report(library, groups, skipped, settings, threshold)
        report = replace(report, seconds=time.monotonic() - started)
    if out_csv is not None:
        with atomic_write(Path(out_csv)) as temporary:
            temporary.write_bytes(csv_text(report.groups).encode())
    if out_html is not None:
        from vaeneer.library.duplicates.html import write_duplicates_html

        write_duplicates_html(report, Path(out_html), progress=progress)
    return report


def _read_stored(
    library: OpenLibrary, threshold: float
) -> tuple[list[DuplicateGroup], dict[str, str]] | None:
    """The groups of an earlier search and the files that it skipped, where nothing has changed."""
    try:
        stored = read_stamped_json(library.folder / DUPLICATES)
        key = _key(library, threshold, library.catalog.generation)
        if {name: stored[name] for name in key} != key:
            return None
        groups = [
            DuplicateGroup(**group | {"items": [_item(item) for item in group["items"]]})
            for group in stored["groups"]
        ]
        same_files = stored["files"] == _files_digest(library, groups, stored["skipped"])
        return (groups, stored["skipped"]) if same_files else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _store(
    library: OpenLibrary,
    threshold: float,
    generation: int,
    groups: Sequence[DuplicateGroup],
    skipped: Mapping[str, str],
) -> None:
    """Store groups, unless a file that cannot be read now may be readable later.

    generation: of the catalog before the search.
    """
    library.catalog.seal()
    if set(skipped.values()) <= set(ABSENT):
        stored = _key(library, threshold, generation) | {
            "skipped": skipped,
            "groups": [asdict(group) for group in groups],
            "files": _files_digest(library, groups, skipped),
        }
        write_stamped_json(library.folder / DUPLICATES, stored)


def _key(library: OpenLibrary, threshold: float, generation: int) -> dict[str, Any]:
    """What a stored search must agree with."""
    return {
        "version": _VERSION,
        "library": library.catalog.library,
        "generation": generation,
        "threshold": threshold,
    }


def _item(values: dict[str, Any]) -> DuplicateItem:
    box = values["box"]
    return DuplicateItem(**values | {"box": None if box is None else tuple(box)})


def _files_digest(
    library: OpenLibrary, groups: Sequence[DuplicateGroup], skipped: Mapping[str, str]
) -> str:
    """Equal as long as the files of groups, and those that were skipped, are as they were."""
    paths = {library.root / item.path for group in groups for item in group.items}
    return disk_digest([*paths, *map(Path, skipped)])


def _report(
    library: OpenLibrary,
    groups: Sequence[DuplicateGroup],
    skipped: Mapping[str, str],
    settings: DuplicatesSettings,
    threshold: float,
) -> DuplicatesReport:
    """One page of the groups. Raises SettingsError for one that is not there."""
    size = settings.page_size or max(1, len(groups))
    pages = max(1, -(-len(groups) // size))
    if settings.page > pages:
        raise SettingsError(f"page is {settings.page}; there are {pages}, of {size:,} groups each.")
    start = (settings.page - 1) * size
    by_kind = Counter(group.kind for group in groups)
    sizes = redundant_in(groups)
    return DuplicatesReport(
        library=str(library.folder),
        root=str(library.root),
        groups=list(groups[start : start + size]),
        page=settings.page,
        pages=pages,
        total_groups=len(groups),
        groups_by_kind={kind: by_kind[kind] for kind in KINDS},
        images=len(library),
        redundant_files=len(sizes),
        redundant_bytes=sum(sizes.values()),
        threshold=threshold,
        skipped={_below(library.root, path): why for path, why in skipped.items()},
    )


def _below(root: Path, path: str) -> str:
    """A path below the root; an absolute one elsewhere as it is."""
    absolute = Path(path)
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else path
