"""What `vaeneer index` takes for many tiny files: the first run, and one that finds nothing new.

    python benchmarks/many_files.py WORK [--counts 2000,20000] [--good 0.1] [--note TEXT]

A tenth of the files are good pictures of 32 px, the others of 16 px, under the smallest side that
is set for the runs: they are skipped, and listed. `vaeneer index --parts none` runs three times
over them, each in a process of its own, on one core; later ones find nothing new. Seconds,
seconds of CPU and the most memory of each; --good 1 embeds them all.

Bars: a run that finds nothing new takes 3 s of CPU at most with 20,000 files; memory grows by a
quarter at most from the smallest count to the largest. Writes results/many-files.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from machine import keep
from PIL import Image

BARS = {"nothing_new_cpu_seconds": 3.0, "memory_growth": 0.25}
GOOD_PX, SMALL_PX = 32, 16
RUNS = ("first", "second", "third")
Row = dict[str, Any]


def main(work: Path, *, counts: str = "2000,20000", good: float = 0.1, note: str = "") -> None:
    """Draw the files, run index, write what it took."""
    rows: list[Row] = []
    for count in map(int, counts.split(",")):
        images, library = work / f"files-{count}", work / f"library-{count}"
        for folder in (images, library):
            shutil.rmtree(folder, ignore_errors=True)
        draw(images, count, round(good * count))
        for run in RUNS:
            row = {"files": count, "good": round(good * count), "run": run} | index(images, library)
            print(row, flush=True)
            rows.append(row)
    most = {row["files"]: 0 for row in rows}
    for row in rows:
        most[row["files"]] = max(most[row["files"]], row["memory_bytes"])
    growth = most[max(most)] / most[min(most)] - 1
    result = {"note": note, "bars": BARS, "rows": rows, "memory_growth": growth}
    print(keep("many-files", result))


def draw(folder: Path, count: int, good: int) -> None:
    """Pictures of noise, 100 in a folder, the good ones spread among the others."""
    chance = np.random.default_rng(0)
    are_good = np.zeros(count, dtype=bool)
    are_good[chance.choice(count, good, replace=False)] = True
    for number, is_good in enumerate(are_good):
        side = GOOD_PX if is_good else SMALL_PX
        noise = chance.normal(0, 12, (side, side, 1)) + chance.integers(40, 216, 3)
        path = folder / f"{number // 100:03}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path, compress_level=1)


def index(images: Path, library: Path) -> Row:
    """One run in a process of its own: seconds, CPU and peak memory of it and its children."""
    command = [sys.executable, "-m", "vaeneer", "index", str(images), "--library", str(library)]
    options = ["--parts", "none", "--min-side-px", str(GOOD_PX), "--workers", "1", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    process = subprocess.Popen(
        [*command, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "memory_bytes": used.ru_maxrss * 1024,
        "images": report["images"],
        "added": report["added"],
        "skipped": len(report["skipped"]),
    }


if __name__ == "__main__":
    cyclopts.run(main)
