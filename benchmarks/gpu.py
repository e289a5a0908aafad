"""vaeneer on a CUDA machine: images/s against the reference recipe, share of the roofline.

    PYTHONPATH=src python benchmarks/gpu.py DATA [--batches 16 64 256 1024] [--seconds 3]

DATA is a data set (train/ and valid/), small copies of the surfaces suffice. The reference recipe
(seed_recipe.py) trains on the same files on the same machine, batch 16, with the quickest number of
loading workers. vaeneer takes its own training steps (`take_step`, captured as a graph, bfloat16
where the card has it): once over crops cut on the device from the pack that lies there, which is
what `train` does, and once over a batch that lies there ready, which is the network alone.

The roofline: every operation of one step takes at least its FLOPs by the measured matmul rate, and
its tensors' bytes by the measured copy rate, whichever is longer. The share is the sum of those by
the time that a step takes. Writes results/gpu.json. Refuses without CUDA.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from machine import keep
from rich.console import Console
from rich.table import Table
from seed_recipe import BATCH_SIZE
from seed_recipe import train as train_as_the_seed
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from vaeneer.progress import Silent
from vaeneer.settings import ARCHITECTURES, TrainSettings
from vaeneer.training import train as train_module
from vaeneer.training.run_folder import RunFolder

NETWORKS = tuple(ARCHITECTURES)
SEED_BAR = 50.0
ROOFLINE_BAR = 0.35
console = Console()


@dataclass(frozen=True)
class Ceilings:
    """What the device was seen to do."""

    flops: float
    """Per second, a large matrix product in the precision of the network."""
    bytes: float
    """Per second, read and written by a large copy."""


@dataclass
class Work:
    """What one step asks of a device."""

    flops: float = 0.0
    bytes: float = 0.0
    ideal_seconds: float = 0.0
    """The roofline's least time: for each operation the longer of the two, summed."""


def main(
    data: Path,
    *,
    batches: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = (16, 64, 256, 1024),
    architectures: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = tuple(
        ARCHITECTURES
    ),
    seconds: float = 3.0,
    seed_epochs: int = 3,
) -> None:
    """Measure and write the results."""
    if not torch.cuda.is_available():
        console.print("This machine has no CUDA device; nothing was measured.")
        sys.exit(2)
    device = torch.device("cuda")
    seed = seed_rates(data / "train", seed_epochs)
    ceilings = measure_ceilings(device)
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for architecture in architectures:
        for batch in batches:
            try:
                row = measure_steps(data, architecture, batch, seconds, ceilings)
            except RuntimeError as error:  # a batch that does not fit, say
                failed[f"{architecture}, {batch}"] = str(error)[:300]
                continue
            row["times_the_seed"] = row["images_per_second"] / best_of(seed)
            rows.append(row)
            result = result_of(device, ceilings, seed, rows, failed)
            keep("gpu", result)  # after each row, so that a stopped run leaves something
    if not rows:
        console.print(f"Nothing could be measured: {failed}")
        sys.exit(1)
    path = keep("gpu", result)  # with what failed last
    show(result)
    console.print(f"wrote {path}")


def best_of(seed: list[dict[str, Any]]) -> float:
    """Images/s of the reference recipe with the best number of workers."""
    return float(max(row["images_per_second"] for row in seed))


def result_of(
    device: torch.device,
    ceilings: Ceilings,
    seed: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    failed: dict[str, str],
) -> dict[str, Any]:
    """What the result file says."""
    fastest = max(row["times_the_seed"] for row in rows)
    fullest = max(row["roofline_share"] for row in rows)
    return {
        "device": torch.cuda.get_device_name(device),
        "ceilings": {"tflops": ceilings.flops / 1e12, "gigabytes": ceilings.bytes / 1e9},
        "seed": {"images_per_second": best_of(seed), "raw": seed},
        "steps": rows,
        "failed": failed,
        "bars": {
            "times_the_seed": verdict(fastest, SEED_BAR),
            "roofline_share": verdict(fullest, ROOFLINE_BAR),
        },
    }


def seed_rates(folder: Path, epochs: int) -> list[dict[str, Any]]:
    """The reference recipe with several numbers of workers; the first is a warm-up."""
    cores = os.cpu_count() or 1
    train_as_the_seed(folder, device="cuda", workers=0)
    return [
        train_as_the_seed(folder, epochs=epochs, device="cuda", workers=workers)
        for workers in sorted({0, 2, min(8, cores), cores})
    ]


def measure_ceilings(device: torch.device, side: int = 8192) -> Ceilings:
    """A bfloat16 matrix product, and a copy of 1 GiB."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = seconds_of(lambda: a @ b, device)
    source = torch.empty(2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = seconds_of(lambda: target.copy_(source), device)
    return Ceilings(flops=2 * side**3 / product, bytes=2 * 2**30 / copy)


def measure_steps(
    data: Path, architecture: str, batch: int, seconds: float, ceilings: Ceilings
) -> dict[str, Any]:
    """Training steps of one network at one batch size."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as place:
        run = start(data, Path(place), architecture, batch, "cuda")
        inputs = one_batch(run, batch)
        eager = lambda *tensors: train_module.take_step(run, *tensors)  # noqa: E731
        work = count_work(lambda: eager(*inputs), ceilings)
        step = train_module.graphed(eager, run.device)
        ready = rate(lambda: step(*inputs), batch, seconds, run.device)
        groups = cycle(random_groups(len(run.train), batch))
        stream = run.crops.batches(groups, run.crop_numbers())

        def fed() -> None:
            found = next(stream)
            step(found.pixels, run.noise(batch), run.weights(), run.assets(found.indices))

        resident = rate(fed, batch, seconds, run.device)
        stream.close()
        precision = run.precision.name
        memory = torch.cuda.max_memory_allocated() / 2**30
    step_seconds = batch / ready
    return {
        "architecture": architecture,
        "batch": batch,
        "precision": precision,
        "images_per_second": resident,
        "network_images_per_second": ready,
        "gflop_per_image": work.flops / batch / 1e9,
        "megabytes_per_image": work.bytes / batch / 1e6,
        "compute_share": work.flops / step_seconds / ceilings.flops,
        "roofline_share": work.ideal_seconds / step_seconds,
        "peak_gib": memory,
    }


def start(data: Path, place: Path, architecture: str, batch: int, device: str) -> Any:
    """A run of `vaeneer.train`, ready for its first step."""
    run = train_module.start_run(
        data,
        RunFolder(place / "run"),
        TrainSettings(
            recipe="reference", architecture=architecture, batch_size=batch, device=device
        ),
        resume=False,
        overwrite=False,
        progress=Silent(),
    )
    run.vae.train()
    return run


def one_batch(run: Any, batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels, noise, weights and assets of one step, on the device."""
    group = next(random_groups(len(run.train), batch))
    pixels = next(run.crops.batches([group], run.crop_numbers())).pixels
    return pixels, run.noise(batch), run.weights(), run.assets(group)


def random_groups(images: int, batch: int, count: int = 8) -> Iterator[list[int]]:
    """Groups of `batch` indices, drawn with replacement: a batch may be larger than the data."""
    random = np.random.default_rng(0)
    for _ in range(count):
        yield random.integers(images, size=batch).tolist()


def rate(step: Callable[[], object], batch: int, seconds: float, device: torch.device) -> float:
    """Images/s of steps taken for about `seconds`, after ten that warm up."""
    return batch / seconds_of(step, device, seconds=seconds)


def seconds_of(
    work: Callable[[], object], device: torch.device, *, seconds: float = 1.0, warm_up: int = 10
) -> float:
    """Mean wall-clock of one call, the device waited for at both ends only."""
    for _ in range(warm_up):
        work()
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    calls = max(int(seconds / max(time.perf_counter() - started, 1e-6)), 3)
    started = time.perf_counter()
    for _ in range(calls):
        work()
    synchronize(device)
    return (time.perf_counter() - started) / calls


def synchronize(device: torch.device) -> None:
    """Wait for a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_work(step: Callable[[], object], ceilings: Ceilings) -> Work:
    """FLOPs, bytes and the roofline's time of the operations of one step, taken once."""
    with _Counter(ceilings) as counter:
        step()
    return counter.work


class _Counter(TorchDispatchMode):
    """Adds up every operation that is no view: its FLOPs by PyTorch's own registry, its tensors'
    bytes as if each were read or written once."""

    def __init__(self, ceilings: Ceilings) -> None:
        super().__init__()
        self.work, self._ceilings = Work(), ceilings

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.is_view:
            return result
        formula = flop_registry.get(func._overloadpacket)
        flops = formula(*args, **kwargs, out_val=result) if formula else 0
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.work.flops += flops
        self.work.bytes += moved
        self.work.ideal_seconds += max(flops / self._ceilings.flops, moved / self._ceilings.bytes)
        return result


def verdict(value: float, bar: float) -> dict[str, Any]:
    """A figure against its bar."""
    return {"value": value, "bar": bar, "passes": value >= bar}


def show(result: dict[str, Any]) -> None:
    """Print the figures."""
    table = Table(title=f"{result['device']}: training images/s")
    for column in ("network", "batch", "images/s", "network alone", "x the seed", "of roofline"):
        table.add_column(column, justify="right")
    for row in result["steps"]:
        table.add_row(
            row["architecture"],
            str(row["batch"]),
            f"{row['images_per_second']:,.0f}",
            f"{row['network_images_per_second']:,.0f}",
            f"{row['times_the_seed']:.0f}",
            f"{row['roofline_share']:.0%}",
        )
    console.print(table)
    console.print(
        f"the reference recipe, batch {BATCH_SIZE}: {result['seed']['images_per_second']:.0f}"
    )
    for name, bar in result["bars"].items():
        console.print(f"{name}: {bar['value']:.2f}, bar {bar['bar']:g}, passes: {bar['passes']}")


if __name__ == "__main__":
    cyclopts.run(main)
