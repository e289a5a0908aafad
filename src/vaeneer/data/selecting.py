"""Which files represent the assets: each colour picture once, look-alikes grouped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from vaeneer.data.categories import AssetPlace, folder_categories
from vaeneer.data.manifest import ManifestRow
from vaeneer.data.naming import FileName, group_names
from vaeneer.data.near_duplicates import Fingerprint, near_duplicate_groups
from vaeneer.data.sidecars import Sidecar
from vaeneer.text import match_key

NO_COLOUR_MAP = "no colour map"


def keep_colour_maps(
    rows: Sequence[ManifestRow], max_bits: int, links: Container[str] = ()
) -> list[ManifestRow]:
    """Of each asset keep each colour picture once: the largest file, no link, first by name.

    Resolutions and colour variants are one picture. Tiles are several, and so are numbered files
    (`_01`, `_02`) and files that differ in their suffix alone, where they look unlike each other.
    links: paths of symbolic links.
    """
    colours: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        if row.status == "kept" and row.kind == "color":
            colours[row.asset].append(row)
    crowded = {asset for asset, members in colours.items() if len(members) > 1}
    names = group_names(PurePosixPath(row.path) for row in rows if row.asset in crowded)
    best: dict[str, str] = {}
    for asset, members in colours.items():
        if asset in crowded:
            members = sorted(members, key=lambda row: _rank(row, links))
            best |= _representatives(members, names, max_bits)
        else:
            best[members[0].path] = members[0].path
    return [_as_map(row, best.get(row.path), row.asset in colours) for row in rows]


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
    spellings = {one.category for one in sidecars.values() if one.category is not None}
    folders = folder_categories(_asset_places(rows), spellings)
    described = []
    for row in rows:
        sidecar = sidecars.get(row.asset)
        folder = folders.get(row.asset)
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


def _representatives(
    members: Sequence[ManifestRow], names: Mapping[PurePosixPath, FileName], max_bits: int
) -> dict[str, str]:
    """Path of each colour file of an asset, best first -> path of the one that represents it."""
    kept: list[tuple[ManifestRow, FileName]] = []
    best: dict[str, str] = {}
    named = [(row, names[PurePosixPath(row.path)]) for row in members]
    for row, name in sorted(named, key=lambda one: one[1].variant):
        rivals = (other for other, its in kept if _one_picture(row, name, other, its, max_bits))
        rival = next(rivals, None)
        if rival is None:
            kept.append((row, name))
        best[row.path] = (rival or row).path
    return best


def _one_picture(
    row: ManifestRow, name: FileName, other: ManifestRow, its: FileName, max_bits: int
) -> bool:
    """Whether two colour files of an asset are one picture: by their names, else by their looks."""
    if name.tile != its.tile:
        return False
    stems = [match_key(PurePosixPath(path).stem) for path in (row.path, other.path)]
    if name.variant or (name.copy == its.copy and stems[0] != stems[1]):
        return True
    if row.sha256 == other.sha256:
        return False  # listed as an exact duplicate
    prints = [Fingerprint(one.phashes or b"", one.thumb or b"") for one in (row, other)]
    return bool(near_duplicate_groups(prints, max_bits))


def _rank(row: ManifestRow, links: Container[str]) -> tuple[int, bool, str]:
    return (-(row.width_px or 0) * (row.height_px or 0), row.path in links, row.path)


def _as_map(row: ManifestRow, best: str | None, has_colour: bool) -> ManifestRow:
    if row.status != "kept" or row.path == best:
        return row
    if not has_colour:
        return replace(row, status="map", reason=NO_COLOUR_MAP)
    reason = f"{best} represents the asset" if row.kind == "color" else None
    return replace(row, status="map", reason=reason)


def _asset_places(rows: Sequence[ManifestRow]) -> dict[str, AssetPlace]:
    """Where each asset with a color map lies."""
    kinds: dict[str, set[str]] = defaultdict(set)
    folders: dict[str, str] = {}
    for row in rows:
        kinds[row.asset].add(row.kind)
        if row.kind == "color":
            folders.setdefault(row.asset, row.path.rpartition("/")[0])
    return {
        asset: AssetPlace(
            folder,
            "" if asset == folder else asset.rpartition("/")[2],
            has_maps=len(kinds[asset]) > 1,
        )
        for asset, folder in folders.items()
    }
