"""Devices, the words for them, and cores: the one place that knows about CUDA."""

from __future__ import annotations

import os
import platform

import torch

from vaeneer.errors import SettingsError


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`: auto (CUDA where there is one), cpu, cuda or cuda:N.

    Raises SettingsError for any other name, or a device that this machine lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise SettingsError(f"Unknown device {name!r}; use auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"This machine has no device {name!r} ({torch.cuda.device_count()} CUDA devices);"
            " use --device cpu."
        )
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """One line for reports: what computes, with how many threads, under which PyTorch."""
    if device.type == "cuda":
        what = torch.cuda.get_device_name(device)
    else:
        what = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return f"{what}, float32, PyTorch {torch.__version__}"


def core_count(requested: int = 0) -> int:
    """How many workers to start: `requested`, or one for each core that we may use."""
    if requested < 0:
        raise SettingsError(f"workers is {requested}; use 0 (one for each core) or more.")
    if requested:
        return requested
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    return len(usable) if usable else os.cpu_count() or 1
