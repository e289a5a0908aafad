"""The reliability diagram: how often a probability of the same surface is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaeneer.measuring.charts import QUIET, TRAIN, VALID, new_chart, save_chart
from vaeneer.model.projection import BINS, Calibration


def draw_reliability(calibration: Calibration, path: Path) -> Path:
    """What was said against what was found, in ten bins, with the share of pairs in each."""
    figure, axes = new_chart(
        f"Same surface? Held-out crops of {calibration.images:,} images",
        "probability said",
        "share that was the same surface",
    )
    said = np.array([part.said for part in calibration.reliability])
    found = np.array([part.found for part in calibration.reliability])
    weight = np.array([part.weight for part in calibration.reliability])
    places = (np.floor(np.minimum(said, 1 - 1e-9) * BINS) + 0.5) / BINS
    axes.bar(places, weight, width=0.9 / BINS, color=QUIET, alpha=0.35, label="share of the pairs")
    axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":", label="said = found")
    axes.plot(said, found, color=TRAIN, marker="o", label="found")
    axes.vlines(said, said, found, color=VALID, linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(
        loc="upper left",
        frameon=False,
        title=f"expected calibration error {calibration.error:.3f}",
        alignment="left",
    )
    return save_chart(figure, path)
