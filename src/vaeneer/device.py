"""Device and precision: the one place that knows about CUDA."""

from __future__ import annotations

import ctypes
import platform
import threading
from dataclasses import dataclass
from typing import Literal

import torch

from vaeneer.errors import SettingsError
from vaeneer.workers import core_count

PrecisionName = Literal["float32", "bfloat16"]
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_ARENAS = 2


@dataclass(frozen=True)
class Precision:
    """What a network computes in on a device; weights, latents and losses are always float32."""

    name: PrecisionName
    device: torch.device

    def autocast(self) -> torch.autocast:
        """A context in which convolutions and matrix products run in this precision."""
        lower = self.name == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=lower)


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


def choose_precision(name: str, device: torch.device) -> Precision:
    """The precision called `name` on `device`: auto is bfloat16 where the hardware computes in it.

    What stays float32 is float32 on CUDA too, never TF32: texture statistics compare neighbouring
    pixels, and ten bits would decide those. On a CPU, the memory of large tensors is kept for the
    next ones, and PyTorch takes no more threads than there are cores within a container's quota.
    Raises SettingsError for an unknown name.
    """
    if name not in ("auto", "float32", "bfloat16"):
        raise SettingsError(f"Unknown precision {name!r}; use auto, float32 or bfloat16.")
    exact = name == "float32" or (name == "auto" and not _computes_in_bfloat16(device))
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
    else:
        torch.set_num_threads(min(torch.get_num_threads(), core_count()))
        _keep_freed_memory()
    return Precision("float32" if exact else "bfloat16", device)


def _computes_in_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32: Ampere or newer, AVX512_BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def _keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 32 MiB, where it would give them back to the system.

    Each step frees and asks again for the same few dozen; getting them again, page by page, takes
    a fifth of a training step on two cores.
    """
    if platform.libc_ver()[0] == "glibc":
        process = ctypes.CDLL(None)
        process.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the most that glibc takes
        process.mallopt(_M_TRIM_THRESHOLD, 2**30)


def compute_on_one_core() -> None:
    """Let PyTorch compute on one core in this thread; other threads keep their number of cores.

    For threads that share work among themselves: a team of cores for each would only wait.
    """
    # Reading the count initializes this thread's pool: it must come before set_num_threads().
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    other = threading.Thread(target=torch.set_num_threads, args=(usual,))
    other.start()  # PyTorch keeps the last number for threads to come: the usual one again
    other.join()


def share_freed_memory() -> None:
    """Let all threads allocate from two arenas of glibc; call it before threads are started.

    By default there are eight for each core, and what was freed in one is of no use to another:
    a server of some twenty threads grows for as long as it takes to fill them all.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def malloc_trim() -> None:
    """Let glibc give back to the system what was freed; some 40 ms. Elsewhere nothing happens."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def describe_device(device: torch.device, precision: str = "float32") -> str:
    """One line for reports: what computes, with how many threads, in what, under which PyTorch."""
    if device.type == "cuda":
        what = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        what = f"{platform.machine()} CPU, {threads} thread{'s' if threads != 1 else ''}"
    return f"{what}, {precision}, PyTorch {torch.__version__}"
