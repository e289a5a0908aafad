"""Make the bundled models: surface-base, and reference-base that it is compared with.

    python benchmarks/box_models.py SURFACES SURFACES_CSV SPLIT_CSV WORK

Both are trained on the images of SURFACES_CSV that are CC0 or in the public domain, and on no
others. In WORK, two data sets of links: `all`, every such image, which the shipped models are
trained on; and `apart`, the same without the validation side of SPLIT_CSV. A twin of surface-base
trained on `apart` gives what needs unseen images: the curve of the probability, and the figures in
the card, on all validation images. What WORK holds already is gone on with. Writes
src/vaeneer/models/NAME (float16) with a card and the log of the run, and results/box-models.json.
About 20 minutes on two cores.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cyclopts
from machine import keep, provenance
from safetensors.torch import load_file, save_file
from whitened_baseline import FIGURES, FREE, features, fit_whitening, rows_of, save_whitening

import vaeneer
from vaeneer.cli.options import ConsoleProgress
from vaeneer.data.dataset import open_folder
from vaeneer.data.decode_worker import SOURCE_SIDE_PX
from vaeneer.data.pixel_cache import PackLayout, open_pack
from vaeneer.files import atomic_dir, write_json
from vaeneer.model.bundled_models import BOX
from vaeneer.model.checkpoint import WEIGHTS, load, save
from vaeneer.progress import Silent
from vaeneer.settings import PrepareSettings, SimilaritySettings, TrainSettings

WHITENING_DRAWS = 8
VARIANTS = ("photometric", "plain", "photometric_scale_gap", "plain_scale_gap")
ALL_FIGURES = (
    "auc",
    "d_prime",
    "eer",
    "tpr_at_fpr_1e-2",
    "tpr_at_fpr_1e-3",
    "recall_at_1",
    "recall_at_5",
    "recall_at_10",
    "arr",
    "map",
)
RECIPES = {
    "surface-base": TrainSettings(recipe="surface"),
    "reference-base": TrainSettings(recipe="reference"),
}


LIMITS = {
    "reference-base": """The reference network under the reference recipe, to compare with; not made
to search with. It saw the validation images of the split.""",
    "surface-base": """Trained on 256 images: a library of your own surfaces is better served by
`vaeneer calibrate` or `vaeneer train --init-from surface-base`. Steady under a global change of
light
(gamma, gain of each channel, brightness), another place, quarter turns and mirroring. Not under
moving shadows, blur, perspective, or another scale: with a query at half the scale its figures
fall (docs/measuring.md). A crop that the light has made white or black holds no surface. The
reconstructions are those of a cosine transform coder of 512 coefficients: blurred.""",
}
CARD = """# {name}

A model that comes with vaeneer: use its name wherever a command takes a model.

## Data

{images} images of `surfaces.csv`, all CC0 or in the public domain, and no others.

| licence | images |
|---|---|
{licences}

| source | images |
|---|---|
{sources}

## Recipe

`vaeneer train --recipe {recipe}` as it stands; weights in float16. Made by `{command}`
(commit {commit}, {date}, {machine}) in {seconds} s; log.txt has every epoch, made.json the facts.
Its last line: {last}

## Figures

Of a second model, trained like surface-base but without the validation images of the split, on
those 44 images, which neither it nor the matrix of `whitened` has seen.

| protocol | representation | AUC | EER | TPR@1e-2 | recall@1 | ARR | mAP |
|---|---|---|---|---|---|---|---|
{table}

## Limits

{limits}
"""


class Log(Silent):
    """Keeps, with the seconds since the start, what a run says."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._started = time.monotonic()

    def say(self, line: str) -> None:
        """Keep one line, and print it."""
        self.lines.append(f"{time.monotonic() - self._started:7.1f} s  {line}")
        print(self.lines[-1], flush=True)


def main(surfaces: Path, surfaces_csv: Path, split: Path, work: Path) -> None:
    """Train the models and the twin, copy them into the package, and measure the twin."""
    rows = [row for row in rows_of(surfaces_csv) if any(f in row["licence"] for f in FREE)]
    sides = {row["file"]: row["split"] for row in rows_of(split)}
    free = [row["file"] for row in rows]
    free_valid = [file for file in free if sides[file] == "valid"]
    everything, apart = work / "all", work / "apart"
    link(surfaces, everything, free, free_valid)
    link(surfaces, apart, [file for file in free if sides[file] == "train"], free_valid)
    twin, said = trained("surface-base", apart, work / "twin")
    for name in RECIPES:
        run, lines = trained(name, everything, work / name)
        vae = load(run)
        if name == "surface-base":
            vae.calibration = load(twin).calibration  # of images that its twin never saw
        facts = {**vae.card.training, "made_by": "benchmarks/box_models.py"}
        vae.card = replace(vae.card, training=facts)
        put_in_box(save(vae, work / "halved" / name), name, rows, lines)
    data = work / "data"  # whose manifest knows the categories
    if not data.exists():
        vaeneer.prepare(surfaces, out=data, settings=PrepareSettings(split=split))
    whitened = without_valid(apart / "train", work / "whitened.safetensors")
    figures = measured(twin, data / "valid", work / "similarity", whitened)
    for name in RECIPES:
        write_card(name, figures)
    print(keep("box-models", {"images": len(free), "twin": figures, "log": said}))


def link(surfaces: Path, target: Path, train: list[str], valid: list[str]) -> None:
    """A data set in the reference layout, of links to the images."""
    shutil.rmtree(target, ignore_errors=True)
    for side, files in (("train", train), ("valid", valid)):
        for file in files:
            place = target / side / Path(file).stem / Path(file).name
            place.parent.mkdir(parents=True)
            place.symlink_to((surfaces / file).absolute())


def trained(name: str, data: Path, out: Path) -> tuple[Path, list[str]]:
    """A finished run of the model's recipe: where its best model is, and what it said."""
    known = out.with_suffix(".json")
    if known.is_file():
        lines: list[str] = json.loads(known.read_text(encoding="utf-8"))["log"]
        return out / "best", lines
    log = Log()
    vaeneer.train(data, out=out, settings=RECIPES[name], resume=True, progress=log)
    write_json(known, {"log": log.lines})
    return out / "best", log.lines


def without_valid(folder: Path, file: Path) -> Path:
    """The whitened baseline fitted to the same images as the twin."""
    if file.is_file():
        return file
    pack = open_pack(open_folder(folder), PackLayout(SOURCE_SIDE_PX))
    crops = features(pack, range(len(pack)), WHITENING_DRAWS, ConsoleProgress())
    return save_whitening(fit_whitening(crops), file)


def measured(model: Path, folder: Path, out: Path, whitened: Path) -> dict[str, Any]:
    """Figures of both protocols, by protocol and variant; "inside" is inside a category."""
    found: dict[str, Any] = {}
    protocols: tuple[Literal["strict", "reference"], ...] = ("strict", "reference")
    for protocol in protocols:
        settings = SimilaritySettings(protocol=protocol, whitened=whitened)
        report = vaeneer.similarity(
            model, folder, out=out / protocol, settings=settings, overwrite=True
        ).to_dict()
        variants = {name: report[name] for name in VARIANTS if report[name]} or {"": report}
        inside = {f"inside {k}": v["inside_category"] for k, v in variants.items()}
        found[protocol] = {
            variant: {name: shown(row) for name, row in values["representations"].items()}
            for variant, values in (variants | inside).items()
            if values
        }
    return found


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """The figures of one representation, with the intervals of those in the card."""
    return {k: row[k] for k in ALL_FIGURES} | {
        "intervals": {k: row["intervals"][k] for k in FIGURES}
    }


def put_in_box(model: Path, name: str, rows: list[dict[str, str]], lines: list[str]) -> None:
    """The model folder with its weights in half precision, a card and the log."""
    with atomic_dir(BOX / name) as folder:
        for file in model.iterdir():
            shutil.copy2(file, folder / file.name)
        weights = load_file(model / WEIGHTS)
        half = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
        save_file(half, folder / WEIGHTS)
        (folder / "log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_json(folder / "made.json", made(rows, name))
    print(name, sum(f.stat().st_size for f in (BOX / name).iterdir()) / 2**20, "MiB", flush=True)


def write_card(name: str, figures: dict[str, Any]) -> None:
    """README.md of a bundled model: data, recipe, figures, limits."""
    made = json.loads((BOX / name / "made.json").read_text(encoding="utf-8"))
    said = (BOX / name / "log.txt").read_text(encoding="utf-8").splitlines()
    shown = {
        "name": name,
        "images": made["images"],
        "licences": "\n".join(f"| {k} | {v} |" for k, v in made["licences"].items()),
        "sources": "\n".join(f"| {k} | {v} |" for k, v in made["sources"].items()),
        "seconds": said[-1].split(" s ")[0].strip(),
        "last": said[-1].split("  ", 1)[1],
        "table": table(figures),
        "limits": LIMITS[name],
        "recipe": RECIPES[name].recipe,
        **{key: made["provenance"][key] for key in ("command", "commit", "machine", "date")},
    }
    text = CARD.format(**shown)
    (BOX / name / "README.md").write_text(text, encoding="utf-8")


def table(figures: dict[str, Any]) -> str:
    """Rows of figures, variant by variant."""
    lines = []
    for variant, label in (("photometric", "strict, photometric"), ("plain", "strict, plain")):
        lines += table_rows(label, figures["strict"][variant])
    return "\n".join(lines + table_rows("reference", figures["reference"][""]))


def table_rows(label: str, rows: dict[str, dict[str, float]]) -> list[str]:
    """One row for each representation that the card shows."""
    chosen = ("embedding", "whitened", "grey_world_histogram", "rgb_histogram")
    return [
        f"| {label} | {name} | " + " | ".join(f"{rows[name][f]:.4f}" for f in FIGURES) + " |"
        for name in chosen
    ]


def made(rows: list[dict[str, str]], name: str) -> dict[str, Any]:
    """Of what a model was made, and how."""
    return {
        "provenance": provenance(),
        "recipe": json.loads(json.dumps(RECIPES[name].__dict__, default=str)),
        "images": len(rows),
        "licences": dict(Counter(row["licence"] for row in rows).most_common()),
        "sources": dict(Counter(row["source_repo"] for row in rows).most_common()),
    }


if __name__ == "__main__":
    cyclopts.run(main)
