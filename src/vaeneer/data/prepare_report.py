"""What `prepare` found and did, in figures and lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vaeneer.data.manifest import ManifestRow
from vaeneer.data.scanning import Scan
from vaeneer.data.selecting import NO_COLOUR_MAP
from vaeneer.data.splitting import straddling_pairs
from vaeneer.text import printable


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

    straddling_pairs: tuple[tuple[str, str], ...] = ()
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
    pairs = straddling_pairs(rows)
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
        straddling_pairs=tuple(pairs),
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
