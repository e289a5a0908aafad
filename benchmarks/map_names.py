"""How many real maps and sets are read right from their file names alone.

    python benchmarks/map_names.py ../shared/data/pbr.csv

The table has the columns set_id (one asset), map (what the file is) and file. A map is right when
its kind means what the table says; a set, when all of its maps are, and its files alone are
one asset. Plain colour pictures (`--plain`: tables with a column file) must be taken for no map.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from machine import keep

from vaeneer.data.filenames import FileName, group_names

KINDS = {
    "color": {"color"},
    "normal": {"normal"},
    "rough": {"roughness", "gloss"},
    "metal": {"metalness"},
    "ao": {"ao"},
    "height": {"displacement", "bump"},
    "packed": {"packed"},
}
"""What the table calls a map -> the kinds of vaeneer that mean the same."""


def measure(table: Path) -> dict[str, Any]:
    """Accuracy per map and per set, with each miss."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = group_names(PurePosixPath(row["file"]) for row in rows)
    sets: dict[str, list[dict[str, str]]] = defaultdict(list)
    of_asset: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        sets[row["set_id"]].append(row)
        of_asset[names[PurePosixPath(row["file"])].asset].add(row["set_id"])
    misses = []
    right_maps = right_sets = 0
    for members in sets.values():
        found = [(row, names[PurePosixPath(row["file"])]) for row in members]
        good = [_is_right(row, name) for row, name in found]
        assets = {name.asset for _, name in found}
        whole = len(assets) == 1 and len(of_asset[next(iter(assets))]) == 1
        right_maps += sum(good)
        right_sets += all(good) and whole
        misses += [
            {"file": row["file"], "map": row["map"], "kind": name.kind, "asset": name.asset}
            for (row, name), right in zip(found, good, strict=True)
            if not right or not whole
        ]
    return {
        "maps": len(rows),
        "right_maps": right_maps,
        "map_accuracy": round(right_maps / len(rows), 4),
        "sets": len(sets),
        "right_sets": right_sets,
        "set_accuracy": round(right_sets / len(sets), 4),
        "misses": misses,
    }


def plain_pictures(table: Path) -> dict[str, Any]:
    """How many plain colour pictures are taken for something else than colour."""
    with table.open(encoding="utf-8", newline="") as stream:
        files = [PurePosixPath(row["file"]) for row in csv.DictReader(stream)]
    names = group_names(files)
    wrong = sorted(f"{path}: {names[path].kind}" for path in files if names[path].kind != "color")
    return {"table": table.name, "pictures": len(files), "taken_for_maps": wrong}


def _is_right(row: dict[str, str], name: FileName) -> bool:
    return name.kind in KINDS[row["map"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--plain", type=Path, nargs="*", default=())
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    options = parser.parse_args()
    result = measure(options.table)
    result["plain"] = [plain_pictures(table) for table in options.plain]
    result["kinds"] = {word: sorted(kinds) for word, kinds in KINDS.items()}
    print(f"maps {result['right_maps']} of {result['maps']}: {result['map_accuracy']}")
    print(f"sets {result['right_sets']} of {result['sets']}: {result['set_accuracy']}")
    for miss in result["misses"]:
        print("missed", miss)
    for plain in result["plain"]:
        print(
            plain["table"], plain["pictures"], "pictures; taken for maps:", plain["taken_for_maps"]
        )
    if not options.dry_run:
        print(keep("map-names", result))


if __name__ == "__main__":
    main()
