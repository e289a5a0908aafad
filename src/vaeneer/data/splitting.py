"""Which surface is trained on and which is held out: by asset, seeded, stable."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from unicodedata import normalize

from vaeneer.data.manifest import ManifestRow
from vaeneer.errors import SettingsError
from vaeneer.text import printable

SIDES = ("train", "valid")


def asset_fraction(asset: str, seed: int) -> float:
    """A number in [0, 1) that depends on the asset's key and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{asset}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def units(rows: Iterable[ManifestRow]) -> list[list[ManifestRow]]:
    """Kept and duplicate rows that must be on one side: same asset, same bytes or look-alikes."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    members = [row for row in rows if row.status in ("kept", "duplicate")]
    for row in members:
        names = (f"asset {row.asset}", f"file {row.duplicate_of or row.path}")
        for name in (*names, *([f"group {row.near_group}"] if row.near_group else [])):
            parent[root(name)] = root(names[0])
    parts: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in members:
        parts[root(f"asset {row.asset}")].append(row)
    return list(parts.values())


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


def straddling_pairs(rows: Sequence[ManifestRow]) -> list[tuple[str, str]]:
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
