"""Charts, histograms, ROC curves, and grids of images with captions."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from vaeneer.data.crops import Pixels
from vaeneer.data.loader import to_tensor
from vaeneer.evaluation.metrics import Floats, ScoredPairs, Separation, roc
from vaeneer.evaluation.pairs import CropPairs
from vaeneer.evaluation.representations import CropVectors
from vaeneer.files import atomic_write, save_picture
from vaeneer.model.vae import VAE
from vaeneer.provenance import software
from vaeneer.text import Lettering

PER_IMAGE = "nats per image"
"""The unit of every loss in charts, plots and tables."""
TRAIN, VALID, QUIET = "#0072B2", "#D55E00", "#8a8a8a"  # Okabe & Ito: told apart by every eye
SAME, DIFFERENT = "#0072B2", "#D55E00"  # Okabe & Ito: told apart by every eye
_OWN = {"embedding": "#000000", "sampled": "#56B4E9", "mean": "#0072B2", "centred": "#009E73"}
_OTHERS = ("#D55E00", "#E69F00", "#CC79A7", "#8a6d3b", "#b00020", "#7a7a7a", "#b5b5b5")
_LATENTS = ("sampled", "mean", "centred")
_BINS = 40
_TAIL_PERCENT = 0.5  # the least cosines, which would squeeze all others into a few bins
_NARROWEST = 1e-6  # of a histogram, in cosine: a constant representation still has an axis
_GAP_PX = 6
_CAPTION_PX = 18
_PAPER = (250, 250, 248)
_INK = (40, 40, 40)
PAIRS = 8
_SLIT_PX = 4


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
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": software()})
    return path


@dataclass(frozen=True)
class Panel:
    """One representation: its name (for files), its title, its pairs and their separation."""

    name: str
    title: str
    pairs: ScoredPairs
    figures: Separation


def draw_similarity(
    panels: Sequence[Panel], images: int, folder: Path, *, suffix: str = ""
) -> list[Path]:
    """Write similarity.png (both histograms of each) and roc.png, `suffix` behind the names."""
    return [
        save_chart(histograms(panels, images), folder / f"similarity{suffix}.png"),
        save_chart(roc_curves(panels, images), folder / f"roc{suffix}.png"),
    ]


def draw_reference_histograms(panels: Sequence[Panel], folder: Path) -> list[Path]:
    """Write the reference's two pictures of each latent: same-image-NAME, different-image-NAME."""
    return [
        save_chart(
            counts(panel.title, kind, scores, colour), folder / f"{kind}-image-{panel.name}.png"
        )
        for panel in panels
        if panel.name in _LATENTS
        for kind, scores, colour in (
            ("same", panel.pairs.same, SAME),
            ("different", panel.pairs.different, DIFFERENT),
        )
    ]


def histograms(panels: Sequence[Panel], images: int) -> Figure:
    """One panel for each representation: shares of its cosines, same and different."""
    columns = len(panels) if len(panels) < 4 else 2 if len(panels) == 4 else 4
    rows = -(-len(panels) // columns)
    width = 4.9 if columns < 4 else 3.9
    figure = Figure(figsize=(width * columns, 0.7 * width * rows + 0.6), layout="constrained")
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
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    whole, strict = figure.subplots(1, 2, sharey=True)
    smallest = 1 / panels[0].pairs.different.size
    others = iter(_OTHERS)
    for panel in sorted(panels, key=lambda panel: -panel.figures.auc):
        curve = roc(panel.pairs.same, panel.pairs.different, thinned=True)
        x, y = curve.false_positive_rate, curve.true_positive_rate
        own = panel.name in _OWN
        style: dict[str, Any] = {
            "color": _OWN[panel.name] if own else next(others, "#7a7a7a"),
            "linestyle": "-" if own else "--",
            "linewidth": 2.4 if panel.name == "embedding" else 1.4,
            "zorder": 3 if panel.name == "embedding" else 2,
        }
        whole.plot(x, y, label=f"{panel.title}: {panel.figures.auc:.4f}", **style)
        strict.step(np.maximum(x, smallest), y, where="post", **style)
    chance = np.geomspace(smallest, 1, 200)
    for axes in (whole, strict):
        axes.plot(chance, chance, color="0.6", linewidth=1, linestyle=":", label="chance: 0.5")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        _tidy(axes)
    strict.set_xscale("log")
    strict.set_xlim(smallest, 1)
    whole.set_ylabel("same pairs accepted")
    whole.set_xlabel("different pairs accepted")
    whole.xaxis.set_major_formatter(PercentFormatter(1))
    strict.set_xlabel("different pairs accepted (log; left edge: none)")
    figure.suptitle(f"Telling crops of one image from crops of two: {images:,} images", fontsize=11)
    figure.legend(
        *whole.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
        title="area under the curve",
    )
    return figure


def counts(title: str, kind: str, scores: Floats, colour: str) -> Figure:
    """The reference's histogram: how many pairs of a kind, same or different, have which cosine."""
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
    every = np.concatenate([pairs.same, pairs.different])
    edges = _edges(every.clip(np.percentile(every, _TAIL_PERCENT), None))
    for scores, colour, label in (
        (pairs.different, DIFFERENT, "different images"),
        (pairs.same, SAME, "same image"),
    ):
        share = np.full(scores.size, 1 / scores.size)
        drawn = scores.clip(edges[0], edges[-1])  # the few lower ones count in the first bin
        axes.hist(drawn, edges, weights=share, color=colour, alpha=0.35, label=label)
        axes.hist(drawn, edges, weights=share, color=colour, histtype="step", linewidth=1.3)
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


def to_pixels(images: Tensor) -> list[Pixels]:
    """(B, 3, H, W) float in [0, 1] to B arrays (H, W, 3) uint8, rounded."""
    scaled = (images.detach().float().clamp(0, 1) * 255).round().byte()
    return list(scaled.permute(0, 2, 3, 1).cpu().numpy())


def reconstructed(vae: VAE, images: Sequence[Pixels]) -> list[Pixels]:
    """The decoded posterior mean of images (side, side, 3) uint8, in the same form."""
    return to_pixels(vae.reconstruct(to_tensor(images).to(vae.device)))


def save_grid(
    images: Sequence[Pixels],
    path: Path,
    *,
    columns: int,
    captions: Sequence[str] | None = None,
) -> Path:
    """Write images (H, W, 3) uint8 of one size as a PNG grid, row by row; returns `path`.

    `captions` stand below the images, one for each, cut to their width.
    """
    height, width = images[0].shape[:2]
    cell_height = height + (_CAPTION_PX if captions else 0)
    rows = -(-len(images) // columns)
    sheet = Image.new(
        "RGB",
        (_GAP_PX + columns * (width + _GAP_PX), _GAP_PX + rows * (cell_height + _GAP_PX)),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    letters = Lettering(11)
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        left, top = _GAP_PX + column * (width + _GAP_PX), _GAP_PX + row * (cell_height + _GAP_PX)
        sheet.paste(Image.fromarray(image), (left, top))
        if captions:
            text, font = letters.fitted(captions[place], width)
            draw.text((left, top + height + 2), text, fill=_INK, font=font)
    save_picture(sheet, path)
    return path


def show_pictures(folder: Path) -> int:
    """Open each PNG of a folder in a window, where there is a display; returns how many."""
    if not has_display():
        return 0
    pictures = sorted(folder.glob("*.png"))
    for picture in pictures:
        with Image.open(picture) as image:
            image.show(title=picture.name)
    return len(pictures)


def has_display() -> bool:
    """Whether a window can be opened: always on Windows and macOS, else by X11 or Wayland."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def hardest(pairs: CropPairs, scores: Floats, *, lowest: bool) -> list[int]:
    """The places of up to eight pairs with the lowest or highest scores, of other images each."""
    order = np.argsort(scores if lowest else -scores, kind="stable")
    seen: set[tuple[int, ...]] = set()
    found = []
    for place in order:
        images = tuple(sorted(pairs.images[place].tolist()))
        if images not in seen:
            seen.add(images)
            found.append(int(place))
        if len(found) == PAIRS:
            break
    return found


def draw_pairs(
    path: Path,
    found: CropVectors,
    pairs: CropPairs,
    scores: Floats,
    places: Sequence[int],
    columns: Sequence[int],
) -> Path:
    """Write pairs of crops side by side as one PNG; returns `path`.

    columns: which of the crops that `found.crops_of` cuts the numbers in `pairs` mean.
    """
    tiles, captions = [], []
    for place in places:
        images, crops = pairs.images[place].tolist(), pairs.crops[place].tolist()
        tiles.append(
            _side_by_side(
                [
                    found.crops_of(image)[columns[crop]]
                    for image, crop in zip(images, crops, strict=True)
                ]
            )
        )
        names = [PurePosixPath(found.items[image].name).stem for image in dict.fromkeys(images)]
        captions.append(f"{scores[place]:.3f}  {' | '.join(names)}")
    return save_grid(tiles, path, columns=2, captions=captions)


def _side_by_side(crops: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Crops (3, side, side) in [0, 1] with white between them, (side, width, 3) uint8."""
    slit = np.ones((3, crops[0].shape[1], _SLIT_PX), np.float32)
    row = np.concatenate([crops[0], slit, crops[1]], axis=2)
    pixels: NDArray[np.uint8] = np.rint(255 * row).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(pixels)
