"""What the demo's HTML report says, section by section: pictures first, figures after."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from vaeneer.data.dataset import DataSet
from vaeneer.data.images import read_rgb
from vaeneer.errors import ImageFileError
from vaeneer.evaluation.evaluate import EvaluationReport
from vaeneer.evaluation.pairs import SimilarityFigures
from vaeneer.evaluation.report import Picture, Row, Section, Table, Tile, write_report
from vaeneer.evaluation.representations import OWN
from vaeneer.evaluation.similarity import SimilarityReport
from vaeneer.library.catalog import PixelBox
from vaeneer.library.duplicates.html import TITLES
from vaeneer.library.duplicates.report import DuplicateGroup, DuplicateItem, DuplicatesReport
from vaeneer.library.index.index import IndexReport
from vaeneer.library.library import Library
from vaeneer.library.map.map import MapReport
from vaeneer.library.search.search import Hit, SearchReport
from vaeneer.storage import in_words
from vaeneer.text import matches_in_words, printable
from vaeneer.training.train import TrainReport

_SHOWN_SURFACES, _SHOWN_GROUPS, _SHOWN_COPIES = 12, 8, 4
_LARGE_PX = 512


@dataclass(frozen=True)
class Question:
    """A picture to search for that is not in the library."""

    path: Path
    made_of: str
    """Path of the item that is searched for, below the library's folder of images."""
    box: PixelBox | None = None


@dataclass(frozen=True)
class Found:
    """What the library of a demo gave: its index, two searches, duplicates and the map."""

    raw: Path
    root: Path
    indexed: IndexReport
    photo: Question
    like: SearchReport
    board: Question
    part: SearchReport
    copies: DuplicatesReport
    drawn: MapReport


@dataclass(frozen=True)
class Learnt:
    """What the training of a demo gave, and the bundled model on the same crops."""

    sides: DataSet
    trained: TrainReport
    evaluated: EvaluationReport
    compared: SimilarityReport
    base: SimilarityReport
    reconstructions: Path


def write_page(path: Path, library: Library, found: Found, learnt: Learnt, seconds: float) -> Path:
    """Write the report of a demo as one HTML file; returns `path`."""
    images = found.indexed.images
    return write_report(
        path,
        title=f"{images:,} surfaces: search, duplicates, map, training",
        lead=(
            "Everything below was made by one command on this machine, in"
            f" {seconds / 60:,.1f} minutes, without a network connection. Pictures first, figures"
            " at the end."
        ),
        headlines=(),
        sections=(
            _library_section(library, found),
            _photo_section(library, found),
            _board_section(library, found),
            _duplicates_section(library, found),
            _map_section(found),
            _training_section(found, learnt),
            _figures_section(found, learnt),
            _open_section(found),
        ),
        footer=f"vaeneer {version('vaeneer')}. All files are in {found.root.absolute()}.",
    )


def _command(*words: object) -> str:
    return shlex.join(map(str, words))


def _library_section(library: Library, found: Found) -> Section:
    items = library.items()
    numbers = np.linspace(0, len(items) - 1, min(len(items), _SHOWN_SURFACES)).round()
    tiles = [
        Tile(library.thumbnail_image(items[int(n)]), items[int(n)].name or items[int(n)].asset)
        for n in numbers
    ]
    passed = ", ".join(f"{count:,} {reason}" for reason, count in found.indexed.left_out.items())
    return Section(
        "The library",
        (
            f"{found.indexed.images:,} images of {found.indexed.assets:,} assets, indexed by the"
            " model that comes with vaeneer; no training is needed for what follows."
            + (f" Recognized and not searched: {passed}." if passed else ""),
        ),
        rows=(Row("Some of the surfaces", "", tiles),),
        command=_command("vaeneer", "index", found.raw, "--library", found.root / "library"),
    )


def _photo_section(library: Library, found: Found) -> Section:
    return Section(
        "Search with a photo",
        (
            f"The photo shows {found.photo.made_of}: another section, rotated, in another light."
            " It is not in the library.",
        ),
        rows=_search_rows(library, found.photo, found.like),
        command=_command(
            "vaeneer", "search", found.root / "library", found.photo.path,
            "--sheet", found.root / "search.png",
        ),
    )  # fmt: skip


def _board_section(library: Library, found: Found) -> Section:
    box = ",".join(map(str, found.board.box or ()))
    return Section(
        "Search with a part of a picture",
        (
            "A box on a board of four surfaces. Each result shows where in it the match is."
            f" The box shows {found.board.made_of}.",
        ),
        rows=_search_rows(library, found.board, found.part),
        command=_command(
            "vaeneer", "search", found.root / "library", found.board.path, "--box", box,
            "--sheet", found.root / "search-box.png",
        ),
    )  # fmt: skip


def _search_rows(library: Library, question: Question, report: SearchReport) -> list[Row]:
    picture = read_rgb(question.path)
    boxes = [_shares(question.box, picture.size)] if question.box else []
    query = Tile(picture, question.path.name, "not in the library", "query", "query", boxes)
    hits = [_hit(library, number, hit) for number, hit in enumerate(report.hits, 1)]
    return [Row("Query and results", matches_in_words(report.matches), [query, *hits])]


def _hit(library: Library, number: int, hit: Hit) -> Tile:
    boxes = [_shares(hit.box, (hit.width_px, hit.height_px))] if hit.box else []
    sure = "" if hit.probability is None else f"probability {hit.probability:.0%}"
    return Tile(
        _picture(library, hit.id),
        f"{number}. {hit.name or printable(PurePath(hit.path).name)}",
        ", ".join(filter(None, (hit.category or "", sure))),
        "" if hit.match in (None, "similar") else f"{hit.match} match",
        boxes=boxes,
    )


def _shares(box: PixelBox, size_px: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box in pixels as shares of the picture, cut to it."""
    left, top, width, height = (
        value / whole for value, whole in zip(box, size_px * 2, strict=True)
    )
    return max(left, 0), max(top, 0), min(width, 1 - max(left, 0)), min(height, 1 - max(top, 0))


def _picture(library: Library, number: int) -> Image.Image:
    try:
        return library.thumbnail_image(library.item(number))
    except ImageFileError:
        return Image.new("RGB", (256, 256), (128, 128, 128))


def _duplicates_section(library: Library, found: Found) -> Section:
    report = found.copies
    kinds = ", ".join(
        f"{TITLES[kind].lower()} {count:,}"
        for kind, count in report.groups_by_kind.items()
        if count
    )
    if report.groups:
        said = (
            f"{report.total_groups:,} groups ({kinds}): {report.redundant_files:,} redundant files"
            f" ({in_words(report.redundant_bytes)}). Nothing is changed or deleted; the file to"
            " keep has a green frame."
        )
    else:
        said = "No duplicates were found."
    return Section(
        "Duplicates",
        (said,),
        rows=[_group(library, group) for group in report.groups[:_SHOWN_GROUPS]],
        command=_command(
            "vaeneer",
            "duplicates",
            found.root / "library",
            "--html",
            found.root / "duplicates.html",
        ),
    )


def _group(library: Library, group: DuplicateGroup) -> Row:
    keep, *others = group.items
    boxes = [_shares(item.box, (keep.width_px, keep.height_px)) for item in others if item.box]
    return Row(
        TITLES[group.kind],
        f"{group.confidence:.0%} alike",
        [
            _member(library, keep, "keep", boxes),
            *(_member(library, item, "", ()) for item in others[:_SHOWN_COPIES]),
        ],
    )


def _member(
    library: Library,
    item: DuplicateItem,
    mark: str,
    boxes: Sequence[tuple[float, float, float, float]],
) -> Tile:
    size = f"{item.width_px:,} x {item.height_px:,} px, {in_words(item.size_bytes)}"
    return Tile(
        _picture(library, item.id),
        printable(item.path),
        ", ".join(filter(None, (item.change, size))),
        mark,
        "first" if mark else "",
        boxes,
    )


def _map_section(found: Found) -> Section:
    return Section(
        "The map",
        (
            f"Similar surfaces are close together, in {found.drawn.clusters:,} clusters. map.html"
            " is the same map to zoom and to search, in one file.",
        ),
        pictures=(Picture(found.root / "map.png", "The whole library, by similarity."),),
        command=_command(
            "vaeneer", "map", found.root / "library", "--out", found.root / "map.html"
        ),
    )


def _training_section(found: Found, learnt: Learnt) -> Section:
    trained = learnt.trained
    return Section(
        "A model of your own",
        (
            f"Trained from scratch by the recipe surface, {trained.epochs} epochs on"
            f" {len(learnt.sides.train):,} surfaces, {trained.seconds:,.0f} seconds of training"
            f" steps. The {len(learnt.sides.valid):,} surfaces below were not used for training.",
        ),
        pictures=(
            Picture(
                learnt.reconstructions,
                "Surfaces, and below each what the model reconstructs from 640 latents; fine detail"
                " is lost.",
            ),
        ),
        command=_command(
            "vaeneer", "train", found.root / "data", "--out", found.root / "run",
            "--epochs", trained.epochs,
        ),
    )  # fmt: skip


def _figures_section(found: Found, learnt: Learnt) -> Section:
    rows = {"this training": learnt.compared.representations["embedding"]}
    rows["surface-base, comes with vaeneer"] = learnt.base.representations["embedding"]
    for name, row in learnt.compared.representations.items():
        if name not in OWN:
            rows[row.title] = row
    best = max(row.auc for row in rows.values())
    return Section(
        "The figures",
        (
            "Strict protocol: four disjoint crops of each surface that was not used for training,"
            " rotated, rescaled and relit; each searches for the others among all crops."
            f" {verdict(learnt.compared.representations, learnt.base.representations)}",
            _pixels(learnt.evaluated),
        ),
        Table(
            ("representation", "AUC", "EER", "recall@1", "ARR"),
            [
                (name, *(f"{value:.4f}" for value in (row.auc, row.eer, row.recall_at_1, row.arr)))
                for name, row in rows.items()
            ],
            best={(place, 1) for place, row in enumerate(rows.values()) if row.auc == best},
        ),
        _charts(found),
        command=_command(
            "vaeneer", "similarity", found.root / "run", found.root / "data" / "valid",
            "--protocol", "strict",
        ),
    )  # fmt: skip


def _charts(found: Found) -> list[Picture]:
    charts = (
        ("similarity/roc-photometric.png", "True matches against false ones, strict protocol."),
        ("run/plots/validation.png", "Loss on surfaces that were not used for training."),
    )
    return [Picture(found.root / path, caption, half=True) for path, caption in charts]


def verdict(
    rows: Mapping[str, SimilarityFigures], base_rows: Mapping[str, SimilarityFigures]
) -> str:
    """Whether the trained model is ahead by AUC; else surface-base beside it, in one sentence."""
    rival = max((row for name, row in rows.items() if name not in OWN), key=lambda row: row.auc)
    own, base = rows["embedding"].auc, base_rows["embedding"].auc
    if own >= rival.auc:
        return (
            f"This short training is ahead of every baseline (AUC {own:.4f}; {rival.title}"
            f" {rival.auc:.4f})."
        )
    return (
        f"This training is too short: {rival.title} has AUC {rival.auc:.4f}, this model {own:.4f};"
        f" surface-base, which comes with vaeneer, has {base:.4f}."
    )


def _pixels(found: EvaluationReport) -> str:
    """How well the model describes pixels, beside one colour for each image."""
    flat = found.trivial_excess_nats["own_mean"] or 0.0
    ahead = "better than" if found.excess_nats < flat else "worse than"
    psnr = (
        ""
        if (psnr_db := found.metrics["psnr_db"]) is None
        else f" The reconstructions have a PSNR of {psnr_db:.1f} dB."
    )
    return (
        f"The model describes pixels {ahead} one flat colour per image:"
        f" {found.excess_nats:,.0f} nats above the minimum, the flat colour {flat:,.0f}.{psnr}"
    )


def _open_section(found: Found) -> Section:
    opened = _command("vaeneer", "serve", found.root / "library", found.root / "run", "--open")
    return Section(
        "Open it",
        (
            "This command opens the library and the training in the browser: search with a drawn"
            " box, the map, duplicates, the curves. vaeneer demo --open does the same.",
        ),
        command=opened,
    )
