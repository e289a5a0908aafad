"""prepare: a raw folder of surfaces becomes a data set, clean and split without leaks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from vaeneer.data.exclusion import ScanRules, remedy
from vaeneer.data.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestRow,
    read_manifest,
    write_manifest,
)
from vaeneer.data.placing import name_outputs, place, remove_stale
from vaeneer.data.prepare_report import PrepareReport, make_report
from vaeneer.data.scanning import Scan, scan_folder
from vaeneer.data.selecting import (
    describe,
    drop_exact_duplicates,
    group_near_duplicates,
    keep_colour_maps,
)
from vaeneer.data.sidecar_matching import read_sidecars
from vaeneer.data.splitting import match_split, read_split, split_by_asset
from vaeneer.data.verifying import verified_rows
from vaeneer.errors import DataError, OutputExistsError
from vaeneer.files import claim_folder, holds_anything, mark_folder, remove_leftovers, write_json
from vaeneer.progress import Progress, Silent
from vaeneer.settings.training import PrepareSettings

__all__ = ["PrepareReport", "prepare"]

REPORT_NAME = "report.json"
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
        claim_folder(out, kind=_KIND, overwrite=True)
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
