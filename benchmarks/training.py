"""Training, evaluating and embedding against the reference recipe and pythae, side by side.

    python benchmarks/training.py SURFACES SPLIT_CSV WORK [--sizes 1024 2048 4096]
        [--repetitions 5] [--images 96] [--epochs 1] [--read-images 0] [--skip-pythae]

For sources of each size (copies of the surfaces, scaled up, kept below WORK) the sides work in
turn, each in a process of its own that is warm and has the machine to itself: the reference recipe
(seed_recipe.py, with 0 or 2 loading workers, whichever is quicker), vaeneer with its defaults, and
pythae where pythae_environment.sh can install it. An image counts once for each epoch; the rate is
images by the wall-clock of the passes over the training images, loading included, validation and
plots excluded on every side. vaeneer's second run of each repetition finds the pack of the first;
what the pack itself took stands beside it. Evaluate and embed read all surfaces at the smallest
size, from one end to the other: models loaded, files written.

Writes results/training.json and results/training.png. About eleven minutes on two cores, once the
copies and the environment are made.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from machine import RESULTS, keep
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sides import HERE, Side
from surface_copies import Sides, copy_surfaces, link_surfaces, read_split

BARS = {1024: 2.2, 2048: 3.5, 4096: 10.0}
READING_BAR = 5.0
READING = {"evaluate": False, "evaluate, PSNR and SSIM": True, "embed": False}
"""What reads all images, and whether with PSNR and SSIM, which the reference does not compute."""
VALID_IMAGES = 8  # validated after each epoch, outside the figures
TITLES = {"seed": "the reference recipe", "vaeneer": "vaeneer", "pythae": "pythae"}
Answers = list[dict[str, Any]]
console = Console()


def main(
    surfaces: Path,
    split: Path,
    work: Path,
    *,
    sizes: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = tuple(BARS),
    repetitions: int = 5,
    images: int = 96,
    epochs: int = 1,
    read_images: int = 0,
    skip_pythae: bool = False,
) -> None:
    """Run everything and write the results.

    read_images: how many images of each side are evaluated and embedded; 0 takes all.
    """
    work.mkdir(parents=True, exist_ok=True)
    everything = read_split(split)
    subset = {"train": everything["train"][:images], "valid": everything["valid"][:VALID_IMAGES]}
    read = {side: names[: read_images or len(names)] for side, names in everything.items()}
    reading_px = min(sizes)
    needed = {side: max(subset[side], read[side], key=len) for side in read}
    copies = {
        size: copy_surfaces(
            surfaces, needed if size == reading_px else subset, size, work / "copies"
        )
        for size in sizes
    }
    sides = {"seed": Side("seed_recipe.py", work / "seed.log")}
    sides["vaeneer"] = Side("vaeneer_side.py", work / "vaeneer.log")
    about_pythae = {"skipped": "--skip-pythae"} if skip_pythae else add_pythae(sides, work)
    started = time.perf_counter()
    training = {
        str(size): train_in_turn(sides, copies[size], subset, work, repetitions, epochs)
        for size in sizes
    }
    reading = read_in_turn(sides, copies[reading_px], read, work, repetitions)
    for side in sides.values():
        side.close()
    result = {
        "settings": {
            "images": len(subset["train"]), "epochs": epochs, "repetitions": repetitions,
            "batch_size": 16, "read_images": sum(map(len, read.values())),
            "read_px": reading_px,
        },
        "seconds": time.perf_counter() - started,
        "pythae": about_pythae,
        "training": {size: summary_of(answers, int(size)) for size, answers in training.items()},
        "reading": {what: reading_summary(answers) for what, answers in reading.items()},
        "raw": {"training": training, "reading": reading},
    }  # fmt: skip
    path = keep("training", result)
    draw(result, RESULTS / "training.png")
    show(result)
    console.print(f"wrote {path} after {result['seconds']:.0f} s")


def add_pythae(sides: dict[str, Side], work: Path) -> dict[str, Any]:
    """Start pythae's side; without it, why not."""
    made = subprocess.run(
        ["sh", str(HERE / "pythae_environment.sh"), str(work)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        return {"skipped": "pythae_environment.sh failed", "why": made.stderr[-2000:]}
    python = made.stdout.strip().splitlines()[-1]
    side = Side("pythae_recipe.py", work / "pythae.log", python=python)
    versions = side.ask("versions")
    sides["pythae"] = side
    return versions


def train_in_turn(
    sides: dict[str, Side], root: Path, subset: Sides, work: Path, repetitions: int, epochs: int
) -> dict[str, Any]:
    """The answers of each side for one size, the first round (which warms up) apart."""
    with tempfile.TemporaryDirectory(dir=work, prefix="crops-") as place:
        crops = str(link_surfaces(root, {"train": subset["train"]}, Path(place)) / "train")
        # each twice, for the first ones also warm up
        tries = [sides["seed"].ask("train", folder=crops, workers=n) for n in (2, 0, 2, 0)]
        workers = max(tries, key=lambda one: one["images_per_second"])["workers"]
        rounds: dict[str, Answers] = {name: [] for name in sides}
        for number in range(repetitions + 1):
            for name in sides:
                console.print(f"{root.name} px, round {number}: {TITLES[name]}", style="dim")
                if name == "vaeneer":
                    answer = train_vaeneer(sides[name], root, subset, work, epochs)
                else:
                    answer = sides[name].ask("train", folder=crops, workers=workers, epochs=epochs)
                rounds[name].append(answer)
    warm_up = {name: answers.pop(0) for name, answers in rounds.items()}
    return {"seed_workers": tries, "warm_up": warm_up, **rounds}


def train_vaeneer(side: Side, root: Path, subset: Sides, work: Path, epochs: int) -> dict[str, Any]:
    """A run that has to make its packs, and one that finds them."""
    with tempfile.TemporaryDirectory(dir=work, prefix="run-") as place:
        data = link_surfaces(root, subset, Path(place) / "data")
        first = side.ask("train", data=str(data), out=f"{place}/first", epochs=epochs)
        again = side.ask("train", data=str(data), out=f"{place}/again", epochs=epochs)
    return {**again, "first": first}


def read_in_turn(
    sides: dict[str, Side], root: Path, read: Sides, work: Path, repetitions: int
) -> dict[str, dict[str, Answers]]:
    """Evaluate and embed all images: the reference's loop, vaeneer's first call, and its second."""
    model = work / "model"
    shutil.rmtree(model, ignore_errors=True)
    sides["vaeneer"].ask("new_model", out=str(model))
    asked: dict[str, dict[str, Answers]] = {
        what: {"seed": [], "first": [], "again": []} for what in READING
    }
    for number in range(repetitions + 1):
        for what, answers in asked.items():
            console.print(f"{what}, round {number}", style="dim")
            with tempfile.TemporaryDirectory(dir=work, prefix="read-") as place:
                folder = link_surfaces(root, read, Path(place) / "data")
                how: dict[str, Any] = {"model": str(model), "folder": str(folder)}
                how |= (
                    {"out": f"{place}/v.parquet"} if what == "embed" else {"quality": READING[what]}
                )
                verb = what.split(",")[0]
                answers["seed"].append(sides["seed"].ask(verb, folder=str(folder)))
                answers["first"].append(sides["vaeneer"].ask(verb, **how))
                answers["again"].append(sides["vaeneer"].ask(verb, **how))
    for answers in asked.values():
        for values in answers.values():
            values.pop(0)  # the round that warms up
    return asked


def summary_of(answers: dict[str, Any], size: int) -> dict[str, Any]:
    """Medians over the repetitions of one size, and the ratio against its bar."""
    rows: dict[str, Any] = {
        name: {
            figure: median(answer[figure] for answer in answers[name])
            for figure in ("images_per_second", "whole_seconds")
        }
        for name in TITLES
        if name in answers
    }
    firsts = [answer["first"] for answer in answers["vaeneer"]]
    rows["vaeneer"]["pack_seconds"] = median(first["pack_seconds"] for first in firsts)
    rows["vaeneer"]["first_whole_seconds"] = median(first["whole_seconds"] for first in firsts)
    rows["seed"]["workers"] = answers["seed"][0]["workers"]
    return {
        **rows,
        **against(
            rows["vaeneer"]["images_per_second"],
            rows["seed"]["images_per_second"],
            BARS.get(size),
        ),
    }


def reading_summary(answers: dict[str, Answers]) -> dict[str, Any]:
    """Medians of evaluate or embed; the bar holds for the second call."""
    if "missing" in answers["again"][0]:
        return answers["again"][0]
    rate = {
        name: median(answer["images_per_second"] for answer in values)
        for name, values in answers.items()
    }
    return {
        "images_per_second": rate,
        "first_ratio": rate["first"] / rate["seed"],
        **against(rate["again"], rate["seed"], READING_BAR),
    }


def against(ours: float, seeds: float, bar: float | None) -> dict[str, Any]:
    """How many times the reference's rate, and whether that passes the bar where there is one."""
    return {
        "ratio": ours / seeds,
        "bar": bar,
        "passes": None if bar is None else ours / seeds >= bar,
    }


def show(result: dict[str, Any]) -> None:
    """Print the medians."""
    table = Table(title="Images/s, medians")
    for column in ("", *TITLES.values(), "ratio", "bar", "", "pack, s"):
        table.add_column(column, justify="right")
    for size, row in result["training"].items():
        rates = [f"{row[name]['images_per_second']:.1f}" if name in row else "" for name in TITLES]
        pack = f"{row['vaeneer']['pack_seconds']:.1f}"
        table.add_row(f"train, {size} px", *rates, *_verdict(row), pack)
    for what, row in result["reading"].items():
        if "missing" in row:
            table.add_row(what, row["missing"])
            continue
        rate = row["images_per_second"]
        table.add_row(what, f"{rate['seed']:.1f}", f"{rate['again']:.1f}", "", *_verdict(row), "")
        table.add_row(
            f"{what}, first", "", f"{rate['first']:.1f}", "", f"{row['first_ratio']:.1f} x"
        )
    console.print(table)


def _verdict(row: dict[str, Any]) -> tuple[str, str, str]:
    if row["bar"] is None:
        return f"{row['ratio']:.1f} x", "", ""
    return f"{row['ratio']:.1f} x", f"{row['bar']:g} x", "passes" if row["passes"] else "misses"


def draw(result: dict[str, Any], path: Path) -> None:
    """Bars of images/s in training, for each size and side."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    sizes, colours = list(result["training"]), ("#9a9a9a", "#2a6f6b", "#d0a24c")
    for place, (name, colour) in enumerate(zip(TITLES, colours, strict=True)):
        rows = [result["training"][size].get(name) for size in sizes]
        rates = [row["images_per_second"] if row else 0.0 for row in rows]
        if any(rates):
            bars = axes.bar(
                [number + 0.27 * (place - 1) for number in range(len(sizes))],
                rates, 0.25, color=colour, label=TITLES[name],
            )  # fmt: skip
            axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(range(len(sizes)), [f"{size} px" for size in sizes])
    axes.set_ylabel("images/s in training")
    axes.set_title("Training from image files, batch 16", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    cyclopts.run(main)
