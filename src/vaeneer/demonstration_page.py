"""What the demo's HTML report says, section by section."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from vaeneer.data.folder import DataSet
from vaeneer.data.images import read_rgb, resize_rgb
from vaeneer.measuring.evaluation import EvaluationReport
from vaeneer.measuring.pictures import save_grid
from vaeneer.measuring.report import Headline, Picture, Section, Table, write_report
from vaeneer.measuring.similarity import SimilarityReport
from vaeneer.training.loop import TrainReport

_SHEET_COLUMNS, _SHEET_ROWS, _THUMB_PX = 10, 3, 96


@dataclass(frozen=True)
class Results:
    """What the steps of a demo gave."""

    raw: Path
    root: Path
    sides: DataSet
    recipe: str
    trained: TrainReport
    evaluated: EvaluationReport
    compared: SimilarityReport
    reconstructions: Path
    samples: Path


def write_page(path: Path, results: Results, seconds: float) -> Path:
    """Write the report of a demo as one HTML file; returns `path`."""
    evaluated, rows = results.evaluated, results.compared.representations
    own_mean = evaluated.trivial_excess_nats["own_mean"] or 0.0
    count = len(results.sides.train) + len(results.sides.valid)
    return write_report(
        path,
        title=f"{count} surfaces, learnt and measured",
        lead=(
            f"A variational autoencoder trained from scratch for {results.trained.epochs} epochs on"
            f" {len(results.sides.train)} surfaces, measured on {len(results.sides.valid)} that it"
            f" never saw, in {seconds:,.0f} seconds altogether."
        ),
        headlines=(
            Headline(
                f"{evaluated.excess_nats:,.0f}",
                "nats per image above the least possible",
                f"each image's own mean colour: {own_mean:,.0f}",
            ),
            Headline(f"{evaluated.psnr_db or 0:.1f} dB", "PSNR", f"SSIM {evaluated.ssim or 0:.3f}"),
            Headline(
                f"{rows['mean'].auc:.3f}",
                "AUC, same surface against another",
                f"plain colour histogram: {rows['rgb_histogram'].auc:.3f}",
            ),
            Headline(
                f"{rows['mean'].recall_at_1:.0%}",
                "of crops find their surface first",
                f"chance {rows['mean'].chance_recall_at_1:.1%},"
                f" histogram {rows['rgb_histogram'].recall_at_1:.0%}",
            ),
        ),
        sections=(
            _data_section(results),
            _training_section(results),
            _reconstruction_section(results, own_mean),
            _similarity_section(results),
            _next_section(results),
        ),
        footer=f"vaeneer {version('vaeneer')}. Everything shown lies in {results.root.absolute()}.",
    )


def _data_section(results: Results) -> Section:
    items = results.sides.train.items
    places = np.linspace(0, len(items) - 1, min(len(items), _SHEET_COLUMNS * _SHEET_ROWS))
    thumbs = [resize_rgb(read_rgb(items[int(i)].path), _THUMB_PX) for i in places]
    sheet = save_grid(thumbs, results.root / "surfaces.png", columns=_SHEET_COLUMNS)
    return Section(
        "The surfaces",
        (
            f"{len(results.sides.train)} for training and {len(results.sides.valid)} held out;"
            " an asset, and all that looks nearly the same, is on one side only.",
        ),
        pictures=(Picture(sheet, "Some of the training surfaces."),),
        command=f"vaeneer prepare {results.raw} --out {results.root / 'data'}",
    )


def _training_section(results: Results) -> Section:
    plots = results.root / "run" / "plots"
    return Section(
        "Training",
        (
            "The loss is the negative ELBO: what it costs to describe an image's pixels, plus what"
            " its latents cost (KL). A single colour per image is the line that a model must pass"
            " to have learnt more than colour.",
        ),
        pictures=(
            Picture(
                plots / "training-loss.png", "The training loss, summed over 16 images.", half=True
            ),
            Picture(
                plots / "validation.png", "On held-out surfaces, above their entropy.", half=True
            ),
            Picture(plots / "kl-per-latent.png", "How many nats each latent carries.", half=True),
        ),
        command=f"vaeneer train {results.root / 'data'} --out {results.root / 'run'}"
        f" --recipe {results.recipe}"
        f" --epochs {results.trained.epochs}",
    )


def _reconstruction_section(results: Results, own_mean: float) -> Section:
    found = results.evaluated
    ahead = found.excess_nats < own_mean
    verdict = (
        "The model describes the pixels better than one colour for each image."
        if ahead
        else "Saying one colour for each image still describes the pixels better than this model:"
        " it needs longer training than a demo has time for."
    )
    return Section(
        "What it sees, and what it makes up",
        (verdict,),
        Table(
            ("predictor", "nats / image", "above the entropy"),
            (
                _predictor("this model", found.nats_per_image, found),
                _predictor("the image's own mean colour", found.entropy_nats + own_mean, found),
                _predictor(
                    "grey",
                    found.entropy_nats + (found.trivial_excess_nats["grey"] or 0.0),
                    found,
                ),
                _predictor("the least possible (entropy)", found.entropy_nats, found),
            ),
        ),
        (
            Picture(results.reconstructions, "Held-out surfaces, each above its reconstruction."),
            Picture(results.samples, "Samples of the prior: nothing but random numbers went in."),
            *(
                Picture(Path(path), "What each held-out surface costs.")
                for path in found.pictures
                if path.endswith("loss-per-image.png")
            ),
        ),
        command=f"vaeneer evaluate {results.root / 'run'} {results.root / 'data' / 'valid'}",
    )


def _predictor(name: str, nats: float, found: EvaluationReport) -> tuple[str, str, str]:
    return name, f"{nats:,.0f}", f"{nats - found.entropy_nats:,.0f}"


def _similarity_section(results: Results) -> Section:
    compared = results.compared
    pictures = [Path(p) for p in compared.pictures if p.endswith(("similarity.png", "roc.png"))]
    return Section(
        "Telling surfaces apart",
        (
            "Crops of one surface should lie closer together than crops of two. Under constant"
            " light, colour alone answers that, so the colour histogram always stands beside.",
            *compared.notes,
        ),
        Table(
            ("representation", "AUC", "95 %", "d'", "EER", "recall@1"),
            tuple(
                (
                    row.title,
                    f"{row.auc:.4f}",
                    _as_range(row.intervals["auc"]),
                    "-" if row.d_prime is None else f"{row.d_prime:.2f}",
                    f"{row.eer:.3f}",
                    f"{row.recall_at_1:.2f}",
                )
                for row in compared.representations.values()
            ),
        ),
        [Picture(path, "") for path in pictures],
        command=f"vaeneer similarity {results.root / 'run'} {results.root / 'data' / 'valid'}",
    )


def _as_range(interval: tuple[float, float] | None) -> str:
    """An interval as `0.912 to 0.934`, or `-`."""
    return "-" if interval is None else "{:.3f} to {:.3f}".format(*interval)


def _next_section(results: Results) -> Section:
    return Section(
        "The same on your own surfaces",
        ("Point it at a folder; nothing in that folder is changed.",),
        command="vaeneer demo --data YOUR_FOLDER --out my-demo",
    )
