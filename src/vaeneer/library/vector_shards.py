"""One folder embedded by several processes or machines, each a shard, and joined again."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vaeneer.data.dataset import ImageFolder
from vaeneer.errors import DataError, OutputExistsError, SettingsError
from vaeneer.library.vector_tables import VectorTable, check_suffix, read_vectors, write_vectors


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
