"""From the manifest to DATA/train and DATA/valid: representatives, the split by asset, the files.

The split is seeded and stable. The source is never touched.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from vaeneer.data.categories import AssetPlace, folder_categories
from vaeneer.data.dataset import Manifest, ManifestRow, units
from vaeneer.data.decode_worker import DecodeJob, decode_image, in_processes
from vaeneer.data.filenames import FileName, group_names
from vaeneer.data.perceptual_hash import Fingerprint, near_duplicate_groups
from vaeneer.data.sidecars import Sidecar
from vaeneer.errors import ImageFileError, SettingsError, StorageError
from vaeneer.files import atomic_write, remove_leftovers
from vaeneer.progress import Progress
from vaeneer.text import match_key, printable

NO_COLOUR_MAP = "no colour map"
SIDES = ("train", "valid")
_LONGEST_BYTES = 120  # leaves room for our endings below the 255 of most file systems
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


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


def asset_fraction(asset: str, seed: int) -> float:
    """A number in [0, 1) that depends on the asset's key and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{asset}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_by_asset(
    rows: Sequence[ManifestRow], *, seed: int, valid_fraction: float, earlier: Mapping[str, str]
) -> dict[str, str]:
    """Asset -> train or valid. A unit (see `units`) goes to one side as a whole.

    Its smallest `asset_fraction` decides. `earlier` (asset or path -> side, of the run before)
    goes first; a unit that was on both sides goes to train, where a model may have seen it. Where
    all would land on one side, the unit nearest to the border is moved, if there are two.
    """
    parts = units(rows)
    lowest = [min(asset_fraction(row.asset, seed) for row in part) for part in parts]
    earlier_sides = [_earlier_side(part, earlier) for part in parts]
    sides = [
        side or ("valid" if fraction < valid_fraction else "train")
        for side, fraction in zip(earlier_sides, lowest, strict=True)
    ]
    if len(set(sides)) == 1:
        movable = [i for i, side in enumerate(earlier_sides) if side is None] or range(len(parts))
        if sides[0] == "train" and len(parts) > 1:
            sides[min(movable, key=lowest.__getitem__)] = "valid"
        elif sides[0] == "valid":
            sides[max(movable, key=lowest.__getitem__)] = "train"  # also where it is alone
    return {row.asset: side for part, side in zip(parts, sides, strict=True) for row in part}


def leaking_pairs(rows: Sequence[ManifestRow]) -> list[tuple[str, str]]:
    """Pairs of kept files (train, valid) that show one surface, as a given split may have them."""
    pairs: list[tuple[str, str]] = []
    for part in units(rows):
        train = [row.path for row in part if row.split == "train"]
        valid = [row.path for row in part if row.split == "valid"]
        pairs += product(train, valid)
    return sorted(pairs)


def read_split(path: Path) -> dict[str, str]:
    """Read a CSV file with the columns file and split: path below the raw folder -> side.

    Raises SettingsError for other columns or values, a file named twice, or an unreadable file.
    """
    lines = _lines(path)
    columns = [name.strip().lower() for name in lines[0][1]] if lines else []
    if sorted(columns) != ["file", "split"]:
        raise SettingsError(f"{path} has the columns {columns}; a split file has: file,split")
    column = columns.index("file")
    sides: dict[str, str] = {}
    for number, values in lines[1:]:
        if len(values) != 2:
            raise SettingsError(
                f"{path}, line {number}: {len(values)} columns; write file,split, a name with a"
                " comma in quotes."
            )
        name = values[column].replace("\\", "/").removeprefix("./")
        side = values[1 - column].strip()
        if side not in SIDES:
            raise SettingsError(f"{path}, line {number}: split is {side!r}; use train or valid.")
        if sides.setdefault(name, side) != side:
            raise SettingsError(
                f"{path}, line {number}: {printable(name)} is in train and in valid; name it once."
            )
    return sides


def match_split(
    split: Mapping[str, str] | None, paths: Iterable[str]
) -> tuple[dict[str, str] | None, tuple[str, ...]]:
    """Sides of scanned paths (None without a split), and the names of the split that none has.

    A name matches a path in the same or in the other Unicode normalization (NFC, NFD).
    Raises SettingsError where two such names of one path have two sides.
    """
    if split is None:
        return None, ()
    names: dict[str, list[str]] = defaultdict(list)
    for name in split:
        names[normalize("NFC", name)].append(name)
    sides: dict[str, str] = {}
    used: set[str] = set()
    for path in paths:
        matching = (
            [path] if path in split else names.get(normalize("NFC", path).replace("\\", "/"), [])
        )
        if len({split[name] for name in matching}) > 1:
            raise SettingsError(f"{printable(path)} is in train and in valid; name it once.")
        used.update(matching)
        if matching:
            sides[path] = split[matching[0]]
    return sides, tuple(sorted(set(split) - used))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Rows of a CSV file with the numbers of their lines, empty ones left out."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"The split file {path} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"The split file {path} is not UTF-8 (byte {error.start}); save it as CSV in UTF-8."
        ) from error
    if "\0" in text:
        raise SettingsError(
            f"The split file {path} holds NUL characters; save it as CSV in UTF-8, not UTF-16."
        )
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        return [(reader.line_num, values) for values in reader if values]
    except csv.Error as error:
        raise SettingsError(f"The split file {path} cannot be read: {error}.") from error


def _earlier_side(part: Sequence[ManifestRow], earlier: Mapping[str, str]) -> str | None:
    names = [name for row in part for name in (row.asset, row.path)]
    sides = {earlier[name] for name in names if name in earlier}
    return None if not sides else "train" if "train" in sides else "valid"


def asset_folder_name(asset: str) -> str:
    """One folder name for an asset key: readable, unique, the same on every run.

    '/' becomes '__', awkward characters '_'; a name that lost something gets 8 hex digits of the
    key's SHA-256.
    """
    joined = asset.replace("/", "__")
    name = _shortened(re.sub(r"[^\w.\-]+", "_", joined).strip("."))
    if name == joined and "__" not in asset and not _RESERVED.fullmatch(name):
        return name
    return f"{name}-{hashlib.sha256(asset.encode()).hexdigest()[:8]}"


def name_outputs(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Give each kept row its output path and whether that is a converted PNG."""
    taken: set[str] = set()
    named = []
    for row in rows:
        if row.status == "kept":
            source = PurePosixPath(row.path)
            folder = f"{row.split}/{asset_folder_name(row.asset)}"
            output = f"{folder}/{source.name if row.plain else _short_file(source.stem) + '.png'}"
            if output.lower() in taken:  # a.tga becomes a.png, but a.png is there
                digest = hashlib.sha256(row.path.encode()).hexdigest()[:8]
                longer = PurePosixPath(output)
                output = f"{folder}/{digest}-{_short_file(longer.stem)}{longer.suffix}"
            taken.add(output.lower())
            row = replace(row, output=output, converted=not row.plain)
        named.append(row)
    return named


def remove_stale(out: Path, earlier: Manifest, rows: Sequence[ManifestRow]) -> int:
    """Remove outputs of an earlier run that no row wants as they are; returns how many."""
    wanted = {_identity(row) for row in rows if row.output}
    removed = 0
    for row in earlier.rows:
        if row.output and _identity(row) not in wanted and _is_ours(row.output):
            file = out / row.output
            if file.is_file() or file.is_symlink():
                file.unlink()
                removed += 1
            with suppress(OSError):  # not empty, or gone
                file.parent.rmdir()
    return removed


def place(
    raw: Path,
    out: Path,
    rows: Sequence[ManifestRow],
    *,
    max_megapixels: float,
    workers: int,
    progress: Progress,
) -> None:
    """Make the outputs that are missing: hard link, else copy; PNG where a row is converted.

    Raises ImageFileError when a source changed or vanished since it was scanned.
    """
    for side in SIDES:
        (out / side).mkdir(parents=True, exist_ok=True)
        for folder in (out / side).iterdir():
            remove_leftovers(folder)
    missing = [row for row in rows if row.output and not (out / row.output).exists()]
    with progress.bar("placing images", total=len(missing), unit="images") as bar:
        for row in missing:
            if not row.converted and row.output:
                _link(raw / row.path, out / row.output)
                bar.advance()
        jobs = [
            DecodeJob(raw / row.path, max_megapixels, own_pictures=True, png=out / row.output)
            for row in missing
            if row.converted and row.output
        ]
        size_bytes = sum(row.size_bytes for row in missing if row.converted)
        answers = in_processes(decode_image, jobs, workers=workers, size_bytes=size_bytes)
        for job, answer in zip(jobs, answers, strict=True):
            if answer.reason is not None:
                raise ImageFileError(job.path, answer.reason)
            bar.advance()


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()  # of a symbolic link, the file
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # another device, or a file system without links
        try:
            with atomic_write(target) as temporary:
                shutil.copyfile(source, temporary)
        except StorageError:
            raise
        except OSError as error:
            raise ImageFileError(source, f"cannot be copied to {target}: {error}") from error


def _identity(row: ManifestRow) -> tuple[str | None, str | None, bool]:
    return (row.output, row.sha256, row.converted)


def _is_ours(output: str) -> bool:
    """Whether a path from a manifest lies where outputs lie, whoever wrote that manifest."""
    parts = PurePosixPath(output).parts
    return len(parts) == 3 and parts[0] in SIDES and ".." not in parts


def _shortened(name: str) -> str:
    return name.encode()[:_LONGEST_BYTES].decode(errors="ignore")


def _short_file(stem: str) -> str:
    short = _shortened(stem)
    return short if short == stem else f"{short}-{hashlib.sha256(stem.encode()).hexdigest()[:8]}"
