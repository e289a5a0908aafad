"""How often the traces in files tell an original from a copy that was regraded.

    python benchmarks/regrades.py SURFACES [--count N]

Each JPEG colour map of a folder is an original: as it is, and seven eighths of the size as PNG,
which has no history of JPEG. Curves and mixes of its channels, saved as PNG and as JPEG, are the
regrades. A pair is right (the regrade is named), open, or wrong (the original is named as one).
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import keep
from PIL import Image, ImageEnhance

from vaeneer.data.filenames import group_names
from vaeneer.errors import ImageFileError
from vaeneer.library.duplicates.near_copies import Grade, Traces, read_traces, regraded

ORIGINAL, REGRADE = 1, 2


def _hue(image: Image.Image) -> Image.Image:
    turned = np.array(image.convert("HSV"))
    turned[..., 0] += 40
    return Image.fromarray(turned, "HSV").convert("RGB")


GRADINGS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "brightness 0.8": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "brightness 1.25": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "contrast 1.2": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "gamma 0.8": lambda image: image.point([round(255 * (v / 255) ** 0.8) for v in range(256)] * 3),
    "saturation 1.5": lambda image: ImageEnhance.Color(image).enhance(1.5),
    "hue": _hue,
}


def main() -> None:
    """Grade, read the traces, compare; writes results/regrades.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surfaces", type=Path)
    parser.add_argument("--count", type=int, default=200, help="colour maps")
    arguments = parser.parse_args()
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    traces: dict[str, list[Traces]] = defaultdict(list)
    files = _colour_maps(arguments.surfaces)[: arguments.count]
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            _try(file, Path(folder), outcomes, traces)
    result: dict[str, Any] = {
        "maps": len(files),
        "outcomes": {name: dict(counts) for name, counts in outcomes.items()},
        "traces": {name: _spread(found) for name, found in traces.items()},
    }
    print(json.dumps(result, indent=1))
    print(keep("regrades", result))


def _colour_maps(surfaces: Path) -> list[Path]:
    paths = sorted(path.relative_to(surfaces) for path in surfaces.rglob("*.jpg"))
    names = group_names(paths)
    files = [surfaces / path for path in paths if names[path].kind == "color"]
    random.Random(0).shuffle(files)
    return files


def _try(
    file: Path,
    folder: Path,
    outcomes: dict[str, Counter[str]],
    traces: dict[str, list[Traces]],
) -> None:
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (OSError, ImageFileError):
        return
    pure = image.resize((image.width * 7 // 8, image.height * 7 // 8), Image.Resampling.LANCZOS)
    pure.save(folder / "pure.png")
    for name, original, picture in (
        ("JPEG", file, image),
        ("PNG", folder / "pure.png", pure),
    ):
        known = read_traces(original)
        traces[f"original {name}"].append(known)
        for grading, grade in GRADINGS.items():
            for suffix, options in (("png", {}), ("jpg", {"quality": 90})):
                path = folder / f"graded.{suffix}"
                grade(picture).save(path, **options)
                found = read_traces(path)
                traces[f"{name} {grading} {suffix}"].append(found)
                first = _grade(ORIGINAL, known, name == "PNG")
                named = set(regraded([first, _grade(REGRADE, found, suffix == "png")]))
                outcome = "wrong" if ORIGINAL in named else "right" if named else "open"
                outcomes[f"{name} to {suffix}"][outcome] += 1


def _grade(item: int, traces: Traces, lossless: bool) -> Grade:
    return Grade([item], [traces], []) if lossless else Grade([item], [], [traces])


def _spread(found: list[Traces]) -> dict[str, list[float]]:
    """Minimum, 10 %, median, 90 % and maximum of both traces."""
    shares = [0, 10, 50, 90, 100]
    return {
        name: np.percentile([getattr(one, name) for one in found], shares).round(3).tolist()
        for name in ("comb", "blocks")
    }


if __name__ == "__main__":
    main()
