"""The steps of gpu_session.py. Each takes a `Session` and answers a dict of figures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import RESULTS
from safetensors.torch import load_file
from torch.profiler import ProfilerActivity, profile

import vaeneer
from vaeneer.data.dataset import open_folder
from vaeneer.errors import TrainingInterrupted
from vaeneer.library.embed.embed import embed
from vaeneer.library.index import embed_files
from vaeneer.library.index.index import index
from vaeneer.model.checkpoint import read_card
from vaeneer.model.embedder import Embedder
from vaeneer.progress import Silent
from vaeneer.settings import (
    BenchSettings,
    EmbedSettings,
    IndexSettings,
    PrepareSettings,
    TrainSettings,
)
from vaeneer.training.run_folder import read_metrics

ROOT = Path(__file__).parents[1]
TESTS = (
    "runtime", "packed_crops", "surface", "texture", "training", "surface_training", "consistency",
    "schedule", "initialisation", "vae", "checkpoint", "evaluation", "calibration", "embedder",
    "embedding", "indexing", "drawing", "bench", "serving_network",
)  # fmt: skip
RECIPES = {
    "seed": TrainSettings(recipe="reference"),
    "improved": TrainSettings(recipe="improved"),
    "surface": TrainSettings(recipe="surface", architecture="surface"),
    "improved, surface network": TrainSettings(recipe="improved", architecture="surface"),
}
Figures = dict[str, Any]


@dataclass(frozen=True)
class Session:
    """Where the data lie, and what to compute on."""

    surfaces: Path
    split: Path
    work: Path
    device: str
    small: bool

    def data(self, train: int | None = None, valid: int | None = None) -> Path:
        """A data set of the surfaces, whole or the first few of each side, made once."""
        whole = self.work / "data"
        if not whole.is_dir():
            settings = PrepareSettings(split=self.split)
            vaeneer.prepare(self.surfaces, out=whole, settings=settings)
        if train is None:
            return whole
        part = self.work / f"data-{train}"
        for side, count in (("train", train), ("valid", valid)):
            for item in open_folder(whole / side).items[::4][:count]:
                link = part / side / item.path.relative_to(whole / side)
                if not link.exists():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(item.path.resolve())
        return part

    def images(self, count: int) -> Path:
        """A folder of that sample."""
        folder = self.work / f"images-{count}"
        for file in self.files(count):
            link = folder / file.relative_to(self.surfaces)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(file)
        return folder

    def files(self, count: int) -> list[Path]:
        """A seeded sample of the surfaces."""
        files = sorted(self.surfaces.rglob("*.jpg"))
        chosen = np.random.default_rng(0).permutation(len(files))[:count]
        return [files[place] for place in chosen]


@dataclass(frozen=True)
class Step:
    """What is measured, and how long that may take."""

    take: Callable[[Session], Figures]
    least_seconds: float
    """With less time left it is not begun."""
    most_seconds: float


def tell(found: Figures) -> None:
    """Say what there is so far: it stays where the time is up before the end."""
    print("RESULT " + json.dumps(found), flush=True)


def run_tests(session: Session) -> Figures:
    """The tests of what runs on a device; `auto` is CUDA where there is one."""
    names = TESTS[:2] if session.small else TESTS
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--tb=short"]
    command += ["-o", "filterwarnings=default", "-W", "ignore", "--timeout=100"]
    if find_spec("xdist") and not session.small:
        command += ["-n", "14"]
    files = [f"tests/test_{name}.py" for name in names]
    log = RESULTS / "tests.log"
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [*command, *files], cwd=ROOT, stdout=file, stderr=file, check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    lines = log.read_text(encoding="utf-8").splitlines()
    failed = [line[:300] for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"exit_code": done.returncode, "last_line": lines[-1] if lines else "", "failed": failed}


def compare_vectors(session: Session) -> Figures:
    """Cosines between vectors of the same images in float32 on the CPU and on the device."""
    paths = session.files(4 if session.small else 64)
    found: Figures = {}
    for model in ("surface-base", "reference-base"):
        exact = Embedder(model, device="cpu", precision="float32").embed_files(paths)
        for name, device, precision, tf32 in (
            ("CPU, auto", "cpu", "auto", False),
            ("device, float32", session.device, "float32", False),
            ("device, auto", session.device, "auto", False),
            ("device, auto, TF32 let in", session.device, "auto", True),
        ):
            embedder = Embedder(model, device=device, precision=precision)
            torch.backends.cuda.matmul.allow_tf32 = tf32
            torch.backends.cudnn.allow_tf32 = tf32
            cosines = (exact * embedder.embed_files(paths)).sum(1)
            found[f"{model}: {name}"] = {
                "precision": embedder.precision.name,
                "least_cosine": float(cosines.min()),
                "median_cosine": float(np.median(cosines)),
            }
    return found


def compare_epochs(session: Session) -> Figures:
    """The figures of one short epoch in float32 on the CPU and on the device; resumed runs."""
    data = session.data(8, 4) if session.small else session.data(64, 11)
    found: Figures = {}
    for recipe, settings in RECIPES.items():
        if recipe.startswith("improved") or (session.small and recipe == "surface"):
            continue
        name = recipe
        short = replace(settings, epochs=1, batch_size=8, precision="float32")
        lines = {
            device: _trained(session, data, f"one-{name}-{device}", replace(short, device=device))
            for device in ("cpu", session.device)
        }
        found[recipe] = {
            f"{side} {figure}": [line["metrics"][-1][side][figure] for line in lines.values()]
            for side in ("train", "valid")
            for figure in ("excess_nats", "kl_nats")
        }
        two = replace(settings, epochs=2, batch_size=8, device=session.device)
        weights = [
            _weights(session, data, f"two-{name}-{number}", two, stopped=number == 2)
            for number in range(3)
        ]
        found[recipe]["weights_apart_twice"] = _apart(weights[0], weights[1])
        found[recipe]["weights_apart_resumed"] = _apart(weights[0], weights[2])
        tell(found)
    return found


class _Stops(Silent):
    """Asks a run to stop in its second epoch."""

    def bar(self, title: str, *, total: int, unit: str) -> Any:
        """Open a bar; that of the second epoch comes with a SIGINT."""
        if title.startswith("epoch 2/"):
            signal.raise_signal(signal.SIGINT)
        return super().bar(title, total=total, unit=unit)


def _weights(
    session: Session, data: Path, name: str, settings: TrainSettings, *, stopped: bool
) -> dict[str, torch.Tensor]:
    out = session.work / "runs" / name
    shutil.rmtree(out, ignore_errors=True)
    if stopped:
        with suppress(TrainingInterrupted):
            vaeneer.train(data, out=out, settings=settings, progress=_Stops())
    vaeneer.train(data, out=out, settings=settings, resume=stopped)
    return load_file(out / "last" / "model.safetensors")


def _apart(these: dict[str, torch.Tensor], those: dict[str, torch.Tensor]) -> float:
    """The largest difference between two sets of weights; 0 where they are the same to the bit."""
    return max(float((a.double() - those[name].double()).abs().max()) for name, a in these.items())


def train_recipes(session: Session) -> Figures:
    """Whole runs: seconds, excess and memory, beside what the results of a CPU say."""
    data = session.data(8, 4) if session.small else session.data()
    found: Figures = {"on a CPU": _cpu_figures()}
    for recipe, settings in RECIPES.items():
        settings = replace(settings, device=session.device)
        if session.small:
            settings = replace(settings, epochs=1, batch_size=4)
        if session.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        name = recipe.replace(", ", "-").replace(" ", "-")
        run = _trained(session, data, f"whole-{name}", settings)
        excess = [line["valid"]["excess_nats"] for line in run["metrics"]]
        last = run["metrics"][-1]
        found[recipe] = {
            "precision": run["facts"]["precision"],
            "epochs": len(excess),
            "whole_seconds": run["seconds"],
            "training_seconds": last["seconds"],
            "pack_seconds": run["facts"]["pack_seconds"],
            "images_per_second_last_epoch": _last_rate(run["metrics"]),
            "excess_nats": {"best": min(excess), "last": excess[-1], "all": excess},
            "kl_nats": last["valid"]["kl_nats"],
        }
        if session.device.startswith("cuda"):
            found[recipe]["device_gib"] = torch.cuda.max_memory_reserved() / 2**30
            torch.cuda.empty_cache()
        tell(found)
    return found


def _last_rate(metrics: list[Figures]) -> float:
    before = metrics[-2]["seconds"] if len(metrics) > 1 else 0.0
    return metrics[-1]["train"]["images"] / max(metrics[-1]["seconds"] - before, 1e-9)


def _cpu_figures() -> Figures:
    """Best excess and seconds of the last runs on a CPU, in results/ and in the bundled models."""
    file = ROOT / "benchmarks" / "results" / "time-to-loss.json"
    found: Figures = {}
    if file.is_file():
        for name, curve in json.loads(file.read_text(encoding="utf-8"))["curves"].items():
            points = curve["points"]
            best = min(point["excess_nats"] for point in points)
            found[name] = {"best_excess_nats": best, "seconds": points[-1]["seconds"]}
    for name in ("reference-base", "surface-base"):
        figures = read_card(name).figures or {}
        found[name] = {"excess_nats": figures.get("excess_nats")}
    return found


def _trained(session: Session, data: Path, name: str, settings: TrainSettings) -> Figures:
    out = session.work / "runs" / name
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    vaeneer.train(data, out=out, settings=settings)
    seconds = time.perf_counter() - began
    facts = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return {"seconds": seconds, "facts": facts, "metrics": read_metrics(out)}


def embed_and_index(session: Session) -> Figures:
    """Images a second of the network alone, of `embed` and of `index`, and where the time goes."""
    folder = session.images(6 if session.small else 311)
    found: Figures = {"crops_per_second": {}, "embed": {}, "index": {}}
    sizes = (2, 4) if session.small else (16, 128, 512)
    for size in sizes:
        found["crops_per_second"][size] = _network_rates(session, size)
    found["search_seconds"] = _search_seconds(session)
    tell(found)
    plans = [("none", size, session.device) for size in sizes]
    plans += [("quarters", size, session.device) for size in sizes]
    plans += [("none", 16, "cpu")]
    for parts, size, device in plans:
        if session.small and parts == "quarters":
            continue
        library = session.work / f"library-{parts}"
        shutil.rmtree(library, ignore_errors=True)
        settings = IndexSettings(parts=parts, batch_size=size, device=device)
        with _timed() as spent:
            report = index(folder, library=library, settings=settings)
        found["index"][f"{parts}, batches of {size}, {device}"] = {
            "images_per_second": report.images_per_second,
            "vectors": report.vectors,
            "seconds": report.seconds,
            "of_them": {name: round(value, 2) for name, value in spent.items()},
        }
        tell(found)
    for size in sizes:
        out = session.work / "vectors.parquet"
        settings = EmbedSettings(batch_size=size, device=session.device, cache=session.work / "c")
        report = embed("surface-base", folder, out=out, settings=settings, overwrite=True)
        found["embed"][size] = report.images_per_second
        tell(found)
    return found


def _network_rates(session: Session, size: int) -> Figures:
    """Crops a second of `Embedder.embed` and of the texture statistics in it alone."""
    embedder = Embedder("surface-base", device=session.device, batch_size=size)
    crops = torch.randint(0, 256, (4 * size, 3, 254, 254), dtype=torch.uint8)
    images = crops[:size].to(session.device).float() / 255
    statistics = embedder.vae.encoder.texture.statistics
    seconds = _seconds(session, lambda: embedder.embed(crops))
    busy = _device_seconds(lambda: embedder.embed(crops)) if images.is_cuda else seconds
    return {
        "embed": len(crops) / seconds,
        "device_busy": busy / seconds,
        "texture statistics": size / _seconds(session, lambda: statistics(images)),
    }


def _device_seconds(work: Callable[[], object]) -> float:
    """How long the kernels and copies of `work` take together."""
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        work()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in found.key_averages()) / 1e6


def _search_seconds(session: Session) -> float:
    """How long the vector of one image of five crops takes."""
    embedder = Embedder("surface-base", device=session.device)
    (path,) = session.files(1)
    return _seconds(session, lambda: embedder.embed_files([path]))


def _seconds(session: Session, work: Callable[[], object]) -> float:
    """The median of five, after two that warm up."""
    found = []
    for _ in range(7):
        began = time.perf_counter()
        work()
        if session.device.startswith("cuda"):
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return float(np.median(found[2:]))


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    """Seconds that indexing spends in each of its parts; what is left waits for decoding."""
    spent: dict[str, float] = defaultdict(float)
    names = ("part_views", "record_images", "write_thumbnail", "whole_vector")
    real: dict[str, Any] = {name: getattr(embed_files, name) for name in names}
    network = Embedder.embed

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - began

        return run

    for name in names:
        setattr(embed_files, name, timed(name, real[name]))
    Embedder.embed = timed("network", network)  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        Embedder.embed = network  # type: ignore[method-assign]
        for name in names:
            setattr(embed_files, name, real[name])


def measure_steps(session: Session) -> Figures:
    """gpu.py: training images a second against the reference recipe, and the roofline."""
    data = session.data()
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), str(data)]
    command += ["--seconds", "1", "--seed-epochs", "2"]
    return _program([*command, "--batches", "16", "64", "256", "1024"])


def bench_parts(session: Session) -> Figures:
    """`vaeneer bench` on the device and on the CPU of the same machine."""
    found: Figures = {}
    plans = [(name, session.device, 16) for name in ("reference", "surface")]
    if not session.small:
        plans += [("reference", session.device, 256), ("surface", session.device, 256)]
        plans += [("reference", "cpu", 16), ("surface", "cpu", 16)]
    for architecture, device, batch in plans:
        settings = BenchSettings(
            architecture=architecture,  # type: ignore[arg-type]
            data=session.surfaces,
            device=device,
            batch_size=2 if session.small else batch,
            images=2 if session.small else 96,
            seconds=0.01 if session.small else 0.3,
        )
        report = vaeneer.bench(settings=settings).to_dict()
        found[f"{architecture}, {device}, {batch}"] = report | {"layers": None, "settings": None}
        tell(found)
    return found


def serve_library(session: Session) -> Figures:
    """serving.py: searches a second, where the network of the server is on the device."""
    library = session.work / "library-served"
    settings = IndexSettings(parts="none", device=session.device)
    index(session.images(6 if session.small else 311), library=library, settings=settings)
    command = [sys.executable, str(ROOT / "benchmarks" / "serving.py"), str(library)]
    if session.small:
        return _program([*command, "--seconds", "1", "--clients", "2", "--images", "2"])
    return _program([*command, "--seconds", "4", "--clients", "1,8,64"])


def _program(command: list[str]) -> Figures:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, file=sys.stderr)
    return {"exit_code": done.returncode, "said": (done.stdout + done.stderr)[-3000:]}


STEPS = {
    "tests": Step(run_tests, 30, 90),
    "vectors": Step(compare_vectors, 15, 60),
    "epochs": Step(compare_epochs, 20, 80),
    "steps": Step(measure_steps, 40, 120),
    "train": Step(train_recipes, 40, 150),
    "index": Step(embed_and_index, 20, 90),
    "bench": Step(bench_parts, 25, 90),
    "serving": Step(serve_library, 45, 90),
}
