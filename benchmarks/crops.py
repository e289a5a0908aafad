"""Search by a crop without a box: is the item first, the place right, anything proved falsely?

    python benchmarks/crops.py FOLDER LIB OTHER [--items 120] [--seed 0]

Indexes FOLDER into LIB where that is not done. From each of a seeded sample of its items a square
of 0.1 to 0.6 of the shorter side is cut at a random place, resized by 0.25 to 2 (log-uniform, but
to 24 px or more), turned by quarters or mirrored (every second one), saved as JPEG of quality 60 to
95, and searched for as a file, with exact places and without. The error of a place is the distance
of the worst of its four sides, in pixels of the item. The negatives are images of OTHER, whole and
as such crops: nothing may be proved. SAME names those that are copies of an item, found by hand.

Time is processor time, as a ratio of searches with exact places and without: by whole files of the
library, by whole files of OTHER, and by crops of either. Writes results/crops.json.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from machine import keep
from PIL import Image

from vaeneer.cli.options import ConsoleProgress
from vaeneer.data.images import read_rgb
from vaeneer.library.catalog import Item, PixelBox
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.search.search import Hit, search
from vaeneer.settings import SearchSettings

SHARES = (0.1, 0.6)
SCALES = (0.25, 2.0)
LEAST_PX = 24
ORIENTATIONS = 8
OFF = SearchSettings(exact_match=False)
SAME = {
    "grass_grass_ground_d_0019.jpg": "grass_nobiax_91_015.jpg",  # turned by 180 degrees, regraded
}
"""Files of surfaces2 that show a picture of surfaces, by their names."""


def main(folder: Path, lib: Path, other: Path, *, items: int = 120, seed: int = 0) -> None:
    """Index, search, count, write."""
    index(folder, library=lib, progress=ConsoleProgress())
    random = np.random.default_rng(seed)
    with Library.open(lib) as library:
        everything = library.items()
        chosen = [everything[row] for row in random.permutation(len(everything))[:items]]
        files = sorted(file for file in other.rglob("*") if file.suffix in {".jpg", ".png"})
        strangers = [files[row] for row in random.permutation(len(files))[:items]]
        search(library, library.path(chosen[0]))  # loads the network
        with ConsoleProgress().bar("searching", total=2 * items, unit="images") as bar:
            rows, whole, foreign, foreign_crops = [], [], [], []
            for item in chosen:
                rows.append(by_crop(library, item, random))
                whole.append(timed(library, library.path(item).read_bytes()))
                bar.advance()
            for file in strangers:
                foreign.append(timed(library, file.read_bytes()) | {"file": file.name})
                crop, _ = changed(read_rgb(file), random)
                foreign_crops.append(timed(library, crop) | {"file": file.name})
                bar.advance()
        result = {
            "folder": str(folder),
            "other": str(other),
            "items": len(everything),
            "seed": seed,
            "crops": summary(rows),
            "by_share": [
                {"from": low, "to": low + 0.1}
                | summary([row for row in rows if low <= row["share"] < low + 0.1])
                for low in (0.1, 0.2, 0.3, 0.4, 0.5)
            ],
            "by_side_px": [
                {"from": low, "to": high}
                | summary([row for row in rows if low <= row["side_px"] < high])
                for low, high in ((24, 64), (64, 128), (128, 256), (256, 1300))
            ],
            "negatives": {
                "whole": negatives(foreign),
                "crops": negatives(foreign_crops),
            },
            "processor_time_ratio": {
                "files of the library": ratio(whole),
                "other files": ratio(foreign),
                "crops of the library": ratio(rows),
                "crops of other files": ratio(foreign_crops),
            },
        }
    print(keep("crops", result))
    for name in ("crops", "negatives", "processor_time_ratio"):
        print(name, result[name])


def changed(picture: Image.Image, random: np.random.Generator) -> tuple[bytes, dict[str, Any]]:
    """A crop as a JPEG file, and what was done."""
    share = float(random.uniform(*SHARES))
    side = max(LEAST_PX, round(share * min(picture.size)))
    x = int(random.integers(0, picture.width - side + 1))
    y = int(random.integers(0, picture.height - side + 1))
    low = max(SCALES[0], LEAST_PX / side)
    scale = float(np.exp(random.uniform(np.log(low), np.log(SCALES[1]))))
    side_px = max(LEAST_PX, round(side * scale))
    crop = picture.crop((x, y, x + side, y + side))
    crop = crop.resize((side_px, side_px), Image.Resampling.LANCZOS)
    turn = int(random.integers(0, ORIENTATIONS)) if random.random() < 0.5 else 0
    if turn >= ORIENTATIONS // 2:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    crop = crop.rotate(90 * (turn % 4))
    stream = io.BytesIO()
    crop.save(stream, "JPEG", quality=int(random.integers(60, 96)))
    facts = {"box": (x, y, side, side), "share": share, "scale": scale, "side_px": side_px}
    return stream.getvalue(), facts


def by_crop(library: Library, item: Item, random: np.random.Generator) -> dict[str, Any]:
    """One crop of an item, searched for with exact places and without."""
    crop, facts = changed(library.picture(item), random)
    row = timed(library, crop)
    hits, before = row["hits"], row["before"]
    own = [hit for hit in hits if hit.id == item.id and hit.match == "exact"]
    return (
        row
        | facts
        | {
            "first": hits[0].id == item.id,
            "first_before": before[0].id == item.id,
            "error_px": error_px(own[0].box, facts["box"]) if own else None,
            "others_proved": [
                hit.path for hit in hits if hit.match == "exact" and hit.id != item.id
            ],
        }
    )


def timed(library: Library, image: bytes) -> dict[str, Any]:
    """Hits with exact places and without, with the processor time of both."""
    began = time.process_time()
    before = search(library, image, settings=OFF).hits
    middle = time.process_time()
    hits = search(library, image).hits
    ended = time.process_time()
    return {"hits": hits, "before": before, "seconds": (ended - middle, middle - began)}


def error_px(found: PixelBox | None, wanted: PixelBox) -> int:
    """Distance of the worst of four sides."""
    assert found is not None

    def sides(box: PixelBox) -> list[int]:
        return [box[0], box[1], box[0] + box[2], box[1] + box[3]]

    return max(abs(one - other) for one, other in zip(sides(found), sides(wanted), strict=True))


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Ranks, proofs and errors of some crops."""
    errors = [row["error_px"] for row in rows if row["error_px"] is not None]
    middle, most = np.percentile(errors, [50, 90]).tolist() if errors else (None, None)
    return {
        "queries": len(rows),
        "first": float(np.mean([row["first"] for row in rows])),
        "first_by_whole_images": float(np.mean([row["first_before"] for row in rows])),
        "proved": len(errors) / len(rows),
        "error_px_median": middle,
        "error_px_90": most,
        "error_px_max": max(errors, default=None),
        "other_items_proved": sum(len(row["others_proved"]) for row in rows),
        "other_items": sorted({path for row in rows for path in row["others_proved"]}),
    }


def negatives(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What was proved of pictures that the library does not have, and what by its copies."""
    proved = [(row["file"], hit) for row in rows for hit in row["hits"] if hit.match == "exact"]
    copies = [one for one in proved if is_copy(*one)]
    false = [(file, hit.path, hit.box) for file, hit in proved if not is_copy(file, hit)]
    return {"queries": len(rows), "copies_proved": len(copies), "proved": false}


def is_copy(file: str, hit: Hit) -> bool:
    """Whether the hit is the picture that the file is a copy of."""
    return SAME.get(file) == Path(hit.path).name


def ratio(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Processor time with exact places by that without: of all searches, and of the median one."""
    after, before = np.array([row["seconds"] for row in rows]).T
    return {
        "mean": round(float(after.sum() / before.sum()), 2),
        "median": round(float(np.median(after / before)), 2),
    }


if __name__ == "__main__":
    cyclopts.run(main)
