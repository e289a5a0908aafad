"""Each image of a scan decoded once, or known from the run before: a row, good or with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vaeneer.data.decoding import Look, LookJob, in_processes, look
from vaeneer.data.manifest import FORMAT, Manifest, ManifestRow
from vaeneer.data.naming import group_names
from vaeneer.data.near_duplicates import Fingerprint
from vaeneer.data.scanning import FoundFile, Scan
from vaeneer.errors import is_transient
from vaeneer.progress import Progress
from vaeneer.settings.training import PrepareSettings

NOT_NAMED = "not named in the split file"
_COLOUR_KINDS = frozenset({"color", "preview"})


def verified_rows(
    scan: Scan,
    given: Mapping[str, str] | None,
    earlier: Manifest | None,
    settings: PrepareSettings,
    progress: Progress,
) -> tuple[list[ManifestRow], int]:
    """A row for each image: kept so far, or skipped with the reason; and how many were decoded."""
    names = group_names(found.path for found in scan.images)
    wanted = [f for f in scan.images if given is None or f.path.as_posix() in given]
    colour = {f.path for f in wanted if given is not None or names[f.path].kind in _COLOUR_KINDS}
    looks = _known_looks(wanted, colour, earlier, settings)
    fresh = [found for found in wanted if found.path.as_posix() not in looks]
    jobs = [LookJob(f.file, settings.max_megapixels, f.path in colour) for f in fresh]
    size_bytes = sum(found.size_bytes for found in fresh)
    with progress.bar("reading images", total=len(jobs), unit="images") as bar:
        answers = in_processes(look, jobs, workers=settings.workers, size_bytes=size_bytes)
        for found, answer in zip(fresh, answers, strict=True):
            looks[found.path.as_posix()] = answer
            bar.advance()
    rows = []
    for found in scan.images:
        path = found.path.as_posix()
        row = ManifestRow(
            path=path,
            asset=names[found.path].asset,
            kind=names[found.path].kind,
            status="kept",
            split=given.get(path) if given is not None else None,
            size_bytes=found.size_bytes,
            mtime_ns=found.mtime_ns,
            link=found.link,
        )
        min_side_px = settings.min_side_px if found.path in colour else 1
        rows.append(_seen(row, looks.get(path, Look(reason=NOT_NAMED)), min_side_px))
    return rows, len(fresh)


def _seen(row: ManifestRow, seen: Look, min_side_px: int) -> ManifestRow:
    width_px, height_px = seen.width_px or 0, seen.height_px or 0
    reason = seen.reason
    if reason is None and min(width_px, height_px) < min_side_px:
        reason = f"too small: {width_px} x {height_px} px, under {min_side_px} px"
    return replace(
        row,
        status="kept" if reason is None else "skipped",
        reason=reason,
        split=row.split if reason is None else None,
        width_px=seen.width_px,
        height_px=seen.height_px,
        mode=seen.mode,
        format=seen.format,
        plain=seen.plain,
        bits=seen.bits,
        notes=seen.notes,
        sha256=seen.sha256,
        phashes=seen.prints.hashes if seen.prints else None,
        thumb=seen.prints.thumb if seen.prints else None,
    )


def _known_looks(
    wanted: Iterable[FoundFile],
    colour: Iterable[Any],
    earlier: Manifest | None,
    settings: PrepareSettings,
) -> dict[str, Look]:
    """What the run before learnt about files that did not change since, under the same limits."""
    if earlier is None or earlier.info["format"] != FORMAT:
        return {}
    if earlier.info["settings"]["max_megapixels"] != settings.max_megapixels:
        return {}
    before = {(row.path, row.size_bytes, row.mtime_ns): row for row in earlier.rows}
    need_print = {path.as_posix() for path in colour}
    looks: dict[str, Look] = {}
    for found in wanted:
        path = found.path.as_posix()
        row = before.get((path, found.size_bytes, found.mtime_ns))
        seen = _remembered(row, with_prints=path in need_print) if row else None
        if seen is not None:
            looks[path] = seen
    return looks


def _remembered(row: ManifestRow, *, with_prints: bool) -> Look | None:
    """What an earlier row says about its file; None where the file must be decoded again."""
    if row.sha256 is None:
        # A permission may have been given since, and a split file may name other files now.
        again = row.reason is None or row.reason == NOT_NAMED or is_transient(row.reason)
        return None if again else Look(reason=row.reason)
    if with_prints and row.phashes is None:
        return None
    return Look(
        width_px=row.width_px,
        height_px=row.height_px,
        mode=row.mode,
        format=row.format,
        plain=row.plain,
        bits=row.bits,
        notes=row.notes,
        sha256=row.sha256,
        prints=Fingerprint(row.phashes, row.thumb or b"") if row.phashes else None,
    )
