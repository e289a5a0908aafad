"""Vectors as files: one Parquet table, or a NumPy array with its ids in a table beside it."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import write_array
from numpy.typing import NDArray

from vaeneer.errors import DataError, SettingsError
from vaeneer.files import read_parquet, replacing, write_parquet
from vaeneer.storage import storage_error
from vaeneer.text import to_json

if TYPE_CHECKING:
    import pyarrow

Floats = NDArray[np.float32]
NAMES = ("file", "asset", "category")
SUFFIXES = (".parquet", ".npy")


@dataclass(frozen=True)
class EmbedReport:
    """Where the vectors of a folder or of a library lie, and what they are."""

    out: str
    model: str
    folder: str
    """Of the images."""
    shard: str | None
    images: int
    resumed: int
    """Images whose vectors an earlier run, that was stopped, had left."""
    dimensions: int
    representation: str
    """embedding: unit vectors for search. Of latents, mean: the posterior mean of the whole image;
    centred: less the mean of the training crops."""
    device: str | None
    """What computed; None where nothing had to be."""
    skipped: dict[str, str]
    """Files that could not be read, with the reason."""
    images_per_second: float | None
    """Of the network and what feeds it, once the images are decoded, in this run; None where
    nothing was computed."""
    seconds: float
    files: list[str]
    """What was written: the table, or the array and its ids."""
    library: str | None = None
    """The library whose vectors were exported; None of a folder that was embedded."""
    parts: int | None = None
    """Of a library: rows of parts of images, beside those of whole images."""

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class VectorTable:
    """Vectors with what each is of."""

    names: pyarrow.Table
    """file, asset and category of each row, and what else is known of it."""
    vectors: Floats
    """(n, D) float32."""
    facts: Mapping[str, object]
    """What the vectors are: model, representation, shard, ..."""

    def __len__(self) -> int:
        return len(self.vectors)


def check_suffix(path: Path) -> None:
    """Raise SettingsError where vectors cannot be written to a file of this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"{path} has no known suffix; name it *.parquet or *.npy.")


def ids_beside(path: Path) -> Path:
    """Where the names of the rows of vectors.npy lie: vectors.ids.csv."""
    return path.with_name(f"{path.stem}.ids.csv")


def write_vectors(path: Path, table: VectorTable) -> list[Path]:
    """Write the names and the vector of each row by the suffix; returns the files.

    Each file is written whole or not at all; vectors.npy comes last, so that where it is, its ids
    are too.
    """
    check_suffix(path)
    if path.suffix.lower() == ".parquet":
        _write_parquet(path, table)
        return [path]
    ids, size_bytes = ids_beside(path), table.vectors.nbytes
    with replacing(path, size_bytes=size_bytes) as temporary:
        with temporary.open("wb") as file:
            # Through Python: NumPy does not notice when a full disk takes only the first part.
            write_array(SimpleNamespace(write=file.write), table.vectors, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        with replacing(ids) as listed, listed.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("row", *table.names.column_names))
            columns = (column.to_pylist() for column in table.names.columns)
            writer.writerows(zip(range(len(table)), *columns, strict=True))
            stream.flush()
            path.unlink(missing_ok=True)  # never beside the ids of others
    return [path, ids]


def read_vectors(path: Path) -> VectorTable:
    """A Parquet file that `write_vectors` wrote. Raises DataError for any other."""
    import pyarrow

    try:
        table = read_parquet(path)
        facts = json.loads(table.schema.metadata[b"vaeneer"])
        vectors = table["vector"].combine_chunks()
        flat = np.asarray(vectors.flatten(), np.float32)
        table.select(NAMES)  # KeyError where one is missing
        names = table.drop_columns(["vector"])
        return VectorTable(names, flat.reshape(-1, vectors.type.list_size), facts)
    except (pyarrow.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as e:
        raise storage_error(e, path, verb="read") or DataError(
            f"{path} is no file of vectors that vaeneer wrote ({e})."
        ) from e


def _write_parquet(path: Path, table: VectorTable) -> None:
    import pyarrow

    flat = pyarrow.array(np.ascontiguousarray(table.vectors).ravel())
    column = pyarrow.FixedSizeListArray.from_arrays(flat, table.vectors.shape[1])
    written = table.names.append_column("vector", column)
    metadata = {"vaeneer": to_json({"format": 1, **table.facts})}
    write_parquet(path, written.replace_schema_metadata(metadata))
