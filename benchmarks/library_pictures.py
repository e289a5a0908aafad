"""The pictures of docs/library.md, made again from the library of the real surfaces.

    vaeneer index SURFACES --library LIB
    python benchmarks/library_pictures.py LIB

Each is what the command beside it in docs/library.md makes, scaled down. The pictures of pages need
Chromium (apt-get install chromium) and are left as they are without.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import cyclopts
from PIL import Image

from vaeneer.cli.app import run

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
WHOLE = "stone/stone_castle_walls_short_002.jpg"
PART = "wood/wood_francebarnbot1_005.jpg"
BOX = "120,40,180,180"


def main(lib: Path) -> None:
    """Make all of them."""
    root = Path((lib / "library.json").read_text().split('"root": "')[1].split('"')[0])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        ask(lib, root / WHOLE, "-k", "8", "--sheet", work / "image.png")
        keep(work / "image.png", "search-image", 1400)
        ask(lib, root / PART, "--box", BOX, "-k", "8", "--sheet", work / "box.png")
        keep(work / "box.png", "search-box", 1400)
        done("map", lib, "--out", work / "map.png")
        keep(work / "map.png", "map", 1600)
        done("map", lib, "--out", work / "map.html")
        photograph(work / "map.html", "map-page", (1500, 1000))
        done("duplicates", lib, "--html", work / "report.html")
        photograph(work / "report.html", "duplicates", (1300, 1000))


def ask(lib: Path, image: Path, *options: object) -> None:
    """One search."""
    done("search", lib, image, *options)


def done(*words: object) -> None:
    """A command of vaeneer, which must succeed."""
    if run([str(word) for word in words]) != 0:
        raise SystemExit(f"vaeneer {words[0]} failed")


def keep(picture: Path, name: str, width_px: int) -> None:
    """Scaled down, as WebP."""
    with Image.open(picture) as image:
        rgb = image.convert("RGB")
    rgb.thumbnail((width_px, 10 * width_px), Image.Resampling.LANCZOS)
    rgb.save(PICTURES / f"{name}.webp", quality=82, method=6)
    print(PICTURES / f"{name}.webp")


def photograph(page: Path, name: str, size: tuple[int, int]) -> None:
    """What a browser shows of a page."""
    browser = shutil.which("chromium")
    if browser is None:
        print(f"no Chromium: {name} is left as it is")
        return
    shot = page.with_suffix(".shot.png")
    subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--hide-scrollbars",
            f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=6000",
            f"--screenshot={shot}", page.resolve().as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    keep(shot, name, 1300)


if __name__ == "__main__":
    cyclopts.run(main)
