"""Whether a rebuild changed what comes out: its figures and vectors compared with those before.

    python benchmarks/unchanged.py SURFACES SPLIT_CSV WORK --store      # before
    python benchmarks/unchanged.py SURFACES SPLIT_CSV WORK              # after: compares

On the valid side of SPLIT_CSV in SURFACES: the strict figures of surface-base, the figures of
`evaluate` for both bundled models, the vectors of its first 20 images, the results of four searches
and the duplicates of a small library with planted copies, and one epoch of training from a seed.
Numbers are equal when they agree to 4 digits. Weights are compared by SHA-256: the same machine and
the same PyTorch are needed for that one. Writes results/unchanged.json (--store), else
results/unchanged-after.json with what differs; the exit code is 1 where anything does.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from machine import RESULTS, keep
from PIL import Image

import vaeneer

IMAGES, DIGITS = 20, 4
RENAMED: dict[str, str] = {}
"""New name of a figure -> its name in the stored file."""


def main(surfaces: Path, split: Path, work: Path, *, store: bool = False) -> None:
    """Compute all figures, and store them or compare them with the stored ones."""
    shutil.rmtree(work, ignore_errors=True)
    train, valid = data_set(surfaces.resolve(), split, work / "data")
    figures = {
        "vectors": vectors(valid),
        "strict": command("similarity", "surface-base", str(valid), "--protocol", "strict",
                          "--bootstrap", "100", "--out", str(work / "similarity")),
        "evaluate": {
            model: command("evaluate", model, str(valid), "--out", str(work / model))
            for model in ("reference-base", "surface-base")
        },
        "library": library(valid, work),
        "training": training(train.parent, work / "run"),
    }  # fmt: skip
    if store:
        print(keep("unchanged", figures))
        return
    before = dict(leaves(json.loads((RESULTS / "unchanged.json").read_text())))
    now = {RENAMED.get(name, name): value for name, value in leaves(figures)}
    compared = [name for name in before if not name.startswith("provenance")]
    different = {
        name: {"before": before[name], "now": now.get(name)}
        for name in compared
        if not same(before[name], now.get(name))
    }
    print(keep("unchanged-after", {"compared": len(compared), "different": different}))
    print(f"{len(compared)} figures compared, {len(different)} differ")
    sys.exit(bool(different))


def data_set(surfaces: Path, split: Path, out: Path) -> tuple[Path, Path]:
    """Folders of copies: every eighth training image, all validation images."""
    rows = list(csv.DictReader(split.open()))
    for side, step in (("train", 8), ("valid", 1)):
        files = [row["file"] for row in rows if row["split"] == side][::step]
        for file in files:
            to = out / side / Path(file).stem / Path(file).name
            to.parent.mkdir(parents=True)
            shutil.copy2(surfaces / file, to)
    return out / "train", out / "valid"


def command(*words: str) -> Any:
    """The object that a command prints with --json, without paths and times."""
    done = subprocess.run(
        [sys.executable, "-m", "vaeneer", *words, "--json"], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def vectors(valid: Path) -> list[list[float]]:
    """The unit vectors of the first images, 128 numbers each."""
    files = sorted(valid.rglob("*.jpg"))[:IMAGES]
    found = vaeneer.Embedder("surface-base").embed_files(files)
    return [[float(number) for number in row] for row in np.asarray(found)]


def library(valid: Path, work: Path) -> dict[str, Any]:
    """Paths and cosines of searches, and the duplicates, of a library with planted copies."""
    images = work / "images"
    shutil.copytree(valid, images)
    files = sorted(images.rglob("*.jpg"))
    for number, file in enumerate(files[:8]):
        with Image.open(file) as picture:
            half = picture.resize((picture.width // 2, picture.height // 2))
            part = picture.crop((100, 80, 500, 480))
            turned = picture.transpose(Image.Transpose.ROTATE_90)
        made = (half, part, turned)[number % 3]
        made.convert("RGB").save(images / f"copy_{number}.jpg", quality=88)
    lib = str(work / "library")
    command("index", str(images), "--library", lib)
    searches = []
    for words in (["1"], ["7"], [str(files[3])], ["5", "--box", "40,40,300,300"]):
        result = command("search", lib, *words, "-k", "6")
        searches.append([[hit["path"], hit["score"]] for hit in result["hits"]])
    groups = command("duplicates", lib)["groups"]
    return {
        "search": searches,
        "duplicates": sorted(sorted(item["path"] for item in group["items"]) for group in groups),
    }


def training(data: Path, run_folder: Path) -> dict[str, Any]:
    """What one epoch of the reference recipe ends with, and a digest of its weights."""
    report = command("train", str(data), "--out", str(run_folder), "--recipe", "reference",
                     "--epochs", "1", "--precision", "float32")  # fmt: skip
    weights = hashlib.sha256((run_folder / "last" / "model.safetensors").read_bytes()).hexdigest()
    return {"figures": report["figures"], "weights_sha256": weights}


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and text in a nested value, by its place; no times, no paths of this machine."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{name}[{number}]")
    elif not any(word in name for word in ("second", "per_s", "time", "out", "rate")):
        yield name, value


def same(before: Any, now: Any) -> bool:
    """Whether two values agree to 4 digits."""
    if isinstance(before, bool) or not isinstance(before, int | float):
        return bool(before == now) or (isinstance(before, str) and os.sep in before)
    if not isinstance(now, int | float):
        return False
    return math.isclose(before, now, rel_tol=0.5 * 10**-DIGITS, abs_tol=0.5 * 10 ** -(DIGITS + 1))


if __name__ == "__main__":
    cyclopts.run(main)
