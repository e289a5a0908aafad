"""What stands in every result file: command, commit, machine, versions, date.

Where the files are no git repository, VAENEER_COMMIT says of which commit they are. VAENEER_RESULTS
names another folder for the results.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from vaeneer.device import choose_device, choose_precision, describe_device
from vaeneer.files import write_json

RESULTS = Path(os.environ.get("VAENEER_RESULTS") or Path(__file__).parent / "results")


def provenance() -> dict[str, Any]:
    """Command, commit (with "+" where the tree had changes), machine, versions and date."""
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": os.environ.get("VAENEER_COMMIT") or _commit(),
        "machine": f"{_processor()}, {describe_device(device, precision.name)}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def keep(name: str, result: dict[str, Any]) -> Path:
    """Write benchmarks/results/NAME.json with its provenance; returns the path."""
    path = RESULTS / f"{name}.json"
    write_json(path, {"provenance": provenance(), **result})
    return path


def _commit() -> str:
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return done.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.processor()
