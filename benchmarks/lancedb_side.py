"""LanceDB's side of benchmarks/search.py, in an environment of its own that has lancedb.

    python benchmarks/lancedb_side.py FOLDER [--clustered] [--core 0]

Loads FOLDER/vectors.npy into a table, says how long that took, and answers FOLDER/queries.npy once
for each line on standard input: a line of JSON with the seconds of each query and the ids found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow

PROBES = (8, 16, 32, 64, 128)
LEAST_RECALL = 0.95


def main() -> None:
    reader = argparse.ArgumentParser()
    reader.add_argument("folder", type=Path)
    reader.add_argument("--clustered", action="store_true")
    reader.add_argument("--core", type=int, default=-1)
    asked = reader.parse_args()
    vectors = np.load(asked.folder / "vectors.npy", mmap_mode="r")
    queries = np.load(asked.folder / "queries.npy")
    truth = np.load(asked.folder / "truth.npy")
    started = time.perf_counter()
    table = loaded(asked.folder / "lance", vectors)
    if asked.clustered:
        lists = round(2 * len(vectors) ** 0.5)
        table.create_index("dot", index_type="IVF_FLAT", num_partitions=lists)
    built = time.perf_counter() - started
    if asked.core >= 0:
        os.sched_setaffinity(0, {asked.core})
    probes = next(p for p in PROBES if good(table, queries, truth, p)) if asked.clustered else 0
    tell({"version": lancedb.__version__, "build_seconds": built, "probes": probes})
    for _ in sys.stdin:
        answers = [answer(table, query, probes) for query in queries]
        tell({"seconds": [one[0] for one in answers], "ids": [one[1] for one in answers]})


def loaded(path: Path, vectors: np.ndarray) -> Any:
    """The vectors as a table with ids, written a part at a time."""

    def parts() -> Any:
        for start in range(0, len(vectors), 65_536):
            part = np.ascontiguousarray(vectors[start : start + 65_536])
            flat = pyarrow.array(part.ravel())
            columns = [
                pyarrow.array(np.arange(start, start + len(part))),
                pyarrow.FixedSizeListArray.from_arrays(flat, part.shape[1]),
            ]
            yield pyarrow.RecordBatch.from_arrays(columns, schema=schema)

    kind = pyarrow.list_(pyarrow.float32(), vectors.shape[1])
    schema = pyarrow.schema([("id", pyarrow.int64()), ("vector", kind)])
    return lancedb.connect(path).create_table("v", parts(), schema=schema, mode="overwrite")


def answer(table: Any, query: np.ndarray, probes: int) -> tuple[float, list[int]]:
    """Seconds, and the ids of the ten nearest."""
    started = time.perf_counter()
    asked = table.search(query).distance_type("dot").select(["id", "_distance"]).limit(10)
    found = (asked.nprobes(probes) if probes else asked).to_arrow()["id"].to_pylist()
    return time.perf_counter() - started, found


def good(table: Any, queries: np.ndarray, truth: np.ndarray, probes: int) -> bool:
    """Whether so many probes find 0.95 of the true ten nearest, or are the most we try."""
    found = [answer(table, query, probes)[1] for query in queries]
    pairs = zip(found, truth.tolist(), strict=True)
    return probes == PROBES[-1] or np.mean([len({*a} & {*b}) for a, b in pairs]) >= (
        LEAST_RECALL * truth.shape[1]
    )


def tell(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
