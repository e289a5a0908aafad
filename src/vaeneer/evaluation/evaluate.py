"""A model measured on a folder (AEtest.py): exact averages beside trivial predictors."""

from __future__ import annotations

import csv
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaeneer.data.dataset import open_folder
from vaeneer.data.images import read_rgb, resize_rgb
from vaeneer.data.pixel_cache import PackLayout, open_pack
from vaeneer.device import Precision, choose_device, choose_precision, describe_device
from vaeneer.errors import ModelFileError
from vaeneer.evaluation.per_image import (
    METRICS,
    Figures,
    Measurements,
    measure,
    trivial_excess_nats,
)
from vaeneer.evaluation.plots import (
    PER_IMAGE,
    QUIET,
    TRAIN,
    new_chart,
    reconstructed,
    save_chart,
    save_grid,
)
from vaeneer.files import atomic_write, new_output_dir, write_json
from vaeneer.model.checkpoint import load
from vaeneer.model.vae import VAE
from vaeneer.progress import Progress, Silent
from vaeneer.settings import EvaluateSettings


@dataclass(frozen=True)
class EvaluationReport:
    """Means over the images of a folder; nats are per image unless the name says otherwise."""

    model: str
    folder: str
    images: int
    nats_per_image: float
    """The negative ELBO: reconstruction (BCE, one latent sampled from the posterior) + KL."""
    reconstruction_nats: float
    kl_nats: float
    nats_per_dim: float
    entropy_nats: float
    excess_nats: float
    """nats_per_image - entropy_nats: what the model costs above the least that BCE can be."""
    active_units: int
    squared_error: float
    best_image_nats: float
    worst_image_nats: float
    iwae_nats: float | None
    iwae_samples: int
    trivial_excess_nats: dict[str, float | None]
    """The excess of saying one colour: grey, training_mean (null where unknown), own_mean."""
    metrics: dict[str, float | None]
    """Means of METRICS (per_image.py); in JSON they stand beside the other figures, null where
    they were left out."""
    device: str
    """What computed, and in which precision."""
    skipped: dict[str, str]
    pictures: list[str]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        values = asdict(self)
        del values["metrics"]
        return values | self.metrics


def evaluate(
    model: Path | str,
    folder: Path | str,
    *,
    out: Path | str | None = None,
    settings: EvaluateSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Measure a model on every image of a folder, resized to 254 x 254 as the reference does.

    model: a model folder, a run (its best model) or the name of a bundled model. With `out`,
    evaluation.json, per-image.csv and the pictures go there.
    Raises ModelFileError, DataError, OutputExistsError or SettingsError.
    """
    settings = settings or EvaluateSettings()
    progress = progress or Silent()
    started = time.monotonic()
    precision = choose_precision(settings.precision, choose_device(settings.device))
    vae = load(model, device=precision.device)
    images = open_folder(folder, all_maps=settings.all_maps, progress=progress)
    target = None if out is None else Path(out)
    if target is not None:
        inputs = [Path(model), Path(folder)]
        new_output_dir(target, kind="evaluation", overwrite=overwrite, inputs=inputs)
    layout = PackLayout(vae.image_side_px, square=True)
    pack = open_pack(images, layout, cache=settings.cache, progress=progress)
    found = measure(
        vae,
        pack,
        precision=precision,
        batch_size=settings.batch_size,
        seed=settings.seed,
        quality=settings.quality,
        iwae=settings.iwae,
        title=f"evaluating {images.root.name}",
        progress=progress,
    )
    if not np.isfinite(found.total_nats).all():
        raise ModelFileError(f"{model} gives losses that are not finite; its weights are broken.")
    pictures: list[Path] = []
    if target:
        pictures = [draw_loss_per_image(found, target / "loss-per-image.png")]
        if settings.worst:
            pictures.append(draw_worst(vae, found, target / "worst.png", settings.worst))
    seconds = time.monotonic() - started
    report = _report(str(model), str(folder), vae, found, settings, precision, pictures, seconds)
    if target:
        _write_per_image(target / "per-image.csv", found)
        write_json(target / "evaluation.json", report.to_dict())
    return report


def draw_loss_per_image(found: Measurements, path: Path) -> Path:
    """The loss of each image in the folder's order, above its entropy, the minimum."""
    figure, axes = new_chart(
        f"Loss of each image, n = {len(found.items)}, mean {found.total_nats.mean():,.0f} nats",
        "image, in the order of the file names",
        PER_IMAGE,
        width=9,
    )
    places = np.arange(len(found.items))
    axes.plot(places, found.total_nats, marker=".", color=TRAIN, label="loss (BCE + KL)")
    axes.plot(places, found.entropy_nats, color=QUIET, label="entropy of its pixels")
    axes.axhline(found.total_nats.mean(), color=TRAIN, linestyle=":", label="mean loss")
    axes.legend(frameon=False)
    return save_chart(figure, path)


def draw_worst(vae: VAE, found: Measurements, path: Path, count: int) -> Path:
    """The images that cost most above their entropy, each above its reconstruction."""
    worst = np.argsort(-found.excess_nats, kind="stable")[:count]
    images = [resize_rgb(read_rgb(found.items[i].path), vae.image_side_px) for i in worst]
    captions = [f"+{found.excess_nats[i]:,.0f}  {found.items[i].path.name}" for i in worst]
    below = [
        ", ".join(METRICS[name].shown(values[i]) for name, values in found.metrics.items())
        for i in worst
    ]
    return save_grid(
        [*images, *reconstructed(vae, images)],
        path,
        columns=len(worst),
        captions=captions + below,
    )


def _report(
    model: str,
    folder: str,
    vae: VAE,
    found: Measurements,
    settings: EvaluateSettings,
    precision: Precision,
    pictures: list[Path],
    seconds: float,
) -> EvaluationReport:
    total = found.total_nats
    return EvaluationReport(
        model=model,
        folder=folder,
        images=len(total),
        nats_per_image=float(total.mean()),
        reconstruction_nats=float(found.reconstruction_nats.mean()),
        kl_nats=float(found.kl_nats.mean()),
        nats_per_dim=float(total.mean()) / (3 * found.side_px**2),
        entropy_nats=float(found.entropy_nats.mean()),
        excess_nats=float(found.excess_nats.mean()),
        active_units=found.active_units,
        squared_error=float(found.squared_error.mean()),
        best_image_nats=float(total.min()),
        worst_image_nats=float(total.max()),
        iwae_nats=_mean(found.iwae_nats),
        iwae_samples=settings.iwae,
        trivial_excess_nats=trivial_excess_nats(found, vae.card.training_mean_rgb),
        metrics={name: _mean(found.metrics.get(name)) for name in METRICS},
        device=describe_device(precision.device, precision.name),
        skipped={str(error.path): error.reason for error in found.skipped},
        pictures=[str(picture) for picture in pictures],
        seconds=seconds,
    )


def _mean(values: Figures | None) -> float | None:
    return None if values is None else float(values.mean())


def _write_per_image(path: Path, found: Measurements) -> None:
    columns = {
        "file": [item.name for item in found.items],
        "nats": found.total_nats,
        "reconstruction_nats": found.reconstruction_nats,
        "kl_nats": found.kl_nats,
        "entropy_nats": found.entropy_nats,
        "excess_nats": found.excess_nats,
        **{name: found.metrics.get(name, [""] * len(found.items)) for name in METRICS},
    }
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
