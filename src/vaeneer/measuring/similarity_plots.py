"""Pictures of how same and different crops lie apart: histograms of their cosines, ROC curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter

from vaeneer.measuring.charts import save_chart
from vaeneer.measuring.statistics import Floats, ScoredPairs, Separation, roc

SAME, DIFFERENT = "#0072B2", "#D55E00"  # Okabe & Ito: told apart by every eye
_CURVES = (("#0072B2", "-"), ("#009E73", "-"), ("#CC79A7", "--"), ("#000000", "-."))
_BINS = 40
_NARROWEST = 1e-6  # of a histogram, in cosine: a constant representation still has an axis


@dataclass(frozen=True)
class Panel:
    """One representation: its name (for files), its title, its pairs and their separation."""

    name: str
    title: str
    pairs: ScoredPairs
    figures: Separation


def draw_similarity(panels: Sequence[Panel], images: int, folder: Path) -> list[Path]:
    """Write all pictures as PNG into `folder`: both histograms, ROC curves, the seed's own two.

    similarity.png, roc.png, and for each latent same-image-NAME.png and different-image-NAME.png.
    """
    pictures = [
        save_chart(histograms(panels, images), folder / "similarity.png"),
        save_chart(roc_curves(panels, images), folder / "roc.png"),
    ]
    for panel in panels:
        if panel.name == "rgb_histogram":
            continue
        for kind, scores, colour in (
            ("same", panel.pairs.same, SAME),
            ("different", panel.pairs.different, DIFFERENT),
        ):
            file = folder / f"{kind}-image-{panel.name}.png"
            pictures.append(save_chart(counts(panel.title, kind, scores, colour), file))
    return pictures


def histograms(panels: Sequence[Panel], images: int) -> Figure:
    """One panel for each representation: shares of its cosines, same and different."""
    columns = len(panels) if len(panels) < 4 else 2
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.9 * columns, 3.5 * rows + 0.6), layout="constrained")
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, place + 1)
        _draw_panel(axes, panel)
        if place % columns == 0:
            axes.set_ylabel("share of the pairs")
    pairs = panels[0].pairs
    figure.suptitle(
        f"Crops of one image against crops of two: {images:,} images,"
        f" {pairs.same.size:,} same and {pairs.different.size:,} different pairs",
        fontsize=11,
    )
    handles, labels = figure.axes[0].get_legend_handles_labels()  # different is drawn first
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=2, frameon=False)
    return figure


def roc_curves(panels: Sequence[Panel], images: int) -> Figure:
    """ROC curves of all representations: the whole square, and few false alarms in log x."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    whole, strict = figure.subplots(1, 2, sharey=True)
    smallest = 1 / panels[0].pairs.different.size
    for panel, (colour, line) in zip(panels, _CURVES, strict=False):
        curve = roc(panel.pairs.same, panel.pairs.different)
        x, y = curve.false_positive_rate, curve.true_positive_rate
        label = f"{panel.title}: AUC {panel.figures.auc:.4f}"
        whole.plot(x, y, color=colour, linestyle=line, linewidth=1.8, label=label)
        strict.plot(np.maximum(x, smallest), y, color=colour, linestyle=line, linewidth=1.8)
    chance = np.geomspace(smallest, 1, 200)
    for axes in (whole, strict):
        axes.plot(chance, chance, color="0.6", linewidth=1, linestyle=":", label="chance: AUC 0.5")
    strict.set_xscale("log")
    whole.set_ylabel("same pairs accepted")
    for axes in (whole, strict):
        axes.set_xlabel("different pairs accepted")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        _tidy(axes)
    whole.xaxis.set_major_formatter(PercentFormatter(1))
    strict.set_xlabel("different pairs accepted (left edge: none)")
    whole.legend(loc="lower right", frameon=False, fontsize=9)
    figure.suptitle(f"Telling crops of one image from crops of two: {images:,} images", fontsize=11)
    return figure


def counts(title: str, kind: str, scores: Floats, colour: str) -> Figure:
    """The seed's histogram: how many pairs of a kind, same or different, have which cosine."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.hist(scores, bins=_edges(scores), color=colour, alpha=0.85)
    axes.axvline(float(scores.mean()), color="0.25", linewidth=1.2, linestyle="--")
    spread = max(float(np.ptp(scores)), _NARROWEST)
    digits = 3 + max(0, -math.floor(math.log10(spread)) - 1)  # the ends of a narrow range differ
    axes.set_title(
        f"{kind} image, {title}\n{scores.size:,} pairs, mean {scores.mean():.{digits}f},"
        f" from {scores.min():.{digits}f} to {scores.max():.{digits}f}",
        fontsize=10,
        loc="left",
    )
    axes.set_ylabel("pairs")
    _tidy_cosines(axes)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    pairs, figures = panel.pairs, panel.figures
    edges = _edges(np.concatenate([pairs.same, pairs.different]))
    for scores, colour, label in (
        (pairs.different, DIFFERENT, "different images"),
        (pairs.same, SAME, "same image"),
    ):
        share = np.full(scores.size, 1 / scores.size)
        axes.hist(scores, edges, weights=share, color=colour, alpha=0.35, label=label)
        axes.hist(scores, edges, weights=share, color=colour, histtype="step", linewidth=1.3)
    axes.set_title(
        f"{panel.title}\nAUC {figures.auc:.4f}   d' {figures.d_prime:.2f}   EER {figures.eer:.3f}",
        fontsize=10,
        loc="left",
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _tidy_cosines(axes)


def _edges(scores: Floats) -> list[float]:
    """Borders of bins over all scores, never narrower than floats can tell apart."""
    low, high = float(scores.min()), float(scores.max())
    spare = max(0.0, _NARROWEST - (high - low)) / 2
    edges: list[float] = np.linspace(low - spare, high + spare, _BINS + 1).tolist()
    return edges


def _tidy_cosines(axes: Axes) -> None:
    axes.set_xlabel("cosine similarity")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
