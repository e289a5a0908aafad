"""List what a library already has of a delivery: each file with its best match, as CSV.

python examples/compare_delivery.py LIBRARY DELIVERY --out matches.csv

A program to start from: it opens a library, searches it by many files, takes bad files as they
come, and is checked by `mypy --strict`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import vaeneer
from vaeneer.errors import ImageFileError

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Match:
    """One file of a delivery, and what in the library is most similar to it."""

    file: str
    match: str
    """exact, likely, similar, none, or why the file cannot be read."""
    probability: float | None = None
    """That both show one surface, 0 to 1; None where the model is not calibrated."""
    item: int | None = None
    path: str = ""


def matches(library: vaeneer.Library, files: list[Path], where: str | None) -> Iterator[Match]:
    """The best match of each file; items that do not meet `where` are no matches."""
    for file in files:
        try:
            hits = library.search(file, k=1, where=where)
        except ImageFileError as error:  # one bad file stops nothing
            yield Match(str(file), f"cannot be read: {error.reason}")
            continue
        if hits:
            best = hits[0]
            word = best.match or "similar"
            yield Match(str(file), word, best.probability, best.id, best.path)
        else:
            yield Match(str(file), "none")


def main() -> int:
    """Write the table; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("library", type=Path, help="a library, or a folder that was indexed")
    parser.add_argument("delivery", type=Path, help="a folder of new images")
    parser.add_argument("--out", type=Path, default=Path("matches.csv"))
    parser.add_argument("--where", help="a condition on the items, such as: category = 'wood'")
    options = parser.parse_args()
    files = sorted(f for f in options.delivery.rglob("*") if f.suffix.lower() in SUFFIXES)
    try:
        with vaeneer.Library(options.library) as library:
            found = list(matches(library, files, options.where))
    except vaeneer.VaeneerError as error:  # one sentence, with what to do
        print(f"Error: {error}", file=sys.stderr)
        return 1
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(field.name for field in fields(Match))
        table.writerows(map(astuple, found))
    known = sum(match.match in ("exact", "likely") for match in found)
    print(f"{known} of {len(found)} files are in the library already: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
