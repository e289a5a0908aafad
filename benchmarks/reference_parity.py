"""The reference recipe on the 311 surfaces: BCE against MSE, the same images, steps and seeds.

    python benchmarks/reference_parity.py SURFACES SPLIT_CSV WORK [--seeds 3] [--epochs 16]

Runs prepare, train (BCE and MSE alternating), evaluate and similarity below WORK, where finished
runs are taken up again, and writes results/reference-parity.json and the pictures of seed 0.
Trained in the precision of the machine, measured in float32. About three minutes for each seed on
two cores.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import cyclopts
import torch
from machine import keep

import vaeneer
from vaeneer.cli.options import ConsoleProgress
from vaeneer.settings import (
    EvaluateSettings,
    PrepareSettings,
    SimilaritySettings,
    TrainSettings,
)
from vaeneer.training.run_folder import read_metrics

LOSSES = ("bce", "mse")
FIGURES = (
    "nats_per_image", "excess_nats", "reconstruction_nats", "kl_nats", "psnr_db", "ssim",
    "squared_error", "active_units",
)  # fmt: skip


def main(surfaces: Path, split: Path, work: Path, *, seeds: int = 3, epochs: int = 16) -> None:
    """Run what is not there yet and write the results."""
    progress = ConsoleProgress()
    data = work / "data"
    prepared = vaeneer.prepare(
        surfaces, out=data, settings=PrepareSettings(split=split), progress=progress
    )
    runs: dict[str, Any] = {}
    for seed in range(seeds):
        for loss in LOSSES:
            run = work / "runs" / f"{loss}-{seed}"
            settings = TrainSettings(
                recipe="reference", reconstruction_loss=loss, seed=seed, epochs=epochs
            )
            vaeneer.train(data, out=run, settings=settings, resume=True, progress=progress)
            runs[run.name] = measured(run, data / "valid", seed, progress)
    untrained = work / "untrained"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vaeneer.save(vaeneer.VAE(), untrained)
    path = keep(
        "reference-parity",
        {
            "data": {"train": prepared.train, "valid": prepared.valid, "surfaces": str(surfaces)},
            "epochs": epochs,
            "untrained": measured(untrained, data / "valid", 0, progress),
            "runs": runs,
            "means": {loss: means(runs, loss) for loss in LOSSES},
        },
    )
    progress.say(f"wrote {path}")


def measured(model: Path, valid: Path, seed: int, progress: ConsoleProgress) -> dict[str, Any]:
    """The last training line of a run, and its model on the validation images."""
    evaluated = vaeneer.evaluate(
        model,
        valid,
        out=model / "evaluation",
        settings=EvaluateSettings(iwae=16, precision="float32"),
        overwrite=True,
        progress=progress,
    ).to_dict()
    compared = vaeneer.similarity(
        model,
        valid,
        out=model / "similarity",
        settings=SimilaritySettings(precision="float32"),
        overwrite=True,
        progress=progress,
    )
    lines = read_metrics(model)
    return {
        "seed": seed,
        "train": lines[-1]["train"] if lines else None,
        "images_per_second": [round(line["images_per_second"], 1) for line in lines],
        "valid": {
            name: evaluated[name]
            for name in (*FIGURES, "entropy_nats", "iwae_nats", "best_image_nats",
                         "worst_image_nats", "trivial_excess_nats")
        },
        "similarity": {
            name: asdict(row) for name, row in compared.representations.items()
        },
    }  # fmt: skip


def means(runs: dict[str, Any], loss: str) -> dict[str, Any]:
    """Means over the seeds of one loss."""
    own = [run for name, run in runs.items() if name.startswith(loss)]
    return {
        "seeds": len(own),
        **{name: mean(run["valid"][name] for run in own) for name in FIGURES},
        **{
            f"{row}_{figure}": mean(run["similarity"][row][figure] for run in own)
            for row in ("sampled", "mean", "centred")
            for figure in ("auc", "d_prime", "eer", "recall_at_1")
        },
    }


if __name__ == "__main__":
    cyclopts.run(main)
