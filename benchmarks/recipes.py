"""The recipes and networks in every respect: ELBO, pictures, similarity, time; the same images.

    python benchmarks/recipes.py SURFACES SPLIT_CSV WORK [--seeds 3]

Trains --recipe seed, --recipe improved and --architecture surface with their defaults, measures
each model on the validation images with evaluate and similarity, beside the untrained networks,
and writes results/recipes.json: what got better with a recipe, and what got worse. Finished runs
below WORK are taken up again. About eight minutes for each seed on two cores.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import mean
from typing import Any

import cyclopts
from machine import keep
from reference_parity import measured

import vaeneer
from vaeneer.cli.options import ConsoleProgress
from vaeneer.model.checkpoint import build
from vaeneer.settings import ARCHITECTURES, PrepareSettings, TrainSettings
from vaeneer.training.run_folder import read_metrics

RECIPES = {
    "seed": TrainSettings(recipe="reference"),
    "improved": TrainSettings(recipe="improved"),
    "surface": TrainSettings(recipe="improved", architecture="surface"),
}
HIGHER_IS_BETTER = ("psnr_db", "ssim", "mean_auc", "centred_auc", "centred_recall_at_1")
LOWER_IS_BETTER = ("excess_nats", "iwae_nats", "squared_error", "worst_image_nats", "seconds")


def main(surfaces: Path, split: Path, work: Path, *, seeds: int = 3) -> None:
    """Run what is not there yet and write the results."""
    progress = ConsoleProgress()
    data = work / "data"
    vaeneer.prepare(surfaces, out=data, settings=PrepareSettings(split=split), progress=progress)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in RECIPES}
    for seed in range(seeds):
        for name, settings in RECIPES.items():
            run = run_folder(work, name, seed)
            chosen = {"recipe": settings.recipe, "architecture": settings.architecture}
            vaeneer.train(
                data,
                out=run,
                settings=TrainSettings(seed=seed, **chosen),
                resume=True,
                progress=progress,
            )
            runs[name].append({**measured(run, data / "valid", seed, progress), **time_of(run)})
    untrained = {}
    for name in ARCHITECTURES:
        folder = work / "untrained" / name
        shutil.rmtree(folder, ignore_errors=True)
        vaeneer.save(build(name, seed=0), folder)
        untrained[name] = measured(folder, data / "valid", 0, progress)
    means = {name: means_of(rows) for name, rows in runs.items()}
    result = {
        "means": means,
        "improved_against_seed": verdicts(runs["improved"], runs["seed"]),
        "untrained": untrained,
        "runs": runs,
    }
    progress.say(f"wrote {keep('recipes', result)}")


def run_folder(work: Path, name: str, seed: int) -> Path:
    """Where a run lies; the reference recipe is that of reference_parity.py."""
    return work / "runs" / f"bce-{seed}" if name == "seed" else work / "recipes" / f"{name}-{seed}"


def time_of(run: Path) -> dict[str, float]:
    """Seconds of training and images seen until the best epoch and in all."""
    lines = read_metrics(run)
    best = min(lines, key=lambda line: line["valid"]["elbo_loss"])
    return {
        "seconds": lines[-1]["seconds"],
        "best_seconds": best["seconds"],
        "best_epoch": best["epoch"],
        "epochs": len(lines),
    }


def figures_of(run: dict[str, Any]) -> dict[str, float]:
    """One number for each respect."""
    valid, rows = run["valid"], run["similarity"]
    names = ("excess_nats", "kl_nats", "psnr_db", "ssim", "squared_error", "active_units",
             "iwae_nats", "worst_image_nats")  # fmt: skip
    return {
        **{name: valid[name] for name in names},
        "mean_auc": rows["mean"]["auc"],
        "centred_auc": rows["centred"]["auc"],
        "centred_recall_at_1": rows["centred"]["recall_at_1"],
        "seconds": run["seconds"],
    }


def means_of(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Means over the seeds."""
    figures = [figures_of(run) for run in runs]
    return {"seeds": len(runs), **{name: mean(f[name] for f in figures) for name in figures[0]}}


def verdicts(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, str]:
    """In each respect: in how many of the seeds ours is better."""
    pairs = [(figures_of(a), figures_of(b)) for a, b in zip(ours, theirs, strict=True)]
    won = {name: sum(a[name] > b[name] for a, b in pairs) for name in HIGHER_IS_BETTER}
    won |= {name: sum(a[name] < b[name] for a, b in pairs) for name in LOWER_IS_BETTER}
    return {name: f"better in {count} of {len(pairs)}" for name, count in won.items()}


if __name__ == "__main__":
    cyclopts.run(main)
