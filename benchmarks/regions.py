"""Search by a box: is the item found, is the place right, and are the probabilities what they say?

    python benchmarks/regions.py FOLDER LIB [--items 100]

Indexes FOLDER into LIB where that is not done. From each of a seeded sample of its items a square
of 0.2, 0.3, 0.4 and 0.5 of the short side is drawn at random, as it is and in another light (the
photometric change of the strict protocol), and asked by: with places from the grid of parts alone,
and with exact places. Written are recall@1, how much of the box the place covers, intersection over
union, and the reliability of the probabilities of all hits. Then the same with the item's whole
asset left out of the library (`where`), so that every hit is a stranger. Writes
results/regions.json.

surface-base was trained on most of the 311 real surfaces; so these are no figures of unseen ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from machine import keep
from numpy.typing import NDArray

from vaeneer.cli.options import ConsoleProgress
from vaeneer.data.crops import STRICT_COLUMNS, relit
from vaeneer.library.catalog import PixelBox
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.search.search import Hit, search
from vaeneer.settings import SearchSettings

SIDES = (0.2, 0.3, 0.4, 0.5)
EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0001)


def main(folder: Path, lib: Path, *, items: int = 100, seed: int = 0) -> None:
    """Index, ask, count, write."""
    index(folder, library=lib, progress=ConsoleProgress())
    with Library.open(lib) as library:
        everything = library.items()
        random = np.random.default_rng(seed)
        chosen = random.permutation(len(everything))[:items]
        rows: list[dict[str, Any]] = []
        absent: list[list[Hit]] = []
        with ConsoleProgress().bar("asking", total=len(chosen), unit="items") as bar:
            for number in chosen:
                rows += asked(library, everything[number], random, absent)
                bar.advance()
        result = {
            "folder": str(folder),
            "items": len(everything),
            "asked_items": len(chosen),
            "by_side": [summary(rows, side, light) for side in SIDES for light in (False, True)],
            "probabilities": reliability([one for row in rows for one in row["told"]]),
            "model_probabilities": reliability([one for row in rows for one in row["even"]]),
            "strangers_placed_by_pixels": sum(row["false_places"] for row in rows),
            "hits_placed_by_pixels": sum(row["pixel_places"] for row in rows),
            "absent": {
                "queries": len(absent),
                "first_hit_above_half": share(
                    [bool(hits and (hits[0].probability or 0) > 0.5) for hits in absent]
                ),
                "placed_by_pixels": sum(hit.placed == "pixels" for hits in absent for hit in hits),
            },
        }
    print(keep("regions", result))
    for line in result["by_side"]:
        print(line)
    print(result["probabilities"]["error"], result["model_probabilities"]["error"])
    print({name: result[name] for name in ("strangers_placed_by_pixels", "absent")})


def asked(
    library: Library, item: Any, random: np.random.Generator, absent: list[list[Hit]]
) -> list[dict[str, Any]]:
    """All questions by boxes on one item."""
    whole = np.asarray(library.picture(item))
    calibration = library.calibration
    assert calibration is not None
    rows = []
    for share_of_side in SIDES:
        side = max(17, round(share_of_side * min(whole.shape[:2])))
        x = int(random.integers(0, whole.shape[1] - side + 1))
        y = int(random.integers(0, whole.shape[0] - side + 1))
        box = (x, y, side, side)
        numbers = random.random(STRICT_COLUMNS)
        for light in (False, True):
            picture = in_another_light(whole, numbers) if light else whole
            coarse = answers(library, picture, box, exact=False)
            began = time.perf_counter()
            exact = answers(library, picture, box, exact=True)
            seconds = time.perf_counter() - began
            rows.append(
                {
                    "side": share_of_side,
                    "light": light,
                    "coarse": own(coarse, item.id, box),
                    "exact": own(exact, item.id, box),
                    "told": [(hit.probability, hit.asset == item.asset) for hit in exact],
                    "even": [
                        (calibration.probability(hit.score), hit.asset == item.asset)
                        for hit in exact
                    ],
                    "false_places": sum(
                        hit.placed == "pixels" and hit.asset != item.asset for hit in exact
                    ),
                    "pixel_places": sum(hit.placed == "pixels" for hit in exact),
                    "seconds": seconds,
                }
            )
            if light:
                absent.append(strangers(library, picture, box, item.asset))
    return rows


def answers(
    library: Library, picture: NDArray[np.uint8], box: PixelBox, *, exact: bool
) -> list[Hit]:
    """Ten hits."""
    return search(library, picture, box=box, settings=SearchSettings(exact_match=exact)).hits


def strangers(library: Library, picture: NDArray[np.uint8], box: PixelBox, asset: str) -> list[Hit]:
    """Ten hits, the own asset left out."""
    quoted = asset.replace("'", "''")
    settings = SearchSettings(where=f"asset != '{quoted}'")
    return search(library, picture, box=box, settings=settings).hits


def in_another_light(image: NDArray[np.uint8], numbers: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The photometric change of the strict protocol, of a whole image (H, W, 3)."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    changed = relit(np.repeat(planes, 4, axis=0), numbers)[0]
    return np.asarray((changed.transpose(1, 2, 0) * 255).round(), np.uint8)


def own(hits: Sequence[Hit], item: int, box: PixelBox) -> dict[str, Any]:
    """Rank of the item itself (0 first, None: not among the hits), and how right its place is."""
    for rank, hit in enumerate(hits):
        if hit.id == item and hit.box is not None:
            covered, union = overlap(hit.box, box)
            return {"rank": rank, "covered": covered, "iou": union, "placed": hit.placed}
    return {"rank": None, "covered": 0.0, "iou": 0.0, "placed": None}


def overlap(one: PixelBox, other: PixelBox) -> tuple[float, float]:
    """Share of `other` that `one` covers, and intersection over union."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(0, width) * max(0, height)
    return common / (other[2] * other[3]), common / (one[2] * one[3] + other[2] * other[3] - common)


def summary(rows: Sequence[dict[str, Any]], side: float, light: bool) -> dict[str, Any]:
    """One size of box, in one light."""
    part = [row for row in rows if row["side"] == side and row["light"] == light]
    line: dict[str, Any] = {"side": side, "another_light": light, "queries": len(part)}
    for name in ("coarse", "exact"):
        found = [row[name] for row in part]
        line[name] = {
            "recall_at_1": share([one["rank"] == 0 for one in found]),
            "recall_at_10": share([one["rank"] is not None for one in found]),
            "covered": float(np.mean([one["covered"] for one in found])),
            "iou": float(np.mean([one["iou"] for one in found])),
            "iou_at_least_half": share([one["iou"] >= 0.5 for one in found]),
            "placed_by_pixels": share([one["placed"] == "pixels" for one in found]),
        }
    line["median_seconds"] = float(np.median([row["seconds"] for row in part]))
    return line


def reliability(told: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """What probabilities said and how often it was so, in bins; and their mean distance."""
    said = np.array([one for one, _ in told], float)
    so = np.array([right for _, right in told], float)
    bins, error = [], 0.0
    for low, high in pairwise(EDGES):
        inside = (said >= low) & (said < high)
        if inside.any():
            line = {
                "from": low, "to": min(high, 1.0), "hits": int(inside.sum()),
                "said": float(said[inside].mean()), "found": float(so[inside].mean()),
            }  # fmt: skip
            bins.append(line)
            error += inside.mean() * abs(line["said"] - line["found"])
    return {"hits": len(told), "error": float(error), "bins": bins}


def share(values: Sequence[bool]) -> float:
    """Of the true ones."""
    return float(np.mean(values)) if values else 0.0


if __name__ == "__main__":
    cyclopts.run(main)
