"""How cost grows: steps with the batch, memory and opening with the number of images.

    python benchmarks/growth.py WORK [--batches 1 4 16 64] [--images 300 10000 100000]

Trains some steps in processes of their own, at each batch size for both networks, and on sparse
packs of many black images, where it reads the process's own memory (RssAnon: the page cache, in
which a pack's pixels lie, is not in it). Writes results/growth.json. Three minutes on two cores.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import cyclopts
from machine import keep
from rich.console import Console

from vaeneer.data.pixel_cache import default_cache

TESTS = Path(__file__).parents[1] / "tests"
BATCHES, IMAGES = (1, 4, 16, 64), (300, 10_000, 100_000)
Several = cyclopts.Parameter(consume_multiple=True)
app = cyclopts.App(help=__doc__)


@app.default
def main(
    work: Path,
    *,
    batches: Annotated[tuple[int, ...], Several] = BATCHES,
    images: Annotated[tuple[int, ...], Several] = IMAGES,
) -> None:
    """Ask a process of its own for each row, and write the results."""
    console = Console()
    steps = []
    for batch in batches:
        for architecture in ("reference", "surface"):
            steps.append(asked(work, batch=batch, architecture=architecture, count=300, steps=8))
            console.print(steps[-1])
    packs = []
    for count in images:
        packs.append(asked(work, batch=16, architecture="reference", count=count, steps=12))
        console.print(packs[-1])
    console.print(f"wrote {keep('growth', {'batches': steps, 'images': packs})}")


def asked(work: Path, **question: Any) -> dict[str, Any]:
    """The answer of a process of its own."""
    flags = [word for name, value in question.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, __file__, "one", str(work), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {**question, **json.loads(done.stdout.splitlines()[-1])}


@app.command
def one(work: Path, *, batch: int, architecture: str, count: int, steps: int) -> None:
    """Open a sparse pack of `count` images and train `steps` steps on it; print one JSON object."""
    sys.path.insert(0, str(TESTS))
    from sparse_packs import Items, sparse_pack
    from vaeneer.data.dataset import ImageFolder
    from vaeneer.data.pixel_cache import PackLayout, open_pack
    from vaeneer.settings import TrainSettings

    root = work / f"sparse-{count}"
    if not root.exists():
        sparse_pack(root, count)
    started = time.perf_counter()
    items: Any = Items(root / "one.png", count)
    pack = open_pack(ImageFolder(root, items), PackLayout(568))
    opening = time.perf_counter() - started
    settings = TrainSettings(
        recipe="improved", architecture=architecture, batch_size=batch, device="cpu"
    )  # type: ignore[arg-type]
    seconds, memory = trained(pack, settings, steps)
    print(
        json.dumps(
            {
                "images_per_second": round(batch / median(seconds), 1),
                "step_seconds": round(median(seconds), 4),
                "open_seconds": round(opening, 3),
                "memory_mib": memory,
            }
        )
    )
    if count > min(IMAGES):
        shutil.rmtree(root)
        shutil.rmtree(default_cache(root))


def trained(pack: Any, settings: Any, steps: int) -> tuple[list[float], int]:
    """Seconds of each step but the first three, and the memory of this process after them, MiB."""
    from vaeneer.data.crops import CropRecipe
    from vaeneer.data.loader import PackedCrops
    from vaeneer.device import choose_device, choose_precision
    from vaeneer.model.vae import ModelCard
    from vaeneer.progress import Silent
    from vaeneer.settings import Recipe
    from vaeneer.training.optim import new_optimizer
    from vaeneer.training.resume_state import TrainState
    from vaeneer.training.run_folder import RunFolder
    from vaeneer.training.setup import Run, started_network
    from vaeneer.training.train import take_step

    precision = choose_precision("auto", choose_device("cpu"))
    recipe = Recipe.of(settings)
    vae = started_network(settings, recipe, pack, Silent(), device=precision.device)
    run = Run(
        folder=RunFolder(Path("nowhere")),
        settings=settings,
        recipe=recipe,
        train=pack,
        valid=pack,
        precision=precision,
        crops=PackedCrops(pack, CropRecipe.of(settings), precision.device),
        vae=vae,
        averaged=None,
        optimizer=new_optimizer(vae, recipe, precision.device),
        state=TrainState(),
        card=ModelCard(),
    )
    seconds = []
    tick = time.perf_counter()
    for batch in run.crops.batches(run.groups()[: steps + 3], run.crop_numbers()):
        inputs = batch.pixels, run.noise(len(batch.indices)), run.step_scalars()
        take_step(run, *inputs, run.assets(batch.indices))
        run.state.step += 1
        now = time.perf_counter()
        seconds.append(now - tick)
        tick = now
    status = Path("/proc/self/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+)", status)
    return seconds[3:], int(found.group(1)) // 1024 if found else 0


if __name__ == "__main__":
    app()
