"""What became of a folder since the last run: new, changed, moved and gone files, assets and maps.

A file whose path, size and time are known is not opened. One with another size or time is
hashed; a new path whose content a gone item had is that item, moved. An item whose whole folder is
not there is offline and stays (file_states.py).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vaeneer.data.dataset import ManifestRow
from vaeneer.data.decode_worker import sha256_of
from vaeneer.data.exclusion import ScanRules
from vaeneer.data.filenames import group_names
from vaeneer.data.scan import FoundFile, scan_folder
from vaeneer.data.sidecar_matching import read_sidecars
from vaeneer.data.split import describe
from vaeneer.errors import DataError, ImageFileError
from vaeneer.library.catalog import ALWAYS, Catalog
from vaeneer.library.file_states import Absences


@dataclass(frozen=True)
class Known:
    """What the catalog remembers of an item's file."""

    id: int
    size_bytes: int
    mtime_ns: int
    sha256: bytes
    embedded: bool


@dataclass(frozen=True)
class Listing:
    """A folder as it is now."""

    files: dict[str, FoundFile]
    """Colour images by their path below the root, in order."""
    rows: tuple[ManifestRow, ...]
    """All images with their assets, and what side-cars and folders say of them."""
    warnings: tuple[str, ...]
    others: dict[str, int]
    """Reason -> number of files, and of whole folders, that are left out without a look inside."""
    rules: ScanRules
    """What was left out of the scan by choice."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Path and reason of each of them."""


@dataclass
class Changes:
    """What has to be done for the catalog to hold what the folder holds."""

    fresh: dict[str, FoundFile] = field(default_factory=dict)
    """To decode and embed, by path: new, changed, or not embedded yet."""
    known: dict[int, FoundFile] = field(default_factory=dict)
    """Item -> its file, where path, size or time changed and the bytes did not."""
    gone: list[int] = field(default_factory=list)
    offline: dict[int, str] = field(default_factory=dict)
    """Item -> the folder that is not there."""
    offline_failures: list[str] = field(default_factory=list)
    """Paths of files in such folders that could not be read before."""
    changed: set[str] = field(default_factory=set)
    """Those of `fresh` that had other bytes before."""
    unchanged: int = 0
    moved: int = 0
    failed_before: int = 0
    """Files whose reason is known and that did not change since."""


def rules_of(
    catalog: Catalog, exclude: Sequence[str] | None, include_previews: bool | None
) -> tuple[ScanRules, list[str]]:
    """What to leave out: as given, else as in the run before; and lines to say of it.

    Raises SettingsError for a pattern that cannot be read.
    """
    before = json.loads(catalog.get_meta("rules") or "{}")
    return ScanRules(
        tuple(before.get("exclude", ())), before.get("include_previews", False)
    ).changed(exclude, include_previews)


def list_folder(root: Path, library: Path, rules: ScanRules) -> Listing:
    """Scan a folder, the library itself left out. Raises DataError when it is no folder."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; name the folder of your images.")
    scan = scan_folder(root, ignore=library, rules=rules)
    names = group_names(found.path for found in scan.images)
    items = {path for path, name in names.items() if name.is_item}
    rows = [
        ManifestRow(
            path=found.path.as_posix(),
            asset=names[found.path].asset,
            kind=names[found.path].kind,
            status="kept" if found.path in items else "map",
            size_bytes=found.size_bytes,
            mtime_ns=found.mtime_ns,
        )
        for found in scan.images
    ]
    files = {found.path.as_posix(): found for found in scan.images if found.path in items}
    sidecars = read_sidecars(root, scan.sidecars, {row.path: row.asset for row in rows})
    return Listing(
        files,
        tuple(describe(rows, sidecars.of_asset)),
        warnings=(*scan.warnings, *sidecars.warnings),
        others=scan.others | sidecars.counts(),
        rules=rules,
        left_out=tuple(sorted((*scan.left_out, *scan.no_images, *sidecars.unread))),
    )


def changes_since(
    catalog: Catalog, listing: Listing, root: Path, *, forget_missing: bool = False
) -> Changes:
    """Compare a folder with the catalog, opening only files that may be new.

    forget_missing: items of folders that are offline count as gone.
    """
    known, failed = known_items(catalog), _known_failures(catalog)
    changes = Changes()
    missing = {path: item for path, item in known.items() if path not in listing.files}
    by_size: dict[int, list[str]] = defaultdict(list)
    for path, item in missing.items():
        by_size[item.size_bytes].append(path)
    for path, found in listing.files.items():
        if path not in known:
            _place_new(changes, found, path, failed, missing, by_size)
            continue
        item = known[path]
        if (item.size_bytes, item.mtime_ns) == (found.size_bytes, found.mtime_ns):
            changes.unchanged += item.embedded
            changes.fresh |= {} if item.embedded else {path: found}
        elif item.embedded and _hash(found.file) == item.sha256:
            changes.known[item.id] = found
            changes.unchanged += 1
        else:
            changes.fresh[path] = found
            changes.changed.add(path)
    absences = Absences(root)
    for path, item in missing.items():
        folder = None if forget_missing else absences.offline_folder(path)
        if folder is None:
            changes.gone.append(item.id)
        else:
            changes.offline[item.id] = folder
    if not forget_missing:
        unlisted = (path for path in failed if path not in listing.files)
        changes.offline_failures = [one for one in unlisted if absences.offline_folder(one)]
    return changes


def known_items(catalog: Catalog) -> dict[str, Known]:
    """Every item by its path."""
    sql = "SELECT path, id, size_bytes, mtime_ns, sha256, embedded FROM items"
    return {
        path: Known(item, size, mtime, sha256, bool(embedded))
        for path, item, size, mtime, sha256, embedded in catalog.execute(sql)
    }


def _place_new(
    changes: Changes,
    found: FoundFile,
    path: str,
    failed: Mapping[str, tuple[int, int]],
    missing: dict[str, Known],
    by_size: dict[int, list[str]],
) -> None:
    """A path that no item has: a failure of before, an item from elsewhere, or new."""
    if failed.get(path) == (found.size_bytes, found.mtime_ns):
        changes.failed_before += 1
        return
    rivals = by_size.get(found.size_bytes)
    content = _hash(found.file) if rivals else b""
    for rival in rivals or ():
        if missing[rival].sha256 == content and missing[rival].embedded:
            changes.known[missing.pop(rival).id] = found
            by_size[found.size_bytes].remove(rival)
            changes.moved += 1
            return
    changes.fresh[path] = found


def _known_failures(catalog: Catalog) -> dict[str, tuple[int, int]]:
    sql = "SELECT path, size_bytes, mtime_ns FROM failures WHERE passing <> ?"
    rows = catalog.execute(sql, (ALWAYS,))
    return {path: (size, mtime) for path, size, mtime in rows}


def _hash(file: Path) -> bytes:
    try:
        return sha256_of(file)
    except (OSError, ImageFileError):  # it is listed with its reason when it is decoded
        return b""
