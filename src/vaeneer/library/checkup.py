"""What is damaged in a library: its catalog, the files that follow from it, and its model."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from vaeneer.checksums import damaged_file, read_stamped_json
from vaeneer.library.catalog import Catalog
from vaeneer.library.finishing import DUPLICATES, FORMAT, LAYOUT, read_facts
from vaeneer.library.map_layout import read_layout
from vaeneer.library.mending import damaged_crops
from vaeneer.library.own_model import FOLDER as MODEL
from vaeneer.library.own_model import MODEL_FILES, is_whole
from vaeneer.library.sealing import CATALOG, FACTS, listed_facts, remedy, state_of
from vaeneer.library.sketches import NAME as SKETCHES
from vaeneer.library.sketches import Sketches
from vaeneer.library.thumbnails import is_thumbnail_whole, thumbnail_path
from vaeneer.library.vector_files import PARTS, WHOLES, is_as_written
from vaeneer.progress import Progress

DERIVED = (DUPLICATES, LAYOUT, SKETCHES)
"""Files that are made again when they are needed, once they are deleted."""
_AGAIN = "delete it: it is made again when it is needed"
Fault = tuple[Path, str, str]


def library_faults(library: Path, progress: Progress) -> Iterator[Fault]:
    """Each file that is damaged, what is wrong with it, and how to mend it.

    Where the catalog is damaged nothing else is checked. Raises LibraryError for no library.
    """
    mend = remedy(library)
    facts = read_facts(library)
    listed = None if facts is None else facts["library"]
    state = state_of(library, thorough=True, listed=listed)
    if state in ("damaged", "foreign", "missing"):
        what = "it is of another library" if state == "foreign" else f"it is {state}"
        yield library / CATALOG, what, mend
        return
    catalog = Catalog.open(library)
    try:
        count = _damaged_vectors(catalog)
        if count:
            yield library / CATALOG, f"{count} vectors are damaged", mend
            return
        if state == "unsealed" and not catalog.was_older:
            yield library / CATALOG, "the last run of index did not come to its end", mend
        unsummed = _is_unsummed(library) and catalog.file_sha256(WHOLES) is None
        for name in (WHOLES, PARTS):
            if unsummed and catalog.file_sha256(name) is None:
                continue  # search does not read it
            if not is_as_written(catalog, library / name, thorough=True):
                yield library / name, "it is missing or not as it was written", mend
        if not unsummed and (facts is None or listed != catalog.library):
            yield library / FACTS, "it is missing, damaged or of another library", mend
        yield from _derived_faults(catalog, library)
        yield from _model_faults(catalog, library, mend)
        yield from _thumbnail_faults(catalog, library, progress, mend)
    except sqlite3.DatabaseError as error:
        yield library / CATALOG, str(error), mend
    finally:
        catalog.close()


def _is_unsummed(library: Path) -> bool:
    """Whether library.json is of a version before it had a checksum."""
    known = listed_facts(library).get("format")
    return type(known) is int and known < FORMAT


def _damaged_vectors(catalog: Catalog) -> int:
    with catalog.connection() as connection:
        return len(damaged_crops(connection))


def _derived_faults(catalog: Catalog, library: Path) -> Iterator[Fault]:
    layout = library / LAYOUT
    if layout.is_file() and read_layout(layout, library=catalog.library) is None:
        yield layout, "it is damaged or of another library; places on the map are lost", _AGAIN
    if (library / DUPLICATES).is_file():
        try:
            read_stamped_json(library / DUPLICATES, unstamped=True)
        except (OSError, ValueError) as error:
            yield library / DUPLICATES, str(error), _AGAIN
    if count := Sketches(library).damaged_rows():
        yield library / SKETCHES, f"{count} rows are damaged", _AGAIN


def _model_faults(catalog: Catalog, library: Path, mend: str) -> Iterator[Fault]:
    folder = library / MODEL
    if not is_whole(folder, catalog.needed("model_fingerprint")):
        yield folder, "it is not the model that made the vectors", mend
    elif damaged_file(folder, MODEL_FILES) is not None:
        yield folder, "its SHA256SUMS is damaged", mend


def _thumbnail_faults(
    catalog: Catalog, library: Path, progress: Progress, mend: str
) -> Iterator[Fault]:
    rows = catalog.execute("SELECT DISTINCT lower(hex(sha256)) FROM items WHERE embedded")
    sums = [sha256 for (sha256,) in rows]
    with progress.bar("thumbnails", total=len(sums), unit="files") as bar:
        for sha256 in sums:
            path = thumbnail_path(library, sha256)
            if not is_thumbnail_whole(path):
                yield path, "it is missing or damaged", mend
            bar.advance()
