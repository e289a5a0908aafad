"""The chart of a bench: each part beside its ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vaeneer.benchmarking.figures import PartFigures
from vaeneer.evaluation.plots import QUIET, TRAIN, new_chart, save_chart


def draw_speed(parts: Mapping[str, PartFigures], path: Path) -> Path:
    """Bars of images a second, on a logarithmic axis, each with a mark at its ceiling."""
    figure, axes = new_chart("Images a second of each part, and its ceiling", "images / s", "")
    places = range(len(parts))
    axes.set_xscale("log")
    axes.barh(places, [part.images_per_s for part in parts.values()], color=TRAIN, height=0.55)
    ceilings = [part.ceiling_images_per_s for part in parts.values()]
    axes.plot(ceilings, places, "|", color=QUIET, markersize=22, markeredgewidth=2.5)
    for place, part in zip(places, parts.values(), strict=True):
        words = f"{part.images_per_s:,.0f}/s: {part.share:.0%} of {part.ceiling}"
        end = max(part.images_per_s, part.ceiling_images_per_s)
        axes.annotate(words, (end, place), (8, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, list(parts))
    axes.invert_yaxis()
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 40)  # room for the words
    return save_chart(figure, path)
