"""Which files represent the assets: one colour map each, equal bytes once, look-alikes grouped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from vaeneer.data.manifest import ManifestRow
from vaeneer.data.near_duplicates import Fingerprint, near_duplicate_groups
from vaeneer.data.sidecars import Sidecar

NO_COLOUR_MAP = "no colour map"


def keep_one_colour_map(
    rows: Sequence[ManifestRow], links: Container[str] = ()
) -> list[ManifestRow]:
    """Of each asset keep the largest colour map; among equals no link, then the first by name.

    links: paths of symbolic links.
    """
    best: dict[str, ManifestRow] = {}
    for row in rows:
        if row.status == "kept" and row.kind == "color":
            rival = best.get(row.asset)
            if rival is None or _rank(row, links) < _rank(rival, links):
                best[row.asset] = row
    return [_as_map(row, best.get(row.asset)) if row.status == "kept" else row for row in rows]


def drop_exact_duplicates(
    rows: Sequence[ManifestRow], links: Container[str] = ()
) -> list[ManifestRow]:
    """Of kept files with the same bytes keep one: one that a given split trains on, else no link,
    else the first by name.

    links: paths of symbolic links.
    """
    first: dict[str | None, ManifestRow] = {}
    kept = (row for row in rows if row.status == "kept")
    for row in sorted(kept, key=lambda row: (row.split == "valid", row.path in links, row.path)):
        first.setdefault(row.sha256, row)
    return [
        row
        if row.status != "kept" or first[row.sha256] is row
        else replace(row, status="duplicate", duplicate_of=first[row.sha256].path, split=None)
        for row in rows
    ]


def group_near_duplicates(rows: Sequence[ManifestRow], max_bits: int) -> list[ManifestRow]:
    """Name the group of each kept file that looks like another kept one."""
    kept = [row for row in rows if row.status == "kept"]
    prints = [Fingerprint(row.phashes or b"", row.thumb or b"") for row in kept]
    group_of = {
        kept[position].path: kept[group[0]].path
        for group in near_duplicate_groups(prints, max_bits)
        for position in group
    }
    return [replace(row, near_group=group_of.get(row.path)) for row in rows]


def describe(rows: Sequence[ManifestRow], sidecars: Mapping[str, Sidecar]) -> list[ManifestRow]:
    """Fill in what the side-cars say (by asset), and the category from the folders else."""
    folders_are_categories = _folders_are_categories(rows)
    described = []
    for row in rows:
        sidecar = sidecars.get(row.asset)
        folder = row.path.split("/")[0] if folders_are_categories and "/" in row.path else None
        if sidecar is None:
            described.append(replace(row, category=folder))
            continue
        described.append(
            replace(
                row,
                name=sidecar.name,
                category=sidecar.category or folder,
                categories=sidecar.categories,
                tags=sidecar.tags,
                asset_id=sidecar.asset_id,
                sidecar=sidecar.path.as_posix(),
            )
        )
    return described


def _rank(row: ManifestRow, links: Container[str]) -> tuple[int, bool, str]:
    return (-(row.width_px or 0) * (row.height_px or 0), row.path in links, row.path)


def _as_map(row: ManifestRow, best: ManifestRow | None) -> ManifestRow:
    if best is None:
        return replace(row, status="map", reason=NO_COLOUR_MAP)
    if row is best:
        return row
    reason = f"{best.path} represents the asset" if row.kind == "color" else None
    return replace(row, status="map", reason=reason)


def _folders_are_categories(rows: Sequence[ManifestRow]) -> bool:
    """Whether some first folder holds two assets; else each folder is just an asset's own."""
    assets: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if "/" in row.path:
            assets[row.path.split("/")[0]].add(row.asset)
    return any(len(names) > 1 for names in assets.values())
