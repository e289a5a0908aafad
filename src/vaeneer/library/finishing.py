"""What follows from the catalog at the end of a run: faiss files, library.json, errors.csv."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vaeneer.files import write_json, write_text
from vaeneer.library.catalog import Catalog
from vaeneer.library.thumbnails import remove_thumbnails
from vaeneer.library.vector_files import PARTS, WHOLES, synced
from vaeneer.progress import Progress
from vaeneer.text import to_csv

FORMAT = 1
FACTS, ERRORS = "library.json", "errors.csv"


def finish(catalog: Catalog, library: Path, progress: Progress) -> dict[str, Any]:
    """Write all that follows from the catalog; returns what library.json says."""
    write_errors(library / ERRORS, catalog)
    known = read_facts(library)
    there = all((library / name).is_file() for name in (WHOLES, PARTS))
    if known is None or not there or known["generation"] != catalog.generation:
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
        "root": str(catalog.root),
        "model": catalog.needed("model"),
        "model_fingerprint": catalog.needed("model_fingerprint"),
        "dimensions": catalog.dimensions,
        "smallest_parts": catalog.needed("parts"),
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
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(library / FACTS, facts)
    catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a copy of the one file is whole then
    return facts


def read_facts(library: Path) -> dict[str, Any] | None:
    """What library.json says; None where it is missing or damaged: it can be made again."""
    try:
        facts = json.loads((library / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and facts.get("format") == FORMAT else None


def write_errors(path: Path, catalog: Catalog) -> None:
    """List by path what is not in the library, or was read in part: path, reason, outcome."""
    rows = catalog.execute(
        "SELECT path, reason, 'skipped' FROM failures"
        " UNION ALL SELECT path, reason, 'left out' FROM left_out"
        " UNION ALL SELECT path, (SELECT group_concat(value, '; ') FROM json_each(notes)), 'read'"
        " FROM items WHERE embedded AND notes <> '[]' ORDER BY 3 DESC, 1"
    )
    write_text(path, to_csv([("path", "reason", "outcome"), *rows]))


def _count(catalog: Catalog, what: str) -> int:
    return int(catalog.execute(f"SELECT count(*) FROM {what}").fetchone()[0])
