"""Vector search on one core: vaeneer's index beside faiss, NumPy and LanceDB, in one run.

    python benchmarks/search.py WORK [--library LIB] [--lancedb-python PYTHON]
        [--items 100000] [--crops 1000000] [--queries 200] [--rounds 3]

Vectors of 128 numbers, length 1, of two kinds. synthetic: crops around items around families.
real: the vectors of parts in LIB (of real surfaces, by surface-base), made as many as are asked for
by adding half the difference of two parts of one image to each: the directions in which crops of
one image differ. Queries are further such vectors: half of items that are indexed, half of items
that are not; of real ones, all of images that are not.

All answer the same queries one at a time, in turn, on one core; the figures are over all rounds.
Truth is float32 by NumPy. LanceDB runs in a process of its own, in the environment of PYTHON;
without it its rows say so. Building takes all cores. Also timed, where LIB is given: a whole
search() in it by id, by file and by box. Writes results/search.json. About 10 minutes, 4 GB.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's, read when it is imported

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from machine import keep

from vaeneer.cli.options import ConsoleProgress
from vaeneer.library.library import Library
from vaeneer.library.search.search import search
from vaeneer.library.vector_index import CHUNK, Floats, Ids, VectorIndex, Vectors
from vaeneer.progress import Progress

DIMENSIONS = 128
NEAREST = 10
PARTS = 21  # of an item, with halves and quarters
HELD_OUT = 5  # every fifth image of LIB asks and is not indexed
BARS = {"exact_p50_ms": 5.0, "ivf_p50_ms": 5.0, "ivf_recall_at_10": 0.95}
Answer = Callable[[Floats], Ids]
Row = dict[str, Any]


def main(
    work: Path,
    *,
    library: Path | None = None,
    lancedb_python: Path | None = None,
    items: int = 100_000,
    crops: int = 1_000_000,
    queries: int = 200,
    rounds: int = 3,
) -> None:
    """Run everything and write the results."""
    progress = ConsoleProgress()
    kinds: dict[str, Callable[[int, int, int], tuple[Floats, Floats]]] = {"synthetic": synthetic}
    if library is not None:
        base, differences, held_out = real_vectors(library)
        kinds["real"] = lambda count, asked, _: expanded(base, differences, held_out, count, asked)
    result: dict[str, Any] = {"items": items, "crops": crops, "queries": queries, "bars": BARS}
    for kind, make in kinds.items():
        for name, count, parts in (("exact", items, 1), ("clustered", crops, PARTS)):
            progress.say(f"{kind}, {count:,} vectors, {name}")
            vectors, asked = make(count, queries, parts)
            rows = compared(
                work, vectors, asked, name == "clustered", lancedb_python, rounds, progress
            )
            result[f"{kind}_{name}"] = rows
            del vectors
    if library is not None:
        result["search"] = whole_searches(library, progress)
    result["bars_met"] = bars_met(result)
    progress.say(f"bars met: {result['bars_met']}")
    progress.say(f"wrote {keep('search', result)}")


def synthetic(count: int, asked: int, parts: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Vectors (count, D) of `parts` crops an item, and queries (asked, D)."""
    random = np.random.default_rng(seed)
    families = unit(random.standard_normal((200, DIMENSIONS), np.float32))

    def item_vectors(number: int) -> Floats:
        own = unit(random.standard_normal((number, DIMENSIONS), np.float32))
        return unit(0.7 * families[random.integers(0, len(families), number)] + 0.7 * own)

    def crop_vectors(of: Floats) -> Floats:
        own = unit(random.standard_normal(of.shape, np.float32))
        return unit(of + 0.6 * own)

    indexed, new = item_vectors(-(-count // parts)), item_vectors(asked - asked // 2)
    vectors = np.empty((count, DIMENSIONS), np.float32)
    for start in range(0, count, CHUNK):  # never two copies of all
        places = np.arange(start, min(start + CHUNK, count)) // parts
        vectors[start : start + len(places)] = crop_vectors(indexed[places])
    known = indexed[random.choice(len(indexed), asked // 2, replace=False)]
    return vectors, crop_vectors(np.concatenate([known, new]))


def real_vectors(library: Path) -> tuple[Floats, Floats, Floats]:
    """Parts of most images, differences of two parts of one image, parts of the other images."""
    with Library.open(library) as opened:
        found = opened.catalog.parts()
    held_out = np.unique(found.items)[::HELD_OUT]
    asks = np.isin(found.items, held_out)
    base, owners = found.vectors[~asks], found.items[~asks]
    places = np.random.default_rng(0).permutation(len(base))
    places = places[np.argsort(owners[places], kind="stable")]  # shuffled inside each image
    same = owners[places[1:]] == owners[places[:-1]]
    differences = (base[places[1:]] - base[places[:-1]])[same]
    return base, differences, found.vectors[asks]


def expanded(
    base: Floats, differences: Floats, held_out: Floats, count: int, asked: int, seed: int = 0
) -> tuple[Floats, Floats]:
    """Vectors (count, D) like those of `base`, and queries (asked, D) out of `held_out`."""
    random = np.random.default_rng(seed)
    vectors = np.empty((count, base.shape[1]), np.float32)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        own = base[np.arange(start, start + size) % len(base)]
        if start + size > len(base):
            own = unit(own + 0.5 * differences[random.integers(0, len(differences), size)])
        vectors[start : start + size] = own
    return vectors, held_out[random.choice(len(held_out), asked, replace=len(held_out) < asked)]


def compared(
    work: Path,
    vectors: Floats,
    queries: Floats,
    clustered: bool,
    lancedb_python: Path | None,
    rounds: int,
    progress: Progress,
) -> dict[str, Row]:
    """A row for each contestant: build, memory, recall and time of a query."""
    import faiss

    rows: dict[str, Row] = {}
    answers: dict[str, Answer] = {"NumPy, float32": lambda one: by_numpy(vectors, one)}
    truth = np.stack([by_numpy(vectors, query) for query in queries])
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    started, before = time.perf_counter(), resident_bytes()
    ids = np.arange(len(vectors))

    def vectors_of(some: Ids) -> Vectors:
        return Vectors(some, some, vectors[some])

    index = VectorIndex.build(
        ids, vectors_of, vectors.shape[1], ivf_from=1 if clustered else len(vectors) + 1
    )
    facts = index.facts()
    rows["vaeneer"] = {
        "build_seconds": time.perf_counter() - started,
        "resident_bytes": resident_bytes() - before,
        "own_recall_at_10": facts.pop("recall_at_10", 1.0),
        **facts,
    }
    answers["vaeneer"] = lambda one: index.search(one[None], NEAREST)[1][0]
    if clustered:
        exact = VectorIndex.build(ids, vectors_of, vectors.shape[1], ivf_from=len(vectors) + 1)
        answers["vaeneer, exact"] = lambda one: exact.search(one[None], NEAREST)[1][0]
    started = time.perf_counter()
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    rows["faiss flat"] = {"build_seconds": time.perf_counter() - started, "bytes": vectors.nbytes}
    answers["faiss flat"] = lambda one: flat.search(one[None], NEAREST)[1][0]
    faiss.omp_set_num_threads(1)
    lance = LanceDB(work, vectors, queries, truth, clustered, lancedb_python)
    seconds, found = alternated(answers, lance, queries, rounds, progress)
    lance.end()
    rows["LanceDB"] = lance.told
    for name, own in seconds.items():
        rows[name] = {
            **rows.get(name, {}),
            **times(own),
            "recall_at_10": recall(found[name], truth),
        }
        progress.say(
            f"  {name:16} p50 {rows[name]['p50_ms']:8.3f} ms, p99 {rows[name]['p99_ms']:8.3f} ms,"
            f" recall@10 {rows[name]['recall_at_10']:.4f}"
        )
    return rows


def alternated(
    answers: dict[str, Answer], lance: LanceDB, queries: Floats, rounds: int, progress: Progress
) -> tuple[dict[str, list[float]], dict[str, list[list[int]]]]:
    """Seconds of every query of every round, and what the last round found; all on one core."""
    seconds: dict[str, list[float]] = {name: [] for name in answers}
    found: dict[str, list[list[int]]] = {}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        for number in range(1 + rounds):  # the first warms up
            for name, answer in answers.items():
                found[name], own = [], []
                for query in queries:
                    started = time.perf_counter()
                    ids = answer(query)
                    own.append(time.perf_counter() - started)
                    found[name].append(ids.tolist())
                seconds[name] += own if number else []
            if lance.there:
                own, found["LanceDB"] = lance.round()
                seconds.setdefault("LanceDB", []).extend(own if number else [])
    finally:
        os.sched_setaffinity(0, cores)
    return seconds, found


class LanceDB:
    """lancedb_side.py in another environment; where there is none, it answers nothing."""

    def __init__(
        self,
        work: Path,
        vectors: Floats,
        queries: Floats,
        truth: Ids,
        clustered: bool,
        python: Path | None,
    ) -> None:
        self.there = python is not None
        self.told: Row = {"note": "not measured: give --lancedb-python"}
        if python is None:
            return
        folder = work / "lancedb"
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in (("vectors", vectors), ("queries", queries), ("truth", truth)):
            np.save(folder / f"{name}.npy", array)
        side = Path(__file__).parent / "lancedb_side.py"
        command = [str(python), str(side), str(folder), "--core", str(min(os.sched_getaffinity(0)))]
        self._process = subprocess.Popen(
            command + ["--clustered"] * clustered,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.told = self._line()

    def round(self) -> tuple[list[float], list[list[int]]]:
        """Seconds of each query, and the ids found."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._line()
        return answer["seconds"], answer["ids"]

    def end(self) -> None:
        """Let the process go."""
        if self.there:
            self._process.communicate()

    def _line(self) -> Row:
        assert self._process.stdout is not None
        line: Row = json.loads(self._process.stdout.readline())
        return line


def whole_searches(library: Path, progress: Progress, most: int = 60) -> dict[str, Row]:
    """search() from the image to the hits, all cores: by id, by file and by a box on it."""
    rows: dict[str, Row] = {}
    with Library.open(library) as opened:
        items = opened.items()[:: max(1, len(opened) // most)]
        side = {item.id: min(item.width_px, item.height_px) // 2 for item in items}
        ways: dict[str, Callable[[Any], Any]] = {
            "by id": lambda item: search(opened, item.id),
            "by file": lambda item: search(opened, opened.path(item)),
            "by box": lambda item: search(
                opened, opened.path(item), box=(0, 0, side[item.id], side[item.id])
            ),
        }
        for name, way in ways.items():
            way(items[0])  # loads what it needs
            rows[name] = times([way(item).seconds for item in items])
            progress.say(f"  search {name}: p50 {rows[name]['p50_ms']:.1f} ms")
    return rows


def bars_met(result: dict[str, Any]) -> dict[str, bool]:
    """Each bar of the issue, over every kind of vectors."""
    exact = [rows["vaeneer"] for name, rows in result.items() if name.endswith("_exact")]
    grouped = [rows["vaeneer"] for name, rows in result.items() if name.endswith("_clustered")]
    return {
        "exact_p50_ms": all(row["p50_ms"] <= BARS["exact_p50_ms"] for row in exact),
        "ivf_p50_ms": all(row["p50_ms"] <= BARS["ivf_p50_ms"] for row in grouped),
        "ivf_recall_at_10": all(row["recall_at_10"] >= BARS["ivf_recall_at_10"] for row in grouped),
    }


def by_numpy(vectors: Floats, query: Floats) -> Ids:
    """The ten nearest by brute force, the best first."""
    cosines = vectors @ query
    best = np.argpartition(-cosines, NEAREST)[:NEAREST]
    return best[np.argsort(-cosines[best])]


def recall(found: list[list[int]], truth: Ids) -> float:
    """Share of the true ten nearest that were found."""
    pairs = zip(found, truth.tolist(), strict=True)
    return float(np.mean([len({*one} & {*other}) / NEAREST for one, other in pairs]))


def times(seconds: list[float]) -> Row:
    """Median and 99th percentile, milliseconds."""
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return {"p50_ms": round(float(p50), 4), "p99_ms": round(float(p99), 4)}


def resident_bytes() -> int:
    """Memory that this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def unit(vectors: Floats) -> Floats:
    """The same directions at length 1."""
    answer: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return answer.astype(np.float32)


if __name__ == "__main__":
    cyclopts.run(main)
