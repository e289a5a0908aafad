"""demo(): what vaeneer is for on one page: index, search, duplicates, map, a short training."""

from __future__ import annotations

import io
import math
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.dataset import DataSet, open_data_set
from vaeneer.data.prepare import prepare
from vaeneer.data.synthetic.synthesize import synthesize
from vaeneer.demo_report import Found, Learnt, Question, write_page
from vaeneer.evaluation.evaluate import evaluate
from vaeneer.evaluation.similarity import similarity
from vaeneer.files import new_output_dir, write_bytes
from vaeneer.generate import reconstruct
from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.map.map import map as draw_map
from vaeneer.library.search.contact_sheet import write_sheet
from vaeneer.library.search.search import search
from vaeneer.progress import Progress, Silent
from vaeneer.provenance import kind_on_disk
from vaeneer.settings import (
    SEED,
    CountOrZero,
    MapSettings,
    PrepareSettings,
    SearchSettings,
    SimilaritySettings,
    TrainSettings,
    check,
)
from vaeneer.training.train import train

DEMO_SURFACES = 105
HITS = 8
CROPS_IN_TIME = 540  # what two cores train on in some 20 seconds
MODEL = "surface-base"
Pixels = NDArray[np.uint8]
COPIES = "downloads"
"""The folder of the planted copies."""
_THUMB_PX, _PHOTO_PX, _PIECE_PX = 128, 512, 320
_HUE_SHIFT = 96  # of 256
_PHOTO_SHARE, _PIECE_SHARE = 0.7, 0.6  # of the shorter side


@dataclass(frozen=True)
class DemoReport:
    """The short table at the end of a demo, and where everything lies."""

    images: int
    """Items of the library."""
    photo_match: str
    """Path of the first hit for a photo of one surface in another light."""
    photo_probability: float | None
    board_match: str
    """Path of the first hit for a box on a board of four surfaces."""
    board_probability: float | None
    duplicate_groups: int
    redundant_files: int
    clusters: int
    train_images: int
    valid_images: int
    epochs: int
    valid_excess_nats: float
    own_mean_colour_excess_nats: float | None
    psnr_db: float | None
    auc: float
    """Of the trained model, strict protocol, as the figures below."""
    recall_at_1: float
    surface_base_auc: float
    surface_base_recall_at_1: float
    rgb_histogram_auc: float
    rgb_histogram_recall_at_1: float
    seconds: float
    pictures: list[str]
    report: str
    open: str
    """The command that opens the page on what was made."""

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def demo(
    *,
    out: Path | str = "vaeneer-demo",
    data: Path | str | None = None,
    epochs: int = 0,
    seed: int = SEED,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DemoReport:
    """Index, search, find duplicates, draw the map, then train and measure a model.

    On procedural surfaces, or on a folder `data`, which is not changed. Everything is written below
    `out`; report.html in it shows the whole in one file. `epochs` 0 chooses as many as two cores
    train in about half a minute. Raises what those functions raise.
    """
    check("epochs", epochs, CountOrZero)
    progress = progress or Silent()
    started = time.monotonic()
    inputs = [Path(data)] if data else []
    root = new_output_dir(Path(out), kind="demonstration", overwrite=overwrite, inputs=inputs)
    raw = root / "raw" if data is None else Path(data)
    if data is None:
        raw_library(raw, count=DEMO_SURFACES, seed=seed, progress=progress)
    indexed = index(raw, library=root / "library", model=MODEL, progress=progress)
    with Library.open(root / "library") as library:
        progress.say("searching")
        photo = photo_of(library, root / "photo.jpg", seed)
        board = board_of(library, root / "board.jpg", seed)
        like = search(library, photo.path, settings=SearchSettings(k=HITS))
        part = search(library, board.path, box=board.box, settings=SearchSettings(k=HITS))
        write_sheet(root / "search.png", library, like)
        write_sheet(root / "search-box.png", library, part)
        copies = duplicates(
            library,
            out_csv=root / "duplicates.csv",
            out_html=root / "duplicates.html",
            progress=progress,
        )
        drawn = draw_map(library, out=root / "map.html", progress=progress)
        draw_map(library, out=root / "map.png", settings=MapSettings(), progress=progress)
        found = Found(raw, root, indexed, photo, like, board, part, copies, drawn)
        learnt = _learn(raw, root, seed, epochs, progress)
        page = root / "report.html"
        write_page(page, library, found, learnt, time.monotonic() - started)
    return _report(found, learnt, page, time.monotonic() - started)


def folders_to_serve(out: Path) -> list[Path]:
    """The library and the run of a demo in `out`; empty where there is no finished one."""
    made = kind_on_disk(out) == "demonstration" and (out / "report.html").is_file()
    return [out / "library", out / "run"] if made else []


def _learn(raw: Path, root: Path, seed: int, epochs: int, progress: Progress) -> Learnt:
    """Train on one side of the surfaces, measure on the other."""
    copies = (f"{COPIES}/",) if raw == root / "raw" else None  # else a test would know its answers
    settings = PrepareSettings(seed=seed, exclude=copies)
    prepare(raw, out=root / "data", settings=settings, progress=progress)
    sides = open_data_set(root / "data")
    chosen = TrainSettings(seed=seed, epochs=epochs or _fitting_epochs(sides))
    trained = train(root / "data", out=root / "run", settings=chosen, progress=progress)
    valid = root / "data" / "valid"
    strict = SimilaritySettings(protocol="strict", seed=seed)
    compared = similarity(
        root / "run", valid, out=root / "similarity", settings=strict, progress=progress
    )
    alone = SimilaritySettings(protocol="strict", seed=seed, baselines="off")
    return Learnt(
        sides=sides,
        trained=trained,
        evaluated=evaluate(root / "run", valid, out=root / "evaluation", progress=progress),
        compared=compared,
        base=similarity(MODEL, valid, settings=alone, progress=progress),
        reconstructions=Path(
            reconstruct(root / "run", [valid], out=root / "reconstructions.png").picture
        ),
    )


def _fitting_epochs(sides: DataSet) -> int:
    return max(1, math.floor(CROPS_IN_TIME / (2 * len(sides.train))))


def _report(found: Found, learnt: Learnt, page: Path, seconds: float) -> DemoReport:
    evaluated, rows = learnt.evaluated, learnt.compared.representations
    like, part, base = found.like.hits, found.part.hits, learnt.base.representations["embedding"]
    drawn = [found.root / name for name in ("search.png", "search-box.png", "map.png")]
    return DemoReport(
        images=found.indexed.images,
        photo_match=like[0].path if like else "",
        photo_probability=like[0].probability if like else None,
        board_match=part[0].path if part else "",
        board_probability=part[0].probability if part else None,
        duplicate_groups=found.copies.total_groups,
        redundant_files=found.copies.redundant_files,
        clusters=found.drawn.clusters,
        train_images=len(learnt.sides.train),
        valid_images=len(learnt.sides.valid),
        epochs=learnt.trained.epochs,
        valid_excess_nats=evaluated.excess_nats,
        own_mean_colour_excess_nats=evaluated.trivial_excess_nats["own_mean"],
        psnr_db=evaluated.metrics["psnr_db"],
        auc=rows["embedding"].auc,
        recall_at_1=rows["embedding"].recall_at_1,
        surface_base_auc=base.auc,
        surface_base_recall_at_1=base.recall_at_1,
        rgb_histogram_auc=rows["rgb_histogram"].auc,
        rgb_histogram_recall_at_1=rows["rgb_histogram"].recall_at_1,
        seconds=seconds,
        pictures=[
            *map(str, drawn),
            str(learnt.reconstructions),
            *learnt.trained.pictures,
            *evaluated.pictures,
            *learnt.compared.pictures,
        ],
        report=str(page),
        open=f"vaeneer demo --open --out {shlex.quote(str(found.root))}",
    )


def _half(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)


def _part(picture: Image.Image) -> Image.Image:
    wide, high = picture.size
    return picture.crop((wide // 5, high // 4, 4 * wide // 5, 3 * high // 4))


def _other_colours(picture: Image.Image) -> Image.Image:
    values = np.array(picture.convert("HSV"))
    values[..., 0] += np.uint8(_HUE_SHIFT)  # wraps around, as hue does
    return Image.fromarray(values, "HSV").convert("RGB")


_CHANGES: tuple[tuple[str, Callable[[Image.Image], Image.Image], dict[str, Any]], ...] = (
    (" (1).png", lambda picture: picture, {}),
    ("_small.jpg", _half, {"quality": 90}),
    ("_web.jpg", lambda picture: picture, {"quality": 45}),
    ("_turned.jpg", lambda picture: picture.transpose(Image.Transpose.ROTATE_90), {"quality": 95}),
    ("_part.jpg", _part, {"quality": 95}),
    ("_recoloured.jpg", _other_colours, {"quality": 95}),
)
"""End of a copy's name, what was done to the picture, how it is saved."""


def raw_library(folder: Path, *, count: int, seed: int, progress: Progress) -> None:
    """Write procedural surfaces with maps and side-cars, a thumbnail of each, and planted copies.

    The copies lie in `COPIES`: the same pixels, smaller, compressed, turned, cut, recoloured.
    """
    albedos = synthesize(folder, count=count, seed=seed, progress=progress)
    thumbs = {path.parent for path in albedos}
    for asset in sorted(thumbs):
        new_output_dir(asset / "thumbs", kind=None)
    for path in albedos:
        with Image.open(path) as picture:
            small = picture.resize((_THUMB_PX, _THUMB_PX), Image.Resampling.LANCZOS)
        _write(small, path.parent / "thumbs" / f"{path.stem}.jpg", quality=85)
    copies = new_output_dir(folder / COPIES, kind=None)
    chosen = _spread(len(albedos), len(_CHANGES))
    for number, (end, change, options) in zip(chosen, _CHANGES, strict=True):
        with Image.open(albedos[number]) as picture:
            copy = change(picture.convert("RGB"))
        _write(copy, copies / f"{albedos[number].parent.name}{end}", **options)


def photo_of(library: Library, path: Path, seed: int) -> Question:
    """Write a picture of one surface in another light, cut and turned, as a camera might see it."""
    rng = np.random.default_rng(seed)
    items = library.items()
    item = items[len(items) // 20]
    seen = _seen(library.picture(item), _PHOTO_SHARE, _PHOTO_PX, rng)
    _write(Image.fromarray(seen), path, quality=92)
    return Question(path, item.path)


def board_of(library: Library, path: Path, seed: int) -> Question:
    """Write a board of four surfaces in other light, side by side; the box marks the first."""
    rng = np.random.default_rng(seed + 1)
    items = library.items()
    chosen = [items[number] for number in _spread(len(items), 4)]
    board = Image.new("RGB", (2 * _PIECE_PX, 2 * _PIECE_PX))
    for place, item in enumerate(chosen):
        piece = _seen(library.picture(item), _PIECE_SHARE, _PIECE_PX, rng)
        board.paste(Image.fromarray(piece), (place % 2 * _PIECE_PX, place // 2 * _PIECE_PX))
    _write(board, path, quality=92)
    edge = _PIECE_PX // 16
    box = (edge, edge, _PIECE_PX - 2 * edge, _PIECE_PX - 2 * edge)
    return Question(path, chosen[0].path, box)


def _seen(picture: Image.Image, share: float, side_px: int, rng: np.random.Generator) -> Pixels:
    """A square of a picture, cut at random, turned by a quarter, with other exposure and colour."""
    side = max(1, round(share * min(picture.size)))
    left, top = (int(rng.integers(0, most - side + 1)) for most in picture.size)
    cut = picture.convert("RGB").crop((left, top, left + side, top + side))
    turned = cut.resize((side_px, side_px), Image.Resampling.BICUBIC).transpose(
        Image.Transpose.ROTATE_90
    )
    light = (np.asarray(turned, np.float32) / 255) ** rng.uniform(0.75, 1.3)
    light *= rng.uniform(0.85, 1.1, 3) * rng.uniform(0.8, 1.05)
    return np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)


def _write(picture: Image.Image, path: Path, **options: Any) -> None:
    """Write a picture that is a surface, so one that does not name vaeneer as its software."""
    stream = io.BytesIO()
    picture.save(stream, "PNG" if path.suffix == ".png" else "JPEG", **options)
    write_bytes(path, stream.getvalue())


def _spread(count: int, most: int) -> list[int]:
    """`most` numbers below `count`, as far from each other as can be."""
    return [int((place + 0.5) * count / most) for place in range(most)]
