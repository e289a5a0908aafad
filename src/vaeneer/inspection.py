"""info(): what a folder is (library, data set, run, model), and what there is to know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vaeneer.data.cache_files import cache_limit, cached_packs, users_cache
from vaeneer.data.dataset import open_data_set, open_folder
from vaeneer.errors import DataError, VaeneerError
from vaeneer.evaluation.per_image import diagnose
from vaeneer.files import read_json
from vaeneer.library.catalog import NAME as CATALOG
from vaeneer.library.catalog import Catalog
from vaeneer.library.library_folders import find_library
from vaeneer.model.bundled_models import bundled_model, bundled_names
from vaeneer.model.checkpoint import read_card, readout_facts
from vaeneer.model.vae import ModelCard
from vaeneer.settings import read_sections
from vaeneer.training.run_folder import RunFolder, RunState, planned_epochs, read_metrics

JsonObject = dict[str, object]
"""What a file of vaeneer says, field by field as in docs/formats.md."""
_MOST = 50  # rows of a list


@dataclass(frozen=True)
class _Facts:
    def to_dict(self) -> dict[str, Any]:
        """All fields as one JSON object."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class StatsReport(_Facts):
    """A library in numbers."""

    library: str
    folder: str
    model: str
    images: int
    offline: int
    """Images whose folder was not there when the library was last indexed."""
    assets: int
    maps: dict[str, int]
    """Other maps beside the colour images, by kind."""
    skipped: int
    """Files that could not be read; errors.csv has them."""
    left_out: dict[str, int]
    """Reason -> number of files that were not looked at; errors.csv has those that are pictures."""
    categories: dict[str, int]
    """Images of each, the most first, at most 50; the empty name is those without."""
    tags: dict[str, int]
    """Images with each, the most first, at most 50."""
    formats: dict[str, int]
    sides_px: dict[str, int]
    """The smallest, the median and the largest short side."""
    equal_files: int
    """Images whose bytes another one has too."""
    images_bytes: int
    library_bytes: int
    vectors: int
    """Of whole images and of their parts."""
    dimensions: int
    smallest_parts: str
    parts_pending: int
    """Images whose smallest parts are still to be embedded; `vaeneer index` goes on with them."""
    revision: int
    """Counts up whenever vectors, names or tags change."""


def stats(library: Path | str | None = None) -> StatsReport:
    """Count what a library holds.

    library: its folder, or the folder that was indexed; None as in `Library.open`. Raises
    LibraryError when there is none.
    """
    folder = find_library(library)
    catalog = Catalog.open(folder)
    try:
        images = _number(catalog, "count(*) FROM items WHERE embedded")
        distinct = _number(catalog, "count(DISTINCT sha256) FROM items WHERE embedded")
        return StatsReport(
            library=str(folder),
            folder=str(catalog.root),
            model=catalog.require_meta("model"),
            images=images,
            offline=_number(catalog, "count(*) FROM items WHERE embedded AND offline"),
            assets=_number(catalog, "count(DISTINCT asset) FROM items WHERE embedded"),
            maps=_counts(catalog, "kind, count(*) FROM maps"),
            skipped=_number(catalog, "count(*) FROM failures"),
            left_out=catalog.left_out(),
            categories=_counts(catalog, "ifnull(category, ''), count(*) FROM item_facts"),
            tags=_counts(
                catalog,
                "value, count(*) FROM metadata JOIN item_facts USING (asset) WHERE key = 'tag'",
            ),
            formats=_counts(catalog, "format, count(*) FROM item_facts"),
            sides_px=_sides(catalog, images),
            equal_files=images - distinct,
            images_bytes=_number(catalog, "ifnull(sum(bytes), 0) FROM item_facts"),
            library_bytes=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
            vectors=_number(catalog, "count(*) FROM crops"),
            dimensions=catalog.dimensions,
            smallest_parts=catalog.require_meta("parts"),
            parts_pending=catalog.parts_pending,
            revision=catalog.generation,
        )
    finally:
        catalog.close()


def _number(catalog: Catalog, what: str) -> int:
    return int(catalog.execute(f"SELECT {what}").fetchone()[0])


def _counts(catalog: Catalog, what: str) -> dict[str, int]:
    sql = f"SELECT {what} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST}"
    return {str(name): int(count) for name, count in catalog.execute(sql)}


def _sides(catalog: Catalog, images: int) -> dict[str, int]:
    sql = "min(width, height) AS side FROM item_facts ORDER BY side LIMIT 1 OFFSET"
    places = {"smallest": 0, "median": images // 2, "largest": images - 1}
    return {name: _number(catalog, f"{sql} {at}") for name, at in places.items()} if images else {}


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """Figures of a run with at least one epoch."""

    diagnosis: str
    """One line on whether the latents are in use, with a remedy where they are not."""
    best_epoch: int
    best_valid: JsonObject
    """Validation figures of the best epoch, as in metrics.jsonl."""
    last_train: JsonObject
    """Training figures of the last epoch, as in metrics.jsonl."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunFacts(_Facts):
    """What there is to know of a run."""

    data: str | None
    train_images: int | None
    valid_images: int | None
    device: str | None
    epochs: int
    planned_epochs: int | None
    state: RunState
    figures: RunFigures | None = None
    """None before the first epoch ends."""

    def to_dict(self) -> dict[str, Any]:
        """The facts as one JSON object, the figures among them."""
        facts = asdict(self)
        return facts | (facts.pop("figures") or {})


@dataclass(frozen=True)
class RunLine:
    """One run of a folder of runs."""

    name: str
    recipe: str | None
    state: RunState
    epochs: int
    planned_epochs: int | None
    best_epoch: int | None
    best_valid_nats: float | None
    """Validation loss of the best epoch, nats per image."""
    updated: str | None
    """When its last epoch ended, ISO 8601 in UTC."""


@dataclass(frozen=True)
class RunsFacts(_Facts):
    """The runs directly below a folder, by name."""

    runs: list[RunLine]


@dataclass(frozen=True)
class ModelFacts(_Facts):
    """What there is to know of a model."""

    card: ModelCard
    readout: JsonObject | None
    """What readout.json says, without its long lists."""

    def to_dict(self) -> dict[str, Any]:
        """The facts as one JSON object, the fields of the card among them."""
        card = asdict(self.card)
        mean = "known" if card.pop("latent_mean") else "not known"
        readout = self.readout or "none (vaeneer calibrate fits one)"
        return {**card, "latent_mean": mean, "readout": readout}


@dataclass(frozen=True, kw_only=True)
class DataSetFacts(_Facts):
    """What there is to know of a data set."""

    train_images: int
    valid_images: int
    train_assets: int
    valid_assets: int
    categories: dict[str, int] | None
    """Images of each, the most first; None where no image has one."""
    report: str | None
    """Where the report of `prepare` is."""

    def to_dict(self) -> dict[str, Any]:
        """The facts as one JSON object, without those that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Pack:
    """One file of decoded images."""

    bytes: int
    last_used: str
    """ISO 8601 in UTC."""


@dataclass(frozen=True)
class CacheFacts(_Facts):
    """The packs of decoded images below a folder of `--cache`, or the user's."""

    bytes: int
    max_bytes: int | None
    """Of the user's cache."""
    packs: dict[str, Pack]
    """Path below the folder -> pack."""


@dataclass(frozen=True)
class ImagesFacts(_Facts):
    """What there is to know of a folder of images."""

    images: int
    assets: int
    other_maps: int
    """Normal maps, roughness and the like, which are left out."""


Facts = RunFacts | StatsReport | ModelFacts | DataSetFacts | RunsFacts | CacheFacts | ImagesFacts


@dataclass(frozen=True)
class InfoReport:
    """What a path is, and what there is to know of it."""

    path: str
    kind: str
    """model, run, runs, library, data set, cache or images."""
    facts: Facts

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return {"path": self.path, "kind": self.kind, "facts": self.facts.to_dict()}


def info(path: Path | str) -> InfoReport:
    """Tell what a folder is: a model, a run, a library, a data set, a cache, or images.

    path: a folder, or the name of a bundled model.
    Raises DataError when it is none of these, ModelFileError when a model is damaged.
    """
    folder = bundled_model(path) or Path(path)
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; name a library, a data set, a run or a model, or one in the"
            f" box ({', '.join(bundled_names()) or 'none'})."
        )
    kind, facts = _facts(folder)
    return InfoReport(str(folder), kind, facts)


def _facts(folder: Path) -> tuple[str, Facts]:
    """What a folder is, and what there is to know of it."""
    if RunFolder(folder).config.is_file():
        return "run", _run_facts(RunFolder(folder))
    if (folder / CATALOG).is_file():
        return "library", stats(folder)
    if (folder / "config.json").is_file():
        return "model", ModelFacts(read_card(folder), readout_facts(folder))
    if (folder / "train").is_dir() and (folder / "valid").is_dir():
        return "data set", _data_set_facts(folder)
    if runs := [RunFolder(config.parent) for config in sorted(folder.glob("*/config.toml"))]:
        return "runs", RunsFacts([_run_line(run) for run in runs])
    if packs := cached_packs(folder):
        return "cache", _cache_facts(folder, packs)
    images = open_folder(folder)
    assets = len({item.asset for item in images.items})
    return "images", ImagesFacts(len(images), assets, images.other_maps)


def _cache_facts(folder: Path, packs: Mapping[Path, tuple[int, int]]) -> CacheFacts:
    """packs: path -> when it was last used, in ns, and its size in bytes."""
    users = folder.resolve() == users_cache().resolve()
    return CacheFacts(
        bytes=sum(size for _, size in packs.values()),
        max_bytes=cache_limit(folder) if users else None,
        packs={
            place.relative_to(folder).as_posix(): Pack(
                size, datetime.fromtimestamp(used_ns / 1e9, UTC).isoformat(" ", "seconds")
            )
            for place, (used_ns, size) in sorted(packs.items())
        },
    )


def _run_facts(run: RunFolder) -> RunFacts:
    lines = read_metrics(run.root)
    run.check()
    began = _read_facts(run) if run.facts.is_file() else {}
    figures = None
    if lines and all(isinstance(line.get("valid"), dict) for line in lines):
        best = min(lines, key=lambda line: _trained_loss(line["valid"]))
        beta = float(_trained_with(run).get("beta", 1.0))
        figures = RunFigures(
            diagnosis=str(diagnose(lines[-1]["valid"], beta)),
            best_epoch=best["epoch"],
            best_valid=best["valid"],
            last_train={
                name: value for name, value in lines[-1]["train"].items() if name != "seed_loss"
            },  # 16 times nats_per_image
            seconds=lines[-1]["seconds"],
        )
    return RunFacts(
        data=began.get("data", {}).get("path"),
        train_images=began.get("train_images"),
        valid_images=began.get("valid_images"),
        device=began.get("device"),
        epochs=len(lines),
        planned_epochs=planned_epochs(run.root),
        state=run.state_of(len(lines)),
        figures=figures,
    )


def _run_line(run: RunFolder) -> RunLine:
    lines = read_metrics(run.root)
    measured = [line for line in lines if isinstance(line.get("valid"), dict)]
    best = min(measured, key=lambda line: _trained_loss(line["valid"]), default=None)
    written = run.metrics.stat().st_mtime if run.metrics.is_file() else None
    try:
        recipe = _trained_with(run).get("recipe")
    except VaeneerError:  # a damaged config.toml: `vaeneer doctor` says more
        recipe = None
    return RunLine(
        name=run.root.name,
        recipe=recipe,
        state=run.state_of(len(lines)),
        epochs=len(lines),
        planned_epochs=planned_epochs(run.root),
        best_epoch=None if best is None else best["epoch"],
        best_valid_nats=None if best is None else _trained_loss(best["valid"]),
        updated=None
        if written is None
        else datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds"),
    )


def _read_facts(run: RunFolder) -> dict[str, Any]:
    try:
        facts = read_json(run.facts)
        if isinstance(facts, dict) and isinstance(facts.get("data", {}), dict):
            return facts
        raise ValueError("it holds no facts of a run")
    except (OSError, ValueError) as error:
        raise DataError(f"{run.facts} is damaged ({error}); put it back from a copy.") from error


def _trained_loss(valid: dict[str, Any]) -> float:
    return float(valid.get("trained_loss", valid["elbo_loss"]))  # older runs have but the second


def _trained_with(run: RunFolder) -> dict[str, Any]:
    return read_sections(run.config).get("train", {})


def _data_set_facts(folder: Path) -> DataSetFacts:
    data = open_data_set(folder)
    categories = Counter(item.category for item in data.train.items + data.valid.items)
    named = {str(name): count for name, count in categories.most_common()}
    report = folder / "report.json"
    return DataSetFacts(
        train_images=len(data.train),
        valid_images=len(data.valid),
        train_assets=len({item.asset for item in data.train.items}),
        valid_assets=len({item.asset for item in data.valid.items}),
        categories=named if set(categories) != {None} else None,
        report=str(report) if report.is_file() else None,
    )
