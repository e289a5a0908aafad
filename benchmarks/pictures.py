"""The pictures of README.md and docs/, made again from a demo and from reference_parity.py's runs.

    vaeneer demo --out DEMO
    python benchmarks/reference_parity.py SURFACES SPLIT_CSV WORK
    python benchmarks/pictures.py DEMO WORK

A picture of the report needs Chromium (apt-get install chromium) and is left as it is without.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import cyclopts
from PIL import Image

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
FROM_RUNS = {
    "training-loss": "runs/bce-0/plots/training-loss.png",
    "reconstructions": "runs/bce-0/plots/reconstructions.png",
    "samples": "runs/bce-0/plots/samples.png",
    "loss-per-image": "runs/bce-0/evaluation/loss-per-image.png",
    "similarity": "runs/bce-0/similarity/similarity.png",
    "same-image": "runs/bce-0/similarity/same-image-sampled.png",
    "different-image": "runs/bce-0/similarity/different-image-sampled.png",
    "reconstructions-mse": "runs/mse-0/plots/reconstructions.png",
}


def main(demo: Path, work: Path) -> None:
    """Write docs/pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, source in FROM_RUNS.items():
        keep(work / source, PICTURES / f"{name}.webp")
    if shutil.which("chromium"):
        photograph((demo / "report.html").absolute(), PICTURES / "report.webp")


def photograph(page: Path, target: Path) -> None:
    """What a browser shows of the top of the report."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", f"--user-data-dir={folder}/profile", "--hide-scrollbars",
             "--window-size=1200,1500", f"--screenshot={shot}", page.as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip
        keep(shot, target)


def keep(source: Path, target: Path) -> None:
    """Copy a picture as WebP, no wider than 1280 px."""
    with Image.open(source) as image:
        picture = image.convert("RGB")
    picture.thumbnail((1280, 4000), Image.Resampling.LANCZOS)
    picture.save(target, quality=84, method=6)


if __name__ == "__main__":
    cyclopts.run(main)
