"""Self-contained HTML pages of figures and pictures; similarity.html; the ranking in words."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from PIL import Image

from vaeneer.evaluation.pairs import PairSample, Scores, SimilarityFigures, SimilarityVariant
from vaeneer.evaluation.plots import (
    Panel,
    draw_pairs,
    draw_reference_histograms,
    draw_similarity,
    hardest,
)
from vaeneer.evaluation.representations import COLOUR_BASELINES, OWN, CropVectors
from vaeneer.progress import Progress
from vaeneer.web.pages import write_page

Rows = Mapping[str, SimilarityFigures]
COLUMNS = {
    "auc": "AUC",
    "d_prime": "d'",
    "eer": "EER",
    "tpr_at_fpr_1e_2": "TPR@1e-2",
    "tpr_at_fpr_1e_3": "TPR@1e-3",
    "recall_at_1": "recall@1",
    "recall_at_5": "recall@5",
    "recall_at_10": "recall@10",
    "arr": "ARR",
    "map": "mAP",
}
"""The figures that decide, with their names for people."""
LOWER_IS_BETTER = ("eer",)
PAGE = "similarity.html"
_WITH_PICTURES = ("reference", "photometric", "plain")
_HEADINGS = {
    "reference": "Overlapping crops, as the reference draws them",
    "photometric": "Other place, turn, size and light",
    "plain": "Other place, turn and size, the same light",
    "photometric_scale_gap": "Asked at a smaller scale, in other light",
    "plain_scale_gap": "Asked at a smaller scale, in the same light",
}


@dataclass(frozen=True)
class Picture:
    """A picture file with the sentence that says what to see in it."""

    path: Path
    caption: str
    half: bool = False
    """Whether it may stand beside another, as charts do."""


@dataclass(frozen=True)
class Tile:
    """A small picture in a row of others, with its name, a note and the boxes drawn on it."""

    picture: Image.Image
    name: str
    note: str = ""
    mark: str = ""
    """A word above the name that stands out, such as keep."""
    kind: Literal["", "query", "first"] = ""
    """What its frame says: the query of a search, the first of a group."""
    boxes: Sequence[tuple[float, float, float, float]] = ()
    """Left, top, width and height, as shares of the picture."""

    @property
    def ratio(self) -> float:
        """Width / height."""
        return self.picture.width / self.picture.height


@dataclass(frozen=True)
class Row:
    """Tiles below a title."""

    title: str
    note: str
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Table:
    """Rows of cells below a header; numbers are set right by the page."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: Container[tuple[int, int]] = ()
    """Row and column (from 0) of the cells that stand out."""


@dataclass(frozen=True)
class Section:
    """A part of the page: heading, paragraphs, an optional table, pictures, tiles, the command."""

    heading: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None
    pictures: Sequence[Picture] = ()
    rows: Sequence[Row] = ()
    command: str = ""


@dataclass(frozen=True)
class Headline:
    """One large number at the top, with what it is and what to hold it against."""

    value: str
    name: str
    beside: str


def write_report(
    path: Path,
    *,
    title: str,
    lead: str,
    headlines: Sequence[Headline],
    sections: Sequence[Section],
    footer: str,
) -> Path:
    """Write the page, whole or not at all, with every picture inside it; returns `path`."""
    write_page(
        path,
        "report.html",
        title=title,
        lead=lead,
        headlines=headlines,
        sections=sections,
        footer=footer,
    )
    return path


def sort_key(row: SimilarityFigures, column: str) -> float:
    """A figure such that more is better; a d' without any spread is infinite."""
    value = getattr(row, column)
    if value is None:
        return math.inf if row.same_mean > row.different_mean else -math.inf
    return -float(value) if column in LOWER_IS_BETTER else float(value)


def best_in_each_column(rows: Rows) -> dict[str, list[str]]:
    """For each column the names of the representations that are best in it."""
    found = {}
    for column in COLUMNS:
        top = max(sort_key(row, column) for row in rows.values())
        found[column] = [name for name, row in rows.items() if sort_key(row, column) == top]
    return found


def verdict(rows: Rows, name: str = "embedding") -> str:
    """Whether one representation beats every baseline in every column, and where it does not.

    Empty where there are no baselines.
    """
    baselines = {other: row for other, row in rows.items() if other not in OWN}
    if not baselines or name not in rows:
        return ""
    behind, level = [], []
    for column, title in COLUMNS.items():
        rival = max(baselines.values(), key=lambda row: sort_key(row, column))
        own, best = sort_key(rows[name], column), sort_key(rival, column)
        if own < best:
            behind.append(f"{title} ({rival.title} {shown(rival, column)})")
        elif own == best:
            level.append(title)
    title = rows[name].title
    even = f", level in {', '.join(level)}" if level else ""
    if not behind:
        return f"The {title} beats every baseline in every column{even}."
    ahead = len(COLUMNS) - len(behind) - len(level)
    return (
        f"The {title} is ahead of every baseline in {ahead} of {len(COLUMNS)} columns{even};"
        f" behind in {', '.join(behind)}."
    )


def colour_note(rows: Rows) -> str:
    """What to say where a colour histogram does at least as well as the embedding; else nothing."""
    better = [
        f"{rows[name].title} (AUC {rows[name].auc:.4f})"
        for name in COLOUR_BASELINES
        if name in rows and rows[name].auc >= rows["embedding"].auc
    ]
    if not better:
        return ""
    verb = "separates" if len(better) == 1 else "separate"
    return (
        f"NOTE: {' and '.join(better)}, which learnt nothing, {verb} these crops at least as"
        f" well as the embedding (AUC {rows['embedding'].auc:.4f})."
    )


def shown(row: SimilarityFigures, column: str) -> str:
    """A figure as it stands in tables."""
    value = getattr(row, column)
    if value is None:
        return "inf"
    return f"{value:.2f}" if column == "d_prime" else f"{value:.4f}"


@dataclass(frozen=True)
class Shown:
    """One variant with what its pictures are drawn from."""

    variant: SimilarityVariant
    answers: dict[str, Scores]
    question: PairSample
    columns: tuple[int, ...]
    """Which of the crops that were cut take part."""


def write_similarity_page(
    folder: Path,
    title: str,
    parts: Mapping[str, Shown],
    notes: Sequence[str],
    found: CropVectors,
    progress: Progress,
) -> list[Path]:
    """Draw the pictures into `folder` and write similarity.html; returns the pictures."""
    sections, pictures = [], []
    drawn = [name for name in parts if name in _WITH_PICTURES]
    with progress.bar("pictures", total=len(drawn), unit="variants") as bar:
        for name, part in parts.items():
            own = _draw(folder, name, part, found) if name in drawn else []
            pictures += [picture.path for picture in own]
            sections += _sections(name, part.variant, own)
            bar.advance(name in drawn)
    first = next(iter(parts.values())).variant
    write_report(
        folder / PAGE,
        title=title,
        lead=(
            f"{first.images:,} images, {first.crops:,} crops: {first.same_pairs:,} pairs of one"
            f" image against {first.different_pairs:,} of two. {first.verdict}"
        ),
        headlines=_headlines(first),
        sections=[*sections, Section("What must be said beside", tuple(notes))]
        if notes
        else sections,
        footer=f"Made by vaeneer {version('vaeneer')}; docs/measuring.md explains each figure.",
    )
    return pictures


def _draw(folder: Path, name: str, part: Shown, found: CropVectors) -> list[Picture]:
    suffix = "" if name == "reference" else f"-{name}"
    panels = [
        Panel(key, answer.figures.title, answer.pairs, answer.separation)
        for key, answer in part.answers.items()
    ]
    both, curves = draw_similarity(panels, part.variant.images, folder, suffix=suffix)
    pictures = [
        Picture(both, "Shares of the pairs by cosine: the less the two overlap, the better."),
        Picture(
            curves,
            "How many same pairs a threshold accepts, for how many different ones it lets through."
            " On the right the strict end, where a large library is searched.",
        ),
    ]
    question, own = part.question, part.answers["embedding"].pairs
    for kind, pairs, scores, lowest, caption in (
        ("hardest", question.same, own.same, True, "Crops of one image with the lowest cosine"),
        ("confused", question.different, own.different, False, "Crops of two assets, the highest"),
    ):
        path = folder / f"{kind}{suffix}.png"
        places = hardest(pairs, scores, lowest=lowest)
        draw_pairs(path, found, pairs, scores, places, part.columns)
        pictures.append(
            Picture(path, f"{caption}, under the embedding: cosine and file.", half=True)
        )
    if name == "reference":
        paths = draw_reference_histograms(panels, folder)
        pictures += [Picture(path, path.stem.replace("-", " "), half=True) for path in paths]
    return pictures


def _sections(name: str, variant: SimilarityVariant, pictures: Sequence[Picture]) -> list[Section]:
    gap = " Crops 0 and 2 of each image ask, crops 1 and 3 answer." if "gap" in name else ""
    sizes = (
        f"{variant.gallery_size:,.0f} crops answer each query; by chance recall@1 is"
        f" {variant.chance['recall_at_1']:.4f} and ARR {variant.chance['arr']:.4f}.{gap}"
    )
    own = Section(
        _HEADINGS[name], tuple(filter(None, (variant.verdict, sizes))), table(variant), pictures
    )
    inside = variant.inside_category
    if inside is None:
        return [own]
    hard = Section(
        f"{_HEADINGS[name]}: only against the same category",
        tuple(
            filter(
                None,
                (
                    inside.verdict,
                    f"{inside.images:,} images of {inside.categories} categories, wood against"
                    f" wood; {inside.gallery_size:,.0f} crops answer each query.",
                ),
            )
        ),
        table(inside),
    )
    return [own, hard]


def table(variant: SimilarityVariant) -> Table:
    """One row for each representation, the best of each column marked."""
    rows, best = variant.representations, best_in_each_column(variant.representations)
    return Table(
        ("representation", *COLUMNS.values()),
        [(row.title, *(shown(row, column) for column in COLUMNS)) for row in rows.values()],
        best={
            (place, 1 + number)
            for number, column in enumerate(COLUMNS)
            for place, name in enumerate(rows)
            if name in best[column]
        },
    )


def _headlines(variant: SimilarityVariant) -> list[Headline]:
    rows, best = variant.representations, []
    own = rows["embedding"]
    for column in ("auc", "eer", "recall_at_1", "arr"):
        rivals = [row for name, row in rows.items() if name != "embedding"]
        rival = max(rivals, key=lambda row: (getattr(row, column)) * (-1 if column == "eer" else 1))
        beside = f"{rival.title}: {shown(rival, column)}"
        best.append(Headline(shown(own, column), f"{COLUMNS[column]} of the embedding", beside))
    return best
