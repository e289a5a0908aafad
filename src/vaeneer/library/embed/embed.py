"""embed(): a folder of images, or what a library holds, as one table of vectors."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaeneer.errors import (
    LibraryError,
    OutputExistsError,
    SettingsError,
)
from vaeneer.library.catalog import Crop, Floats, Item
from vaeneer.library.embed.tables import (
    EmbedReport,
    Shard,
    VectorTable,
    check_suffix,
    parse_shard,
    write_vectors,
)
from vaeneer.library.library_folders import existing_library
from vaeneer.library.store import LibraryLike, OpenLibrary
from vaeneer.model.bundled_models import is_bundled
from vaeneer.progress import Progress, Silent
from vaeneer.settings import EmbedSettings

if TYPE_CHECKING:
    import pyarrow


PARTS = {0: "whole", 1: "square", 2: "half", 4: "quarter"}
"""Scale of a crop in the catalog -> what the column `part` calls it."""
_ITEMS_AT_ONCE = 256
_Row = tuple[Item, Crop]
_OF_A_FOLDER = ("vectors", "views", "shard", "all_maps")
"""Settings that say how images are embedded, which those of a library are already."""
_OF_A_MODEL = ("config.json", "config.toml")  # of a model folder, of a run


def embed(
    model: LibraryLike,
    folder: Path | str | None = None,
    *,
    out: Path | str,
    settings: EmbedSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EmbedReport:
    """Write a vector of every image of a folder to a Parquet file, or to .npy with ids beside.

    model: a model folder, a run (its best model) or a bundled model's name. Columns: file, asset,
    category and vector: the `Embedder`'s unit vector (D float32), or with `vectors="latent"` the
    posterior mean of the whole image, less the mean latent of the training crops where the model
    knows it. What is finished is kept in OUT.partial/ until OUT is written, so that a run that was
    stopped goes on. With `shard` "i/n" the i-th of n parts goes to OUT.shard-i-of-n.parquet, for
    `merge_vectors`.

    Without `folder`, `model` is a library or a folder that was indexed: all vectors that it holds
    are exported, of whole images and of parts, and no image is read.
    Raises ModelFileError, LibraryError, DataError, OutputExistsError or SettingsError.
    """
    settings = settings or EmbedSettings()
    progress = progress or Silent()
    shard = parse_shard(settings.shard) if settings.shard else None
    target = _target(Path(out), settings, shard, overwrite)
    if folder is None:
        with _library(model, settings) as library:
            return export_library(library, target, progress)
    if isinstance(model, OpenLibrary):
        raise SettingsError(
            f"{model!r} is no model; name one to embed {folder}, such as surface-base."
        )

    from vaeneer.library.embed.folder import embed_folder  # it needs PyTorch

    return embed_folder(model, folder, target, shard, settings, progress)


def export_library(library: OpenLibrary, target: Path, progress: Progress) -> EmbedReport:
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


def _table(library: OpenLibrary, progress: Progress) -> VectorTable:
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
        "model": library.catalog.require_meta("model"),
        "model_fingerprint": library.catalog.require_meta("model_fingerprint"),
        "revision": library.catalog.generation,
        "representation": "embedding",
    }
    return VectorTable(pyarrow.concat_tables(names), np.concatenate(vectors), facts)


def _crops_of(library: OpenLibrary, items: Sequence[Item]) -> Iterator[_Row]:
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


def _target(out: Path, settings: EmbedSettings, shard: Shard | None, overwrite: bool) -> Path:
    """Where this run writes, once all that can be refused at once is refused."""
    check_suffix(out)
    target = shard.file(out) if shard else out
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists; name another file, or pass --overwrite.")
    return target


def _library(named: LibraryLike, settings: EmbedSettings) -> OpenLibrary:
    """The library to export, opened anew."""
    default = EmbedSettings()
    for name in _OF_A_FOLDER:
        if (value := getattr(settings, name)) != getattr(default, name):
            raise SettingsError(
                f"{name} is {value!r}, and the vectors of a library are exported as they are; leave"
                " it out, or name a model and a folder of images."
            )
    if isinstance(named, OpenLibrary):
        return OpenLibrary(named.folder)
    if (folder := existing_library(named)) is not None:
        return OpenLibrary(folder)
    shown = shlex.quote(str(named))
    if is_bundled(named) or any((Path(named) / name).is_file() for name in _OF_A_MODEL):
        raise SettingsError(
            f"{named} is a model; name a folder of images, too: vaeneer embed {shown} IMAGES"
        )
    if Path(named).is_dir():
        raise LibraryError(
            f"{named} is no library; make one with: vaeneer index {shown}, or name a model before"
            f" it: vaeneer embed surface-base {shown}"
        )
    raise LibraryError(f"{named} does not exist; name a library, or a model and a folder.")
