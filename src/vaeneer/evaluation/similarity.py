"""Whether crops of one image lie closer together than crops of two, and find each other.

Two protocols. `reference`: pairs of overlapping random-resized crops, as feature_similarity.py
draws them. `strict`: four disjoint crops of each image, turned, rescaled, relit or not, with or
without a scale gap. On the same crops stand the embedding, the latents, and baselines that
nobody had to train. docs/measuring.md explains both, and the figures.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from vaeneer.data.dataset import ImageFolder, ImageItem, open_folder
from vaeneer.data.decode_worker import SOURCE_SIDE_PX
from vaeneer.data.pixel_cache import PackLayout, open_pack
from vaeneer.device import describe_device
from vaeneer.errors import DataError
from vaeneer.evaluation.pairs import (
    Comparison,
    PairSample,
    Scores,
    SimilarityFigures,
    SimilarityVariant,
    category_numbers,
    chances,
    mean_gallery_size,
    sample_pairs,
    score,
)
from vaeneer.evaluation.report import PAGE, Shown, colour_note, verdict, write_similarity_page
from vaeneer.evaluation.representations import (
    STRICT_COLUMNS_OF,
    TITLES,
    CropVectors,
    Representations,
    Vectors,
    describe_reference_crops,
    describe_strict_crops,
    reference_comparison,
    strict_comparison,
)
from vaeneer.files import new_output_dir, write_json
from vaeneer.model.embedder import Embedder
from vaeneer.progress import Bar, Progress, Silent
from vaeneer.settings import SimilaritySettings

_MOST_PAIRS = {"reference": 20_000, "strict": 500_000}
STRICT_VARIANTS = tuple(STRICT_COLUMNS_OF)


@dataclass(frozen=True)
class SimilarityReport:
    """The figures of every representation on the same crops of one folder.

    Of the strict protocol, `representations` and what belongs to it are those of `photometric`.
    """

    model: str
    folder: str
    protocol: str
    images: int
    assets: int
    crops: int
    """Crops of all images together, of one variant."""
    rounds: int | None
    """Pairs of crops drawn from each image; None in the strict protocol."""
    seed: int
    same_pairs: int
    different_pairs: int
    gallery_size: float
    """Mean gallery size per query."""
    chance: dict[str, float]
    """What random vectors reach, by figure."""
    chance_recall_at_1: float
    representations: dict[str, SimilarityFigures]
    """By name, see TITLES; centred only where the model knows its centre."""
    inside_category: SimilarityVariant | None
    verdict: str
    photometric: SimilarityVariant | None
    """The strict protocol's variants; None in the other protocol."""
    plain: SimilarityVariant | None
    photometric_scale_gap: SimilarityVariant | None
    plain_scale_gap: SimilarityVariant | None
    notes: list[str]
    device: str
    """What computed, and in which precision."""
    skipped: dict[str, str]
    """Files that could not be read, with the reason."""
    pictures: list[str]
    page: str | None
    """One HTML file with the tables and the pictures; None without `out`."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object; every number in it is finite."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values["representations"] = {k: v.to_dict() for k, v in self.representations.items()}
        for name in ("inside_category", *STRICT_VARIANTS):
            values[name] = values[name].to_dict() if values[name] else None
        return values


def similarity(
    model: Path | str,
    folder: Path | str,
    *,
    out: Path | str | None = None,
    settings: SimilaritySettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SimilarityReport:
    """Compare crops of one image with crops of two, under a model and under plain descriptors.

    model: the name of a bundled model, a model folder, or a run (its best model). With `out`,
    similarity.json, similarity.html and the pictures go there. The figures depend on the seed, the
    model and the files alone, not on `batch_size`.
    Raises ModelFileError, DataError (fewer than two assets), OutputExistsError or SettingsError.
    """
    settings = settings or SimilaritySettings()
    progress = progress or Silent()
    started = time.monotonic()
    embedder = Embedder(
        model,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
    )
    files = open_folder(folder, all_maps=settings.all_maps, progress=progress)
    _check_assets(files.items, folder, len(files))
    representations = Representations(embedder, seed=settings.seed)
    if settings.baselines == "on":
        representations.add_baselines(model, settings.whitened)
    target = None if out is None else Path(out)
    if target is not None:
        inputs = [Path(model), Path(folder)]
        new_output_dir(target, kind="similarity", overwrite=overwrite, inputs=inputs)
    found = _describe(representations, files, settings, progress)
    _check_assets(found.items, folder, len(files))
    shown = _compare(found, settings, progress)
    variants = {name: part.variant for name, part in shown.items()}
    notes = [*representations.notes, *_notes(variants)]
    pictures: list[Path] = []
    if target:
        title = f"{model} on {folder}: the {settings.protocol} protocol"
        pictures = write_similarity_page(target, title, shown, notes, found, progress)
    report = SimilarityReport(
        **_of_the_whole(variants, settings),
        model=str(model),
        folder=str(folder),
        notes=notes,
        device=describe_device(embedder.device, embedder.precision.name),
        skipped={str(error.path): error.reason for error in found.skipped},
        pictures=[str(picture) for picture in pictures],
        page=str(target / PAGE) if target else None,
        seconds=time.monotonic() - started,
    )
    if target:
        write_json(target / "similarity.json", report.to_dict())
    return report


def _describe(
    representations: Representations,
    files: ImageFolder,
    settings: SimilaritySettings,
    progress: Progress,
) -> CropVectors:
    if settings.protocol == "reference":
        return describe_reference_crops(representations, files.items, settings, progress)
    layout = PackLayout(SOURCE_SIDE_PX)
    pack = open_pack(files, layout, cache=settings.cache, progress=progress)
    return describe_strict_crops(representations, pack, settings, progress)


def _of_the_whole(
    variants: Mapping[str, SimilarityVariant], settings: SimilaritySettings
) -> dict[str, Any]:
    """What the report says of the crops: the first variant's figures, and all variants."""
    first = next(iter(variants.values()))
    return {
        "protocol": settings.protocol,
        "images": first.images,
        "assets": first.assets,
        "crops": first.crops,
        "rounds": settings.pairs_per_image if settings.protocol == "reference" else None,
        "seed": settings.seed,
        "same_pairs": first.same_pairs,
        "different_pairs": first.different_pairs,
        "gallery_size": first.gallery_size,
        "chance": first.chance,
        "chance_recall_at_1": first.chance["recall_at_1"],
        "representations": first.representations,
        "inside_category": first.inside_category,
        "verdict": first.verdict,
        **{name: variants.get(name) for name in STRICT_VARIANTS},
    }


def _check_assets(items: Sequence[ImageItem], folder: Path | str, files: int) -> None:
    assets = len({item.asset for item in items})
    if assets < 2:
        raise DataError(
            f"{folder} gives {len(items)} readable images (of {files} files) of {assets} assets;"
            " similarity compares at least two assets: name a folder with more of them."
        )


def _compare(
    found: CropVectors, settings: SimilaritySettings, progress: Progress
) -> dict[str, Shown]:
    """Every variant with its figures, and what its pictures are drawn from."""
    if settings.protocol == "reference":
        plan = {
            "reference": (
                reference_comparison(settings.pairs_per_image),
                tuple(range(2 * settings.pairs_per_image)),
            )
        }
    else:
        plan = {
            name: (strict_comparison(name), columns) for name, columns in STRICT_COLUMNS_OF.items()
        }
    inside = np.flatnonzero(category_numbers(found.items) >= 0)
    total = len(plan) * len(found.vectors) * (2 if inside.size else 1)
    shown = {}
    with progress.bar("figures and intervals", total=total, unit="representations") as bar:
        for name, (comparison, columns) in plan.items():
            vectors = {key: rows[:, list(columns)] for key, rows in found.vectors.items()}
            hard = None
            if inside.size:
                some = {key: rows[inside] for key, rows in vectors.items()}
                items = [found.items[place] for place in inside]
                question = _question(items, comparison, settings, inside=True)
                hard = _variant(items, question, _answers(some, question, bar), settings)
            question = _question(found.items, comparison, settings)
            answers = _answers(vectors, question, bar)
            variant = _variant(found.items, question, answers, settings, hard)
            shown[name] = Shown(variant, answers, question, columns)
    return shown


def _question(
    items: Sequence[ImageItem],
    comparison: Comparison,
    settings: SimilaritySettings,
    *,
    inside: bool = False,
) -> PairSample:
    return sample_pairs(
        items,
        comparison,
        limit=settings.different_pairs or _MOST_PAIRS[settings.protocol],
        resamples=settings.bootstrap,
        seed=settings.seed,
        inside=inside,
    )


def _answers(vectors: Mapping[str, Vectors], question: PairSample, bar: Bar) -> dict[str, Scores]:
    found = {}
    for name, rows in vectors.items():
        found[name] = score(TITLES[name], rows, question)
        bar.advance(note=TITLES[name])
    return found


def _variant(
    items: Sequence[ImageItem],
    question: PairSample,
    answers: Mapping[str, Scores],
    settings: SimilaritySettings,
    inside_category: SimilarityVariant | None = None,
) -> SimilarityVariant:
    figures = {name: found.figures for name, found in answers.items()}
    return SimilarityVariant(
        protocol=settings.protocol,
        images=len(items),
        assets=len({item.asset for item in items}),
        crops=len(items) * question.comparison.crops,
        same_pairs=len(question.same),
        different_pairs=len(question.different),
        gallery_size=mean_gallery_size(question),
        categories=None if question.groups is None else len(np.unique(question.groups)),
        chance=chances(question),
        representations=figures,
        verdict=verdict(figures),
        inside_category=inside_category,
    )


def _notes(variants: Mapping[str, SimilarityVariant]) -> list[str]:
    """What colour alone achieves, said once for each variant where it matters."""
    found = {name: colour_note(variant.representations) for name, variant in variants.items()}
    alone = len(variants) == 1
    return [note if alone else f"{name}: {note}" for name, note in found.items() if note]
