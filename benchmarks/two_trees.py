"""Whether training and indexing are as quick as in another checkout: both in turn, medians.

    python benchmarks/two_trees.py BEFORE DATA IMAGES WORK [--rounds 5]

BEFORE: a checkout of the commit to compare with. DATA: a data set (an epoch of the reference recipe
is trained on it). IMAGES: a folder of images to index, without small parts. Writes
results/two-trees.json with the seconds of each round and the ratio of the medians.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import cyclopts
from machine import keep

HERE = Path(__file__).parents[1]


def main(before: Path, data: Path, images: Path, work: Path, *, rounds: int = 5) -> None:
    """Time both commands in both trees, in turn."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds + 1):
        for name, tree in (("before", before), ("now", HERE)):
            for verb, words in (
                ("train", ("train", str(data), "--recipe", "reference", "--epochs", "1", "--out")),
                ("index", ("index", str(images), "--parts", "none", "--library")),
            ):
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir(parents=True)
                spent = timed(tree.resolve(), *words, str(work / verb))
                if number:  # the first round fills the caches
                    seconds.setdefault(verb, {}).setdefault(name, []).append(spent)
                print(f"{verb} {name} {spent:.2f} s", flush=True)
    ratios = {
        verb: round(median(sides["now"]) / median(sides["before"]), 4)
        for verb, sides in seconds.items()
    }
    print(keep("two-trees", {"seconds": seconds, "ratio_now_to_before": ratios}), ratios)


def timed(tree: Path, *words: str) -> float:
    """Seconds of one command, run from a tree."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "vaeneer", *words], env=environment, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - started


if __name__ == "__main__":
    cyclopts.run(main)
