"""What `vaeneer duplicates` finds among planted copies of the real surfaces, beside other ways.

    python benchmarks/duplicates.py SURFACES [--work DIR] [--count N] [--imagededup PYTHON]

Most surfaces get every variant of planting.py in one library, the others are there as two disjoint
halves that are no duplicates. Recall: planted files that share a group of the right kind with their
original. Precision: pairs in the groups of a kind that come from one surface; once as planted, once
with REWORKED and REPEATED, which are copies in truth. imagededup and a plain perceptual hash see
the same files; they know no kinds.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from machine import keep
from planting import Planted, plant

from vaeneer.data.images import read_rgb
from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.duplicates.report import DuplicateGroup
from vaeneer.library.index.index import index
from vaeneer.settings import DuplicatesSettings, IndexSettings

HALVED_SHARE = 0.1
HASH_BITS = 10  # imagededup's own default
REWORKED = (
    ("plaster/plaster_roman_column_beams1_005.jpg", "plaster/plaster_uglystucco1_007.jpg"),
    ("plaster/plaster_roman_column_beams1_005.jpg", "plaster/plaster_grecuglystuco1_004.jpg"),
    ("plaster/plaster_uglystucco1_007.jpg", "plaster/plaster_grecuglystuco1_004.jpg"),
    ("plaster/plaster_stuccoroof_006.jpg", "roof/roof_wataroof_006.jpg"),
    ("concrete/concrete_docktopside_007.jpg", "concrete/concrete_jerusslab1_010.jpg"),
    ("brick/brick_factorylargerocksplain_001.jpg", "stone/stone_stone1512_011.jpg"),
    ("grass/grass_castle_walls_vines_center_002.jpg", "grass/grass_shrubs1_007.jpg"),
    ("grass/grass_grassfull_005.jpg", "grass/grass_marsh_006.jpg"),
)
"""Surfaces made of one photograph, judged by eye: regraded, or one tiled into the other."""

REPEATED = ("gravel/gravel_buldrockroof_001.jpg", "paving/paving_marekfootway0006_007.jpg")
"""Surfaces that are one tile several times, so that their halves are copies in truth."""

_IMAGEDEDUP = """
import json, sys
from imagededup.methods import PHash
found = PHash(verbose=False).find_duplicates(
    image_dir=sys.argv[1], recursive=True, max_distance_threshold=int(sys.argv[2]),
    num_enc_workers=0, num_dist_workers=0)
json.dump(found, open(sys.argv[3], "w"))
"""
Pair = tuple[str, str]


def main() -> None:
    """Plant, index, search, compare; writes results/duplicates.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surfaces", type=Path)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/duplicates"))
    parser.add_argument("--count", type=int, default=0, help="surfaces; 0 is all")
    parser.add_argument("--imagededup", help="a Python that has imagededup")
    parser.add_argument("--name", default="duplicates", help="of the result file")
    arguments = parser.parse_args()
    planted = _plant(arguments.surfaces, arguments.work / "images", arguments.count)
    images, library = arguments.work / "images", arguments.work / "library"
    report = index(images, library=library, settings=IndexSettings(parts="halves"))
    print(f"indexed {report.images} images in {report.seconds:.0f} s")
    result: dict[str, Any] = {
        "surfaces": len({one.source for one in planted}),
        "files": len(planted),
        "planted": dict(Counter(one.variant for one in planted)),
        "vaeneer": _ours(library, images, planted),
        "phash": _perceptual_hash(images, planted),
    }
    if arguments.imagededup:
        result["imagededup"] = _imagededup(arguments.imagededup, images, planted)
    print(json.dumps(result, indent=1))
    print(keep(arguments.name, result))


def _plant(surfaces: Path, out: Path, count: int) -> list[Planted]:
    names = sorted(path.relative_to(surfaces).as_posix() for path in surfaces.rglob("*.jpg"))
    random.Random(0).shuffle(names)
    names = names[: count or len(names)]
    halved = round(HALVED_SHARE * len(names))
    return plant(surfaces, names[halved:], names[:halved], out)


def _ours(library: Path, images: Path, planted: list[Planted]) -> dict[str, Any]:
    started = time.monotonic()
    report = duplicates(library, settings=DuplicatesSettings(page_size=0))
    seconds = time.monotonic() - started
    known = {one.path: one for one in planted}
    groups: dict[str, list[tuple[DuplicateGroup, list[Planted]]]] = defaultdict(list)
    for group in report.groups:
        files = [item.path for item in group.items]
        groups[group.kind].append((group, [known[file] for file in files]))
    groups["recoloured"] = _with_near_copies(groups)
    kinds = {}
    for kind, own in groups.items():
        kinds[kind] = _precision(kind, own) | _recall(kind, own, groups, planted)
    return {
        "seconds": round(seconds, 1),
        "groups": report.groups_by_kind,
        "kinds": kinds,
        "places": _places(groups["cropped"], planted, images),
        "skipped": report.skipped,
    }


def _with_near_copies(
    groups: dict[str, list[tuple[DuplicateGroup, list[Planted]]]],
) -> list[tuple[DuplicateGroup, list[Planted]]]:
    """Recoloured groups, which list one file of each colour, with the near copies of those."""
    same: dict[str, list[Planted]] = {}
    for kind in ("exact", "same_pixels", "near"):
        same |= {file.path: files for _, files in groups[kind] for file in files}
    return [
        (group, list(dict.fromkeys(one for file in files for one in same.get(file.path, [file]))))
        for group, files in groups["recoloured"]
    ]


def _pairs(
    kind: str, group: DuplicateGroup, files: list[Planted]
) -> Iterable[tuple[Planted, Planted]]:
    """What a group says: parts are parts of the others, and nothing to each other."""
    if kind != "cropped":
        return combinations(files, 2)
    boxed = [file for item, file in zip(group.items, files, strict=True) if item.box]
    return [(part, whole) for part in boxed for whole in files if whole not in boxed]


def _precision(kind: str, groups: list[tuple[DuplicateGroup, list[Planted]]]) -> dict[str, Any]:
    pairs = right = reworked = 0
    wrong: set[Pair] = set()
    for group, files in groups:
        for one, other in _pairs(kind, group, files):
            pairs += 1
            same = one.source == other.source and {one.variant, other.variant} != {"left", "right"}
            sources = (min(one.source, other.source), max(one.source, other.source))
            known = sources in {tuple(sorted(pair)) for pair in REWORKED}
            known |= not same and one.source == other.source and one.source in REPEATED
            right += same
            reworked += known
            if not same:
                wrong.add(sources)
    return {
        "pairs": pairs,
        "precision": round(right / pairs, 5),
        "precision_with_reworked": round((right + reworked) / pairs, 5),
        "pairs_of_two_surfaces": sorted(wrong),
    }


def _recall(
    kind: str,
    groups: list[tuple[DuplicateGroup, list[Planted]]],
    all_groups: dict[str, list[tuple[DuplicateGroup, list[Planted]]]],
    planted: list[Planted],
) -> dict[str, Any]:
    together: dict[str, set[str]] = defaultdict(set)
    for _, files in groups:
        for file in files:
            together[file.path] |= {one.source for one in files if one.variant == "original"}
    elsewhere: dict[str, str] = {}
    for other, found in all_groups.items():
        for _, files in found:
            for file in files:
                if any(one.variant == "original" and one.source == file.source for one in files):
                    elsewhere.setdefault(file.path, other)
    asked = [one for one in planted if one.kind == kind]
    missed = [one for one in asked if one.source not in together.get(one.path, set())]
    by_variant = Counter(one.variant for one in missed)
    return {
        "planted": len(asked),
        "recall": round(1 - len(missed) / max(1, len(asked)), 5),
        "missed_by_variant": dict(by_variant),
        "found_as_another_kind": sum(one.path in elsewhere for one in missed),
        "missed": sorted(f"{one.variant} {one.source}" for one in missed),
    }


def _places(
    groups: list[tuple[DuplicateGroup, list[Planted]]], planted: list[Planted], images: Path
) -> dict[str, float]:
    """How well the boxes of planted centres agree with where they were cut, as overlap (IoU)."""
    overlaps = []
    for group, files in groups:
        width, height = group.items[0].width_px, group.items[0].height_px
        true = (width / 4, height / 4, width / 2, height / 2)
        for item, file in zip(group.items, files, strict=True):
            if item.box and file.variant == "centre" and file.source == files[0].source:
                overlaps.append(_overlap(item.box, true))
    if not overlaps:
        return {"measured": 0}
    return {
        "measured": len(overlaps),
        "median_iou": round(float(np.median(overlaps)), 4),
        "least_iou": round(min(overlaps), 4),
    }


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, wide) * max(0.0, high)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def _perceptual_hash(images: Path, planted: list[Planted]) -> dict[str, Any]:
    """ImageHash's phash of 64 bits, all pairs within HASH_BITS."""
    import imagehash

    started = time.monotonic()
    bits = np.stack(
        [imagehash.phash(read_rgb(images / one.path)).hash.ravel() for one in planted]
    ).astype(np.float32)
    apart = bits @ (1 - bits).T
    rows, columns = np.nonzero(np.triu(apart + apart.T <= HASH_BITS, 1))
    pairs = {(planted[a].path, planted[b].path) for a, b in zip(rows, columns, strict=True)}
    return _flat(pairs, planted) | {"seconds": round(time.monotonic() - started, 1)}


def _imagededup(python: str, images: Path, planted: list[Planted]) -> dict[str, Any]:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        arguments = [python, "-c", _IMAGEDEDUP, str(images), str(HASH_BITS), str(out)]
        done = subprocess.run(arguments, check=False, capture_output=True, text=True)
        if done.returncode:
            return {"not_run": done.stderr.strip().splitlines()[-1]}
        found = json.loads(out.read_text())
    seconds = time.monotonic() - started
    pairs = {(min(one, other), max(one, other)) for one, own in found.items() for other in own}
    return _flat(pairs, planted) | {"seconds": round(seconds, 1)}


def _flat(pairs: set[Pair], planted: list[Planted]) -> dict[str, Any]:
    """Precision of pairs, and recall of each variant: paired with its original."""
    known = {one.path: one for one in planted}
    originals = {one.source: one.path for one in planted if one.variant == "original"}
    right = 0
    for one, other in pairs:
        left, second = known[one], known[other]
        right += left.source == second.source and left.variant not in ("left", "right")
    found: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for one in planted:
        if one.kind is not None:
            asked[one.variant] += 1
            whole = originals[one.source]
            found[one.variant] += (one.path, whole) in pairs or (whole, one.path) in pairs
    return {
        "pairs": len(pairs),
        "precision": round(right / max(1, len(pairs)), 5),
        "recall_by_variant": {name: round(found[name] / asked[name], 4) for name in asked},
    }


if __name__ == "__main__":
    main()
