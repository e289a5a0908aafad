"""How long `vaeneer index` takes on folders of 100, 1,000 and 10,000 pictures.

    python benchmarks/first_hour.py SURFACES [SURFACES ...] --work WORK [--counts 100 1000]

The pictures of the folders, 1,024 px on the long side, and where they are too few, mirrored and
turned copies of them, so that each has other bytes and pixels. `vaeneer index` in a process of its
own: seconds until all pictures can be searched, until their parts can, and of a second run with
nothing new; then a search by a file of the library and by another one, from the command line
(medians of 5), and `--help`. Writes results/first-hour.json. Meant for a quiet machine.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from machine import keep
from PIL import Image, ImageOps

COUNTS, SIDE_PX, SEARCHES = (100, 1000), 1024, 5
Several = cyclopts.Parameter(consume_multiple=True)


def main(
    *surfaces: Path,
    work: Path,
    counts: Annotated[tuple[int, ...], Several] = COUNTS,
    whole_from: int = 10**9,
    note: str = "",
) -> None:
    """Index a folder of each size, search it, write what it took.

    whole_from: count from which whole pictures alone are embedded, to save the time.
    """
    rows = []
    for count in counts:
        shutil.rmtree(work, ignore_errors=True)
        folder, library = work / "surfaces", work / "library"
        make(folder, surfaces, count)
        parts = ["--parts", "none"] if count >= whole_from else []
        first = index(folder, library, *parts)
        again = index(folder, library, *parts)
        other = work / "other.jpg"
        with Image.open(next(folder.rglob("*.jpg"))) as picture:
            picture.resize((700, 700)).save(other)
        row = {
            "images": first["images"],
            "searchable_seconds": first["searchable_seconds"],
            "seconds": first["seconds"],
            "again_seconds": again["process_seconds"],
            "vectors": first["vectors"],
            "search_file_of_library_seconds": search(library, next(folder.rglob("*.jpg"))),
            "search_other_file_seconds": search(library, other),
        }
        rows.append({name: round(value, 2) for name, value in row.items()})
        print(rows[-1], flush=True)
    helped = [timed("--help") for _ in range(SEARCHES)]
    result = {"note": note, "rows": rows, "help_seconds": round(statistics.median(helped), 3)}
    print(result["help_seconds"], keep("first-hour", result))


def make(folder: Path, surfaces: tuple[Path, ...], count: int) -> None:
    """Write `count` JPEG files of 1,024 px, each with other pixels."""
    for number, picture in enumerate(itertools.islice(pictures(surfaces), count)):
        file = folder / f"{number // 100:03}" / f"surface_{number:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file, quality=92)


def pictures(surfaces: tuple[Path, ...]) -> Iterator[Image.Image]:
    """All pictures, then all of them turned, mirrored and a little darker, without end."""
    files = [file for folder in surfaces for file in sorted(folder.rglob("*.jpg"))]
    for time_round in itertools.count():
        for file in files:
            with Image.open(file) as opened:
                picture = ImageOps.contain(opened.convert("RGB"), (SIDE_PX, SIDE_PX))
            picture = picture.rotate(90 * (time_round % 4), expand=True)
            picture = ImageOps.mirror(picture) if time_round // 4 % 2 else picture
            levels = [round(level * (1 - 0.02 * time_round)) for level in range(256)]
            yield picture.point(levels * 3)


def index(folder: Path, library: Path, *flags: str) -> dict[str, Any]:
    """The report of `vaeneer index`, and the seconds of its process."""
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "vaeneer",
        "index",
        str(folder),
        "--library",
        str(library),
        *flags,
    ]
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout) | {"process_seconds": time.perf_counter() - started}


def search(library: Path, file: Path) -> float:
    """Median seconds of a search from the command line."""
    return statistics.median(timed("search", str(library), str(file)) for _ in range(SEARCHES))


def timed(*words: str) -> float:
    """Seconds of one command, its start included."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "vaeneer", *words],
        stdout=subprocess.DEVNULL,
        check=True,
        env=os.environ,
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    cyclopts.run(main)
