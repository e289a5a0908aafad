"""All that CUDA changes, in one sitting of a few minutes: tests, agreement with the CPU, speed.

    python benchmarks/gpu_session.py SURFACES SPLIT_CSV WORK OUT [--seconds 450]

Every step runs in a process of its own with a time limit, so that none stops the next; one that no
longer fits into --seconds is left out, and --only takes some, with commas between. OUT/session.json
has the figures (rewritten after each step), OUT/session.log what the steps said, OUT/NAME.json
what gpu.py and serving.py wrote. --small goes through all of it in a minute or two on a CPU, to see
that nothing is broken; its figures mean nothing. VAENEER_COMMIT names the commit where the files
are no git repository.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cyclopts
from gpu_steps import STEPS, Session
from machine import provenance

HERE = Path(__file__).parent


def main(
    surfaces: Path,
    split: Path,
    work: Path,
    out: Path,
    *,
    seconds: float = 450,
    only: str = "",
    device: str = "cuda",
    small: bool = False,
    step: str = "",
) -> None:
    """Take the steps in turn, or the one called `step` in this very process."""
    session = Session(surfaces.absolute(), split.absolute(), work.absolute(), device, small)
    if step:
        print("RESULT " + json.dumps(STEPS[step].take(session) | _memory(device)), flush=True)
        return
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    result: dict[str, Any] = {"provenance": provenance(), "small": small, "steps": {}}
    os.environ["VAENEER_RESULTS"] = str(out.absolute())
    for name in only.split(",") if only else STEPS:
        left = seconds - (time.monotonic() - began)
        if left < STEPS[name].least_seconds and not small:
            result["steps"][name] = {"left_out": f"{left:.0f} s were left"}
        else:
            limit = min(left, STEPS[name].most_seconds)
            result["steps"][name] = _taken(name, limit, out / "session.log")
        (out / "session.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
        print(f"{time.monotonic() - began:5.0f} s {name}: {_short(result['steps'][name])}")
        sys.stdout.flush()


def _taken(name: str, limit_seconds: float, log: Path) -> dict[str, Any]:
    """One step in a process of its own: its result, or how it ended."""
    began = time.monotonic()
    command = [sys.executable, str(HERE / "gpu_session.py"), *sys.argv[1:], "--step", name]
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n==== {name}\n")
        file.flush()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, process_group=0
        )
        try:
            said, _ = process.communicate(timeout=limit_seconds)
            ended = f"exit code {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # what it started too
            said, _ = process.communicate()
            ended = f"stopped after {limit_seconds:.0f} s"
        file.write(said)
    # A step may tell what it has so far: the last telling counts.
    told = [line for line in said.splitlines() if line.startswith("RESULT ")]
    found: dict[str, Any] = json.loads(told[-1].removeprefix("RESULT ")) if told else {}
    return found | {"ended": ended, "wall_seconds": round(time.monotonic() - began, 1)}


def _memory(device: str) -> dict[str, float]:
    """The most that this process held: of the machine's memory, and of the device's."""
    import torch

    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"host_gib": round(kilobytes / 2**20, 2)}
    if device.startswith("cuda"):
        found["device_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
    return found


def _short(found: dict[str, Any]) -> str:
    text = json.dumps(found)
    return text if len(text) < 900 else text[:900] + " ..."


if __name__ == "__main__":
    cyclopts.run(main)
