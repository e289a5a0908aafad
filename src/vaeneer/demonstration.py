"""demo(): the whole way once, from a raw folder to a report that a person wants to look at."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vaeneer.config import SEED, PrepareSettings, TrainSettings
from vaeneer.data.folder import DataSet, open_data_set
from vaeneer.data.preparation import prepare
from vaeneer.data.synthetic import synthesize
from vaeneer.demonstration_page import Results, write_page
from vaeneer.errors import SettingsError
from vaeneer.files import claim_folder
from vaeneer.generating.drawing import reconstruct, sample
from vaeneer.measuring.evaluation import evaluate
from vaeneer.measuring.similarity import similarity
from vaeneer.progress import Progress, Silent
from vaeneer.training.loop import train

DEMO_SURFACES = 210
RECIPE: Literal["improved"] = "improved"
IMAGES_IN_TIME = 2700  # what two cores train on in 30 to 100 seconds


@dataclass(frozen=True)
class DemoReport:
    """The short table at the end of a demo, and where everything lies."""

    train_images: int
    valid_images: int
    epochs: int
    valid_excess_nats: float
    own_mean_colour_excess_nats: float | None
    psnr_db: float | None
    active_units: int
    latent_mean_auc: float
    latent_mean_recall_at_1: float
    rgb_histogram_auc: float
    rgb_histogram_recall_at_1: float
    seconds: float
    pictures: list[str]
    report: str

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def demo(
    *,
    out: Path | str = "vaeneer-demo",
    data: Path | str | None = None,
    epochs: int = 0,
    seed: int = SEED,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DemoReport:
    """Prepare, train, evaluate, compare and sample, on procedural surfaces or on a folder `data`.

    Everything lands below `out`; report.html in it shows the whole in one file. `epochs` 0 chooses
    as many as take 30 to 100 seconds on two cores. Raises what those functions raise.
    """
    if epochs < 0:
        raise SettingsError(f"epochs is {epochs}; use 1 or more, or 0 for as many as fit the time.")
    progress = progress or Silent()
    started = time.monotonic()
    inputs = [Path(data)] if data else []
    root = claim_folder(Path(out), kind="demonstration", overwrite=overwrite, inputs=inputs)
    raw = root / "raw" if data is None else Path(data)
    if data is None:
        synthesize(raw, count=DEMO_SURFACES, seed=seed, progress=progress)
    prepare(raw, out=root / "data", settings=PrepareSettings(seed=seed), progress=progress)
    sides = open_data_set(root / "data")
    settings = TrainSettings(recipe=RECIPE, seed=seed, epochs=epochs or _fitting_epochs(sides))
    trained = train(root / "data", out=root / "run", settings=settings, progress=progress)
    valid = root / "data" / "valid"
    results = Results(
        raw=raw,
        root=root,
        sides=sides,
        recipe=RECIPE,
        trained=trained,
        evaluated=evaluate(root / "run", valid, out=root / "evaluation", progress=progress),
        compared=similarity(root / "run", valid, out=root / "similarity", progress=progress),
        reconstructions=Path(
            reconstruct(root / "run", [valid], out=root / "reconstructions.png").picture
        ),
        samples=Path(sample(root / "run", out=root / "samples.png").picture),
    )
    page = write_page(root / "report.html", results, time.monotonic() - started)
    return _report(results, page, time.monotonic() - started)


def _fitting_epochs(sides: DataSet) -> int:
    return max(1, math.floor(IMAGES_IN_TIME / len(sides.train)))


def _report(results: Results, page: Path, seconds: float) -> DemoReport:
    evaluated, rows = results.evaluated, results.compared.representations
    return DemoReport(
        train_images=len(results.sides.train),
        valid_images=len(results.sides.valid),
        epochs=results.trained.epochs,
        valid_excess_nats=evaluated.excess_nats,
        own_mean_colour_excess_nats=evaluated.trivial_excess_nats["own_mean"],
        psnr_db=evaluated.psnr_db,
        active_units=evaluated.active_units,
        latent_mean_auc=rows["mean"].auc,
        latent_mean_recall_at_1=rows["mean"].recall_at_1,
        rgb_histogram_auc=rows["rgb_histogram"].auc,
        rgb_histogram_recall_at_1=rows["rgb_histogram"].recall_at_1,
        seconds=seconds,
        pictures=[
            str(results.reconstructions),
            str(results.samples),
            *results.trained.pictures,
            *results.evaluated.pictures,
            *results.compared.pictures,
        ],
        report=str(page),
    )
