"""prepare: a raw folder of surfaces becomes a data set, clean and split without leaks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from vaeneer.data.dataset import (
    FORMAT,
    MANIFEST_NAME,
    Manifest,
    ManifestRow,
    read_manifest,
    write_manifest,
)
from vaeneer.data.decode_worker import DecodedImage, DecodeJob, decode_image, in_processes
from vaeneer.data.exclusion import ScanRules, remedy
from vaeneer.data.filenames import group_names
from vaeneer.data.scan import Scan, scan_folder
from vaeneer.data.sidecar_matching import read_sidecars
from vaeneer.data.split import (
    NO_COLOUR_MAP,
    describe,
    drop_exact_duplicates,
    group_near_duplicates,
    keep_colour_maps,
    leaking_pairs,
    match_split,
    name_outputs,
    place,
    read_split,
    remove_stale,
    split_by_asset,
)
from vaeneer.errors import DataError, OutputExistsError, is_transient
from vaeneer.files import holds_anything, mark_folder, new_output_dir, remove_leftovers, write_json
from vaeneer.progress import Progress, Silent
from vaeneer.settings import PrepareSettings
from vaeneer.text import printable

NOT_NAMED = "not named in the split file"
_COLOUR_KINDS = frozenset({"color", "preview"})
REPORT_NAME = "report.json"
_FACTS = (
    "width_px",
    "height_px",
    "mode",
    "format",
    "plain",
    "bits",
    "notes",
    "sha256",
    "phashes",
    "thumb",
)
"""Columns of the manifest that follow from the bytes of a file."""
_KIND = "data set"


def prepare(
    raw: Path | str,
    *,
    out: Path | str,
    settings: PrepareSettings | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Scan, verify, group, deduplicate and split `raw` into `out`/train and `out`/valid.

    `raw` is never changed. A second run decodes only files that changed and moves no asset to the
    other side, unless a new look-alike joins assets of both (those go to train). `dry_run` writes
    nothing; `overwrite` empties `out` first and forgets earlier sides.
    Raises SettingsError for settings out of range, DataError when nothing is usable and
    OutputExistsError when `out` holds something that no earlier run of `prepare` made.
    """
    settings, progress, started = (
        settings or PrepareSettings(),
        progress or Silent(),
        time.monotonic(),
    )
    raw, out = _checked_folders(Path(raw), Path(out))
    earlier = _earlier_run(raw, out, overwrite=overwrite)
    rules, notices = _earlier_rules(earlier).changed(settings.exclude, settings.include_previews)
    settings = replace(settings, exclude=rules.exclude, include_previews=rules.include_previews)
    split = read_split(settings.split) if settings.split else None
    scan = scan_folder(raw, ignore=out, rules=rules, originals=split or ())
    given, missing = match_split(split, [found.path.as_posix() for found in scan.images])

    rows, decoded = verified_rows(scan, given, earlier, settings, progress)
    links = {found.path.as_posix() for found in scan.images if found.link is not None}
    if given is None:
        rows = keep_colour_maps(rows, settings.near_duplicate_bits, links)
    rows = drop_exact_duplicates(rows, links)
    _refuse_nothing_usable(raw, rows, scan, given)
    rows = group_near_duplicates(rows, settings.near_duplicate_bits)
    if given is None:
        rows = _split(rows, settings, earlier)
    sidecars = read_sidecars(raw, scan.sidecars, {row.path: row.asset for row in rows})
    rows = name_outputs(describe(rows, sidecars.of_asset))

    warnings = [*scan.warnings, *sidecars.warnings]
    report = make_report(raw, out, rows, scan, missing, warnings, dry_run=dry_run, decoded=decoded)
    report = replace(report, unread_sidecars=sidecars.unread)
    for line in notices:
        progress.say(line)
    if not dry_run:
        _write(raw, out, rows, earlier, settings, overwrite=overwrite, progress=progress)
    report = replace(report, seconds=round(time.monotonic() - started, 3))
    if not dry_run:
        write_json(out / REPORT_NAME, report.to_dict() | _how(raw, settings))
    return report


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What `prepare` found and did. scanned = kept + maps + exact_duplicates + skipped images."""

    raw: Path
    out: Path
    dry_run: bool

    scanned: int
    """Image files."""

    decoded: int
    """Image files that were decoded now; the others are as in the run before."""

    kept: int
    """Images in the data set."""

    maps: int
    """Other maps of kept assets: verified and listed, not in the data set."""

    exact_duplicates: int
    """Images left out because a kept one has the same bytes."""

    near_groups: int
    """Groups of kept images that show one surface."""

    near_images: int
    """Images in those groups."""

    assets: int
    """Assets with an image in the data set."""

    train: int
    valid: int

    converted: int
    """Kept images that were written as PNG."""

    skipped: dict[str, int]
    """Reason -> number of files, of all types but side-car JSON."""

    sidecars: int
    """JSON files."""

    unread_sidecars: tuple[tuple[str, str], ...] = ()
    """(path, reason) of each JSON file of which nothing is used."""

    skipped_files: tuple[tuple[str, str], ...] = ()
    """(path, reason) of each file that was skipped and that a user may miss."""

    notes: tuple[tuple[str, str], ...] = ()
    """(path, note) of each image that was read without a damaged or unusual part of its file."""

    leaking_pairs: tuple[tuple[str, str], ...] = ()
    """(train, valid) paths that show one surface, in a given split."""

    missing: tuple[str, ...] = ()
    """Files that the given split names and the raw folder lacks."""

    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self) | {"raw": str(self.raw), "out": str(self.out)}


def make_report(
    raw: Path,
    out: Path,
    rows: Sequence[ManifestRow],
    scan: Scan,
    missing: Sequence[str],
    warnings: Sequence[str],
    *,
    dry_run: bool,
    decoded: int,
) -> PrepareReport:
    """Count what became of every file. `missing`: of the split file; `warnings`: those so far."""
    kept = [row for row in rows if row.status == "kept"]
    skipped = [(row.path, row.reason) for row in rows if row.status == "skipped" and row.reason]
    skipped += [(row.path, NO_COLOUR_MAP) for row in rows if row.reason == NO_COLOUR_MAP]
    reasons = Counter(reason.split(":")[0] for _, reason in skipped) + Counter(scan.others)
    skipped += scan.left_out
    pairs = leaking_pairs(rows)
    sides = Counter(row.split for row in kept)
    return PrepareReport(
        raw=raw,
        out=out,
        dry_run=dry_run,
        scanned=len(rows),
        decoded=decoded,
        kept=len(kept),
        maps=sum(row.status == "map" and row.reason != NO_COLOUR_MAP for row in rows),
        exact_duplicates=sum(row.status == "duplicate" for row in rows),
        near_groups=len({row.near_group for row in kept} - {None}),
        near_images=sum(row.near_group is not None for row in kept),
        assets=len({row.asset for row in kept}),
        train=sides["train"],
        valid=sides["valid"],
        converted=sum(row.converted for row in kept),
        skipped=dict(reasons.most_common()),
        sidecars=len(scan.sidecars),
        skipped_files=tuple(sorted(skipped)),
        notes=tuple((row.path, note) for row in rows for note in row.notes),
        leaking_pairs=tuple(pairs),
        missing=tuple(missing),
        warnings=(*warnings, *_warnings(pairs, missing, sides)),
    )


def _warnings(
    pairs: Sequence[tuple[str, str]], missing: Sequence[str], sides: Mapping[str | None, int]
) -> list[str]:
    lines = []
    if pairs:
        lines.append(
            f"The given split has {len(pairs)} pairs of one surface on both sides, first:"
            f" {pairs[0][0]} (train) and {pairs[0][1]} (valid)."
        )
    if missing:
        lines.append(
            f"{len(missing)} files of the split are not there, first: {printable(missing[0])}"
        )
    for side in ("train", "valid"):
        if not sides.get(side):
            lines.append(f"No image is on the {side} side; training needs both.")
    return lines


def verified_rows(
    scan: Scan,
    given: Mapping[str, str] | None,
    earlier: Manifest | None,
    settings: PrepareSettings,
    progress: Progress,
) -> tuple[list[ManifestRow], int]:
    """A row for each image: kept so far, or skipped with the reason; and how many were decoded.

    A file that did not change since an earlier run under the same limits is not decoded again.
    """
    names = group_names(found.path for found in scan.images)
    rows = {
        found.path.as_posix(): ManifestRow(
            path=found.path.as_posix(),
            asset=names[found.path].asset,
            kind=names[found.path].kind,
            status="kept",
            split=given.get(found.path.as_posix()) if given is not None else None,
            reason=NOT_NAMED,
            size_bytes=found.size_bytes,
            mtime_ns=found.mtime_ns,
            link=found.link,
        )
        for found in scan.images
    }
    colour = {path for path, row in rows.items() if given is not None or row.kind in _COLOUR_KINDS}
    before = {row.path: row for row in _comparable_rows(earlier, settings)}
    jobs = {}
    for found in scan.images:
        path = found.path.as_posix()
        if given is not None and path not in given:
            continue
        known = before.get(path)
        if known is not None and _still_holds(known, rows[path], with_prints=path in colour):
            reason = known.reason if known.sha256 is None else None
            facts = {name: getattr(known, name) for name in _FACTS}
            rows[path] = replace(rows[path], reason=reason, **facts)
        else:
            jobs[path] = DecodeJob(found.file, settings.max_megapixels, fingerprint=path in colour)
    size_bytes = sum(rows[path].size_bytes for path in jobs)
    with progress.bar("reading images", total=len(jobs), unit="images") as bar:
        answers = in_processes(
            decode_image, list(jobs.values()), workers=settings.workers, size_bytes=size_bytes
        )
        for path, answer in zip(jobs, answers, strict=True):
            rows[path] = _with_facts(rows[path], answer)
            bar.advance()
    checked = [
        _checked(row, settings.min_side_px if path in colour else 1) for path, row in rows.items()
    ]
    return checked, len(jobs)


def _with_facts(row: ManifestRow, decoded: DecodedImage) -> ManifestRow:
    if decoded.reason is not None:
        return replace(row, reason=decoded.reason)
    return replace(
        row,
        reason=None,
        width_px=decoded.width_px,
        height_px=decoded.height_px,
        mode=decoded.mode,
        format=decoded.format,
        plain=decoded.plain,
        bits=decoded.bits,
        notes=decoded.notes,
        sha256=decoded.sha256.hex(),
        phashes=decoded.prints.hashes if decoded.prints else None,
        thumb=decoded.prints.thumb if decoded.prints else None,
    )


def _checked(row: ManifestRow, min_side_px: int) -> ManifestRow:
    """The row, skipped where it has a reason or its image is too small."""
    reason, width_px, height_px = row.reason, row.width_px or 0, row.height_px or 0
    if reason is None and min(width_px, height_px) < min_side_px:
        reason = f"too small: {width_px} x {height_px} px, under {min_side_px} px"
    return row if reason is None else replace(row, status="skipped", reason=reason, split=None)


def _comparable_rows(
    earlier: Manifest | None, settings: PrepareSettings
) -> tuple[ManifestRow, ...]:
    """The rows of an earlier run with the same meaning and the same limits."""
    if earlier is None or earlier.info["format"] != FORMAT:
        return ()
    same = earlier.info["settings"]["max_megapixels"] == settings.max_megapixels
    return earlier.rows if same else ()


def _still_holds(known: ManifestRow, row: ManifestRow, *, with_prints: bool) -> bool:
    """Whether an earlier row says all that is needed of a file that did not change."""
    if (known.size_bytes, known.mtime_ns) != (row.size_bytes, row.mtime_ns):
        return False
    if known.sha256 is not None:
        return not with_prints or known.phashes is not None
    # A permission may have been given since, and a split file may name other files now.
    return known.reason not in (None, NOT_NAMED) and not is_transient(known.reason or "")


__all__ = ["PrepareReport", "prepare"]


def _earlier_rules(earlier: Manifest | None) -> ScanRules:
    """What the run before left out; a data set keeps it."""
    before = earlier.info["settings"] if earlier else {}
    return ScanRules(tuple(before.get("exclude") or ()), bool(before.get("include_previews")))


def _split(
    rows: Sequence[ManifestRow], settings: PrepareSettings, earlier: Manifest | None
) -> list[ManifestRow]:
    sides = split_by_asset(
        rows,
        seed=settings.seed,
        valid_fraction=settings.valid_fraction,
        earlier=_earlier_sides(earlier, settings),
    )
    return [replace(row, split=sides[row.asset]) if row.status == "kept" else row for row in rows]


def _earlier_sides(earlier: Manifest | None, settings: PrepareSettings) -> dict[str, str]:
    """Asset and path -> side in the run before, if that split by the same rule."""
    if earlier is None:
        return {}
    before = earlier.info["settings"]
    same = (settings.seed, settings.valid_fraction, None)
    if (before["seed"], before["valid_fraction"], before["split"]) != same:
        return {}
    kept = [row for row in earlier.rows if row.split is not None]
    return {name: row.split or "" for row in kept for name in (row.asset, row.path)}


def _write(
    raw: Path,
    out: Path,
    rows: Sequence[ManifestRow],
    earlier: Manifest | None,
    settings: PrepareSettings,
    *,
    overwrite: bool,
    progress: Progress,
) -> None:
    """Remove, then list, then place: whatever interrupts this, the next run knows every output."""
    if overwrite:
        new_output_dir(out, kind=_KIND, overwrite=True)
    elif earlier is not None:
        remove_stale(out, earlier, rows)
    write_manifest(out, rows, _how(raw, settings))
    mark_folder(out, _KIND)
    place(
        raw,
        out,
        rows,
        max_megapixels=settings.max_megapixels,
        workers=settings.workers,
        progress=progress,
    )


def _refuse_nothing_usable(
    raw: Path, rows: Sequence[ManifestRow], scan: Scan, given: Mapping[str, str] | None
) -> None:
    if any(row.status == "kept" for row in rows):
        return
    reasons = Counter(row.reason.split(":")[0] for row in rows if row.reason)
    found = (reasons + Counter(scan.others)).most_common(5)
    listed = ", ".join(f"{count} {reason}" for reason, count in found) or "it is empty"
    way = remedy(reasons.keys() | scan.others.keys())
    if given is not None:
        way = f"the split file's names must be paths below {raw}"
    raise DataError(f"{raw} holds no usable image ({listed}); {way}.")


def _checked_folders(raw: Path, out: Path) -> tuple[Path, Path]:
    if not raw.is_dir():
        what = "is a file, not a folder" if raw.exists() else "does not exist"
        raise DataError(f"{raw} {what}; name the folder of your images.")
    if raw.resolve() == out.resolve():
        raise DataError(f"{out} is the raw folder itself; name another --out.")
    if out.resolve() in raw.resolve().parents:
        raise DataError(f"{raw} lies inside the output folder {out}; name another --out.")
    return raw, out


def _earlier_run(raw: Path, out: Path, *, overwrite: bool) -> Manifest | None:
    """The manifest of the run before; refuses a folder that holds anything else."""
    if overwrite:
        inside = raw.resolve() in out.resolve().parents
        if inside and out.is_dir() and holds_anything(out) and not (out / MANIFEST_NAME).is_file():
            raise OutputExistsError(
                f"{out} lies inside the raw folder and may hold sources; name another --out."
            )
        return None
    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"{out} is a file; name a folder for the output.")
    remove_leftovers(out)
    earlier = read_manifest(out)
    if earlier is None and out.is_dir() and holds_anything(out):
        raise OutputExistsError(
            f"{out} is not empty and was not made by vaeneer prepare;"
            " pass --overwrite to replace it, or another --out."
        )
    return earlier


def _how(raw: Path, settings: PrepareSettings) -> dict[str, Any]:
    """What the manifest and the report say about how they were made."""
    plain = asdict(settings) | {"split": str(settings.split) if settings.split else None}
    return {
        "version": metadata.version("vaeneer"),
        "raw": str(raw.resolve()),
        "settings": plain,
    }
