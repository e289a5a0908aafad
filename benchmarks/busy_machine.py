"""How much slower a command is beside one busy process; threads wait passively or actively.

    python benchmarks/busy_machine.py WORK [--rounds 5] [--images 16]

`vaeneer index` of procedural surfaces without parts, and four epochs of training, each in a process
of its own: quiet, and beside a process that keeps one core busy; under OMP_WAIT_POLICY PASSIVE,
which every command sets, and ACTIVE, which was the default. In turn; medians. Bars: beside the busy
process at most 1.25 times the quiet time of `index`, and passive waiting costs a quiet machine at
most a twentieth. Meant for a machine with nothing else to do. Writes results/busy-machine.json.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cyclopts
from machine import keep

from vaeneer.data.synthetic.synthesize import synthesize

BARS = {"index_busy_over_quiet": 1.25, "passive_over_active_quiet": 1.05}
POLICIES = ("PASSIVE", "ACTIVE")


def main(work: Path, *, rounds: int = 5, images: int = 16) -> None:
    """Time each command in each situation, in turn."""
    raw, data = work / "raw", work / "data"
    shutil.rmtree(work, ignore_errors=True)
    synthesize(raw, count=images, side_px=512)
    vaeneer("PASSIVE", "prepare", str(raw), "--out", str(data))
    commands = {
        "index": ["index", str(raw), "--library", str(work / "library"), "--parts", "none"],
        "train": ["train", str(data), "--out", str(work / "run"), "--recipe", "reference",
                  "--epochs", "4", "--batch-size", "4"],
    }  # fmt: skip
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, words in commands.items():
            for policy in POLICIES:
                for busy in (False, True):
                    for made in ("library", "run"):
                        shutil.rmtree(work / made, ignore_errors=True)
                    with busy_core(busy):
                        taken = vaeneer(policy, *words)
                    what = f"{name}, {policy.lower()}, {'busy' if busy else 'quiet'}"
                    seconds.setdefault(what, []).append(round(taken, 3))
    medians = {what: statistics.median(values) for what, values in seconds.items()}
    ratios = {
        "index_busy_over_quiet": medians["index, passive, busy"] / medians["index, passive, quiet"],
        "passive_over_active_quiet": max(
            medians[f"{name}, passive, quiet"] / medians[f"{name}, active, quiet"]
            for name in commands
        ),
    }
    result = {
        "bars": BARS,
        "reached": {name: ratios[name] <= bar for name, bar in BARS.items()},
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "images": images,
        "median_seconds": medians,
        "seconds": seconds,
    }
    for what, median in medians.items():
        print(f"{what:26} {median:6.2f} s")
    print(result["ratios"], result["reached"])
    print(keep("busy-machine", result))


def vaeneer(policy: str, *words: str) -> float:
    """Run a command under a policy of waiting; seconds, start and imports included."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "vaeneer", *words],
        env=os.environ | {"OMP_WAIT_POLICY": policy},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


@contextmanager
def busy_core(busy: bool) -> Iterator[None]:
    """One process that computes without end beside what is timed, where `busy`."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    cyclopts.run(main)
