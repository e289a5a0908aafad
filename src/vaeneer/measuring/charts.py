"""How our charts look, and how they are written; matplotlib without global state."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaeneer.files import replacing
from vaeneer.provenance import software

PER_IMAGE = "nats per image"
"""The unit of every loss in charts, plots and tables."""
TRAIN, VALID, QUIET = "#0072B2", "#D55E00", "#8a8a8a"  # Okabe & Ito: told apart by every eye


def new_chart(title: str, x: str, y: str, *, width: float = 7.2) -> tuple[Figure, Axes]:
    """An empty chart with a title, axis labels and a light grid; `width` in inches."""
    figure = Figure(figsize=(width, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_chart(figure: Figure, path: Path) -> Path:
    """Write a chart as PNG, whole or not at all; returns `path`."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": software()})
    return path
