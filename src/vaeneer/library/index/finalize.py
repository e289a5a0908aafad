"""What follows from the catalog at the end of a run: faiss files, library.json, errors.csv."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vaeneer.checksums import read_stamped_json, write_stamped_json
from vaeneer.files import write_text
from vaeneer.library.catalog import Catalog
from vaeneer.library.catalog_file import FACTS
from vaeneer.library.store import PARTS, WHOLES, is_as_written, remove_thumbnails, synced
from vaeneer.progress import Progress
from vaeneer.text import to_csv

FORMAT = 2
ERRORS = "errors.csv"
LAYOUT, DUPLICATES = "map.npz", "duplicates.json"
_TYPES = {
    "vaeneer_version": str, "library": str, "root": str, "model": str, "model_fingerprint": str,
    "dimensions": int, "smallest_parts": str, "items": int, "assets": int, "offline": int,
    "maps": int, "failures": int, "left_out": dict, "noted": int, "generation": int,
    "wholes": dict, "parts": dict, "rules": str, "date": str,
}  # fmt: skip
"""The fields of library.json beside its format and checksum."""


def finish(catalog: Catalog, library: Path, progress: Progress) -> dict[str, Any]:
    """Write all that follows from the catalog; returns what library.json says."""
    write_errors(library / ERRORS, catalog)
    _drop_damaged(catalog, library, progress)
    known = read_facts(library)
    whole = all(is_as_written(catalog, library / n, thorough=True) for n in (WHOLES, PARTS))
    same = known is not None and known["library"] == catalog.library
    if known is None or not (same and whole) or known["generation"] != catalog.generation:
        known = None
        rows = catalog.execute("SELECT DISTINCT lower(hex(sha256)) FROM items WHERE embedded")
        remove_thumbnails(library, (sha256 for (sha256,) in rows))
    wholes, parts = (
        (known["wholes"], known["parts"])
        if known is not None
        else [found.facts() for found in synced(catalog, library, write=True, progress=progress)]
    )
    facts = {
        "format": FORMAT,
        "vaeneer_version": version("vaeneer"),
        "library": catalog.library,
        "root": str(catalog.root),
        "model": catalog.require_meta("model"),
        "model_fingerprint": catalog.require_meta("model_fingerprint"),
        "dimensions": catalog.dimensions,
        "smallest_parts": catalog.require_meta("parts"),
        "items": _count(catalog, "items WHERE embedded"),
        "assets": _count(catalog, "(SELECT DISTINCT asset FROM items WHERE embedded)"),
        "offline": _count(catalog, "items WHERE embedded AND offline"),
        "maps": _count(catalog, "maps"),
        "failures": _count(catalog, "failures"),
        "left_out": catalog.left_out(),
        "noted": _count(catalog, "items WHERE embedded AND notes <> '[]'"),
        "generation": catalog.generation,
        "wholes": wholes,
        "parts": parts,
        "rules": catalog.get_meta("rules") or "{}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_stamped_json(library / FACTS, facts)
    catalog.set_meta("finished_ns", str(time.time_ns()))
    catalog.seal()  # a copy of the one file is whole then
    return facts


def read_facts(library: Path) -> dict[str, Any] | None:
    """What library.json says; None where it is missing, damaged or old: it can be made again."""
    try:
        facts = read_stamped_json(library / FACTS)
    except (OSError, ValueError):
        return None
    fits = all(type(facts.get(name)) is kind for name, kind in _TYPES.items())
    return facts if fits and facts.get("format") == FORMAT else None


def write_errors(path: Path, catalog: Catalog) -> None:
    """List by path what is not in the library, or was read in part: path, reason, outcome."""
    rows = catalog.execute(
        "SELECT path, reason, 'skipped' FROM failures"
        " UNION ALL SELECT path, reason, 'left out' FROM left_out"
        " UNION ALL SELECT path, (SELECT group_concat(value, '; ') FROM json_each(notes)), 'read'"
        " FROM items WHERE embedded AND notes <> '[]' ORDER BY 3 DESC, 1"
    )
    write_text(path, to_csv([("path", "reason", "outcome"), *rows]))


def _drop_damaged(catalog: Catalog, library: Path, progress: Progress) -> None:
    """Delete a damaged layout or list of duplicates: each is made again when it is needed."""
    from vaeneer.library.map.layout import read_layout

    layout, duplicates = library / LAYOUT, library / DUPLICATES
    damaged = []
    if layout.is_file() and read_layout(layout, library=catalog.library) is None:
        damaged.append(layout)
    try:
        read_stamped_json(duplicates, unstamped=True)
    except FileNotFoundError:
        pass
    except (OSError, ValueError):
        damaged.append(duplicates)
    for file in damaged:
        progress.say(f"{file} is damaged or of another library; it is made again when it is needed")
        file.unlink(missing_ok=True)


def _count(catalog: Catalog, what: str) -> int:
    return int(catalog.execute(f"SELECT count(*) FROM {what}").fetchone()[0])
