"""similarity.html: every table and picture of a comparison in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from vaeneer.measuring.crop_vectors import CropVectors
from vaeneer.measuring.pair_pictures import draw_pairs, hardest
from vaeneer.measuring.report import Headline, Picture, Section, Table, write_report
from vaeneer.measuring.similarity_figures import Answer, Question, SimilarityVariant
from vaeneer.measuring.similarity_plots import Panel, draw_reference_histograms, draw_similarity
from vaeneer.measuring.verdict import COLUMNS, best_in_each_column, shown
from vaeneer.progress import Progress

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
class Shown:
    """One variant with what its pictures are drawn from."""

    variant: SimilarityVariant
    answers: dict[str, Answer]
    question: Question
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
