"""What a library holds as a table of vectors: whole images and their parts, without a network."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaeneer.errors import LibraryError
from vaeneer.library.catalog import Crop, Floats, Item
from vaeneer.library.library import Library
from vaeneer.library.vector_tables import EmbedReport, VectorTable, write_vectors
from vaeneer.progress import Progress

if TYPE_CHECKING:
    import pyarrow

PARTS = {0: "whole", 1: "square", 2: "half", 4: "quarter"}
"""Scale of a crop in the catalog -> what the column `part` calls it."""
_ITEMS_AT_ONCE = 256
_Row = tuple[Item, Crop]


def export_library(library: Library, target: Path, progress: Progress) -> EmbedReport:
    """Write all vectors of a library to `target`, items by path, the whole image of each first.

    Raises LibraryError for a damaged vector, and where there is none.
    """
    started = time.monotonic()
    table = _table(library, progress)
    files = write_vectors(target, table)
    images = int(np.sum(np.asarray(table.names["part"]) == PARTS[0]))
    return EmbedReport(
        out=str(target),
        model=str(table.facts["model"]),
        folder=str(library.root),
        library=str(library.folder),
        shard=None,
        images=images,
        parts=len(table) - images,
        resumed=0,
        dimensions=table.vectors.shape[1],
        representation="embedding",
        device=None,
        skipped={},
        images_per_second=None,
        seconds=time.monotonic() - started,
        files=[str(file) for file in files],
    )


def _table(library: Library, progress: Progress) -> VectorTable:
    import pyarrow

    names: list[pyarrow.Table] = []
    vectors: list[Floats] = []
    items = library.items()
    with progress.bar("exporting", total=len(items), unit="images") as bar:
        for start in range(0, len(items), _ITEMS_AT_ONCE):
            group = items[start : start + _ITEMS_AT_ONCE]
            crops = list(_crops_of(library, group))
            found = library.catalog.vectors([crop.id for _, crop in crops])
            left = set(found.crops.tolist())  # less what a run of index took away just now
            names.append(_names([row for row in crops if row[1].id in left]))
            vectors.append(found.vectors)
            bar.advance(len(group))
    if not names:
        raise LibraryError(f"{library.folder} has no vectors; run vaeneer index again.")
    facts = {
        "library": library.catalog.library,
        "model": library.catalog.needed("model"),
        "model_fingerprint": library.catalog.needed("model_fingerprint"),
        "generation": library.catalog.generation,
        "representation": "embedding",
    }
    return VectorTable(pyarrow.concat_tables(names), np.concatenate(vectors), facts)


def _crops_of(library: Library, items: Sequence[Item]) -> Iterator[_Row]:
    """The items with their crops: items as given, the whole image first, then larger parts."""
    marks = ",".join("?" * len(items))
    rows = library.catalog.execute(
        "SELECT id, item, scale, x, y, width, height FROM crops"
        f" WHERE item IN ({marks}) ORDER BY scale, id",
        [item.id for item in items],
    )
    crops: dict[int, list[Crop]] = {item.id: [] for item in items}
    for row in rows:
        crops[row[1]].append(Crop(row[0], row[1], row[2], row[3:7]))
    return ((item, crop) for item in items for crop in crops[item.id])


def _names(rows: Sequence[_Row]) -> pyarrow.Table:
    """What each vector is of: its item, and which part of it."""
    import pyarrow

    text, number = pyarrow.string(), pyarrow.int32()
    columns = {
        "file": pyarrow.array([item.path for item, _ in rows], text),
        "asset": pyarrow.array([item.asset for item, _ in rows], text),
        "category": pyarrow.array([item.category for item, _ in rows], text),
        "item": pyarrow.array([item.id for item, _ in rows], pyarrow.int64()),
        "part": pyarrow.array([PARTS[crop.scale] for _, crop in rows], text),
    }
    sides = zip(*(crop.box for _, crop in rows), strict=True)
    boxes = zip(("x", "y", "width", "height"), sides, strict=True)
    return pyarrow.table(columns | {name: pyarrow.array(side, number) for name, side in boxes})
