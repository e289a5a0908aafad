"""Vectors as files: Parquet or NumPy with ids; chunks of a run that may be stopped; shards."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import write_array
from numpy.typing import NDArray

from vaeneer.checksums import read_parquet, write_parquet
from vaeneer.data.dataset import ImageFolder
from vaeneer.errors import DataError, OutputExistsError, SettingsError
from vaeneer.files import atomic_write, read_json, write_json
from vaeneer.progress import Progress
from vaeneer.storage import storage_error
from vaeneer.text import to_json
from vaeneer.workers import chunks

if TYPE_CHECKING:
    import pyarrow


Floats = NDArray[np.float32]
NAMES = ("file", "asset", "category")
SUFFIXES = (".parquet", ".npy")
CHUNK_IMAGES = 64
"""Images whose vectors are kept together: at most so many are computed again after a kill."""
_DIGEST_BYTES = 32
_JOB, _LOCK = "job.json", "lock"


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
    with atomic_write(path, size_bytes=size_bytes) as temporary:
        with temporary.open("wb") as file:
            # Through Python: NumPy does not notice when a full disk takes only the first part.
            write_array(SimpleNamespace(write=file.write), table.vectors, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        with atomic_write(ids) as listed, listed.open("w", newline="", encoding="utf-8") as stream:
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


@dataclass(frozen=True)
class Partial:
    """The folder beside an output that holds what is finished of it."""

    folder: Path
    progress: Progress

    def cache(self, home: Path | None) -> Path:
        """Where this output alone may keep decoded images: in `home`, or until it is written."""
        return home / self.folder.name if home else self.folder / "decoded"

    def start(self, job: Mapping[str, object]) -> None:
        """Drop what another job has left here.

        job: all that the vectors and their order depend on; its JSON is compared.
        """
        wanted = json.loads(to_json(job))
        before = _known_job(self.folder / _JOB)
        if before == wanted:
            return
        if before is not None:
            self.progress.say(f"{self.folder} is of another job; its vectors are computed again")
        for file in self.folder.glob("*.npy"):
            file.unlink()
        write_json(self.folder / _JOB, wanted)

    def compute(self, count: int, vectors_of: Callable[[range], Floats]) -> tuple[Floats, int]:
        """Vectors (count, D) float32 of images 0 .. count - 1, and how many were known already.

        vectors_of: computes those of some images, one row for each.
        """
        parts, known = [], 0
        with self.progress.bar("embedding", total=count, unit="images") as bar:
            for number, group in enumerate(chunks(count, CHUNK_IMAGES)):
                file = self.folder / f"{number:06d}.npy"
                part = _read(file, len(group))
                if part is None:
                    part = vectors_of(group)
                    with atomic_write(file) as temporary, temporary.open("wb") as stream:
                        stream.write(_packed(part))
                else:
                    known += len(group)
                parts.append(part)
                bar.advance(len(group))
        return np.concatenate(parts), known

    def remove(self) -> None:
        """Delete the folder: the output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def partial_beside(out: Path, progress: Progress) -> Iterator[Partial]:
    """OUT.partial/, held by this process alone.

    Raises OutputExistsError where another process is writing the same output.
    """
    from filelock import FileLock, Timeout

    folder = out.with_name(f"{out.name}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputExistsError(
            f"{out} is being written by another process; wait for it, or name another file."
        ) from None
    try:
        yield Partial(folder, progress)
    finally:
        lock.release()
        if folder.is_dir() and {file.name for file in folder.iterdir()} <= {_JOB, _LOCK}:
            shutil.rmtree(folder, ignore_errors=True)


def _known_job(file: Path) -> object:
    try:
        return read_json(file)
    except (OSError, ValueError):
        return None


def _packed(part: Floats) -> bytes:
    """A chunk as a file: that of NumPy, and the SHA-256 of it."""
    stream = io.BytesIO()
    np.save(stream, part, allow_pickle=False)
    return stream.getvalue() + hashlib.sha256(stream.getvalue()).digest()


def _read(file: Path, count: int) -> Floats | None:
    """The vectors in a file of a chunk; None where it is missing or damaged."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    packed, sha256 = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(packed).digest() != sha256:
        return None
    found = np.load(io.BytesIO(packed), allow_pickle=False)
    return np.asarray(found, np.float32) if len(found) == count else None


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` even parts of a folder, from 1."""

    number: int
    count: int

    def of(self, folder: ImageFolder) -> ImageFolder:
        """The images of this shard: neighbours by name, so that joining keeps the order."""
        start, stop = (
            len(folder) * place // self.count for place in (self.number - 1, self.number)
        )
        return replace(folder, items=folder.items[start:stop])

    def file(self, out: Path) -> Path:
        """Where this shard of `out` is written: always Parquet, whatever `out` is."""
        return out.with_name(f"{out.name}.shard-{self.number}-of-{self.count}.parquet")


@dataclass(frozen=True)
class MergeReport:
    """What was joined."""

    out: str
    shards: int
    images: int
    dimensions: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def parse_shard(text: str) -> Shard:
    """`2/8` as the second of eight. Raises SettingsError for anything else."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    if found:
        number, count = (int(part) for part in found.groups())
        if 1 <= number <= count:
            return Shard(number, count)
    raise SettingsError(f"shard is {text!r}; use i/n with i from 1 to n, such as 2/8.")


def merge_vectors(out: Path | str, *, overwrite: bool = False) -> MergeReport:
    """Join OUT.shard-1-of-n.parquet, OUT.shard-2-of-n.parquet, ... to OUT, Parquet or .npy.

    The shards stay. Raises DataError where one is missing or damaged, or where they are of
    different models, settings or folders; OutputExistsError or SettingsError for OUT itself.
    """
    started = time.monotonic()
    target = Path(out)
    check_suffix(target)
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists; name another file, or pass --overwrite.")
    shards = _complete(target)
    tables = [read_vectors(shard.file(target)) for shard in shards]
    joined = _joined(target, shards, tables)
    write_vectors(target, joined)
    return MergeReport(
        out=str(target),
        shards=len(shards),
        images=len(joined),
        dimensions=joined.vectors.shape[1],
        seconds=time.monotonic() - started,
    )


def _complete(target: Path) -> list[Shard]:
    """All shards of an output, in order."""
    pattern = re.compile(re.escape(target.name) + r"\.shard-(\d+)-of-(\d+)\.parquet")
    matches = [pattern.fullmatch(file.name) for file in target.parent.glob("*.parquet")]
    found = {Shard(int(match[1]), int(match[2])) for match in matches if match}
    counts = sorted({shard.count for shard in found})
    if not counts:
        raise DataError(
            f"{target} has no shards beside it; make them with:"
            f" vaeneer embed MODEL FOLDER --out {target} --shard 1/2"
        )
    if len(counts) > 1:
        raise DataError(
            f"beside {target} lie shards of {' and of '.join(map(str, counts))};"
            " delete those that do not belong."
        )
    shards = [Shard(number, counts[0]) for number in range(1, counts[0] + 1)]
    missing = [f"{shard.number}/{shard.count}" for shard in shards if shard not in found]
    if missing:
        raise DataError(
            f"{target} lacks shard {', '.join(missing)}; make it with vaeneer embed --shard."
        )
    return shards


def _joined(target: Path, shards: list[Shard], tables: list[VectorTable]) -> VectorTable:
    import pyarrow

    first = tables[0]
    expected = {**first.facts, "shard": None}
    for shard, table in zip(shards, tables, strict=True):
        wrong = sorted(
            name
            for name in expected.keys() | table.facts.keys()
            if name != "shard" and table.facts.get(name) != expected.get(name)
        )
        if wrong or table.facts.get("shard") != [shard.number, shard.count]:
            raise DataError(
                f"{shard.file(target)} does not go with {shards[0].file(target)}: another"
                f" {' and '.join(wrong) or 'shard'}; embed it again."
            )
    if not any(len(table) for table in tables):
        raise DataError(f"the shards of {target} hold no vector: no image was readable.")
    names = pyarrow.concat_tables([table.names for table in tables], promote_options="permissive")
    return VectorTable(names, np.concatenate([table.vectors for table in tables]), expected)
