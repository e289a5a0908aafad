"""Routes of training runs: settings, curves while they grow, pictures."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import JsonValue

from vaeneer.errors import VaeneerError
from vaeneer.model.checkpoint import read_card
from vaeneer.serving.schemas import (
    API,
    DatedFile,
    JsonObject,
    Problem,
    Whole,
    answer,
    etag_of,
    picture_responses,
    unchanged,
)
from vaeneer.serving.state import AppState, State
from vaeneer.settings import read_sections
from vaeneer.training.run_folder import RunFolder, RunState, planned_epochs, read_metrics

router = APIRouter(prefix=API)
_MAX_JSON_BYTES = 4 * 2**20
_PICTURE_PLACES = ("plots/*.png", "*.png", "similarity*/*.png", "evaluat*/*.png")
_MODEL_PLACES = ("", "best", "last")
Name = Annotated[str, Path(max_length=255, description="Name of a run.")]


@answer
class RunSummary:
    """One training run."""

    name: str
    epochs: int
    """Epochs done."""
    planned_epochs: int | None
    state: RunState
    """training while a process trains it, stopped when none does before the last epoch, else
    finished."""
    started: str | None
    updated: float | None
    """Time of the last epoch, Unix seconds."""
    architecture: str | None
    valid_nats_per_image: float | None


@answer
class RunsAnswer:
    """All runs."""

    runs: list[RunSummary]


@answer
class RunAnswer(RunSummary):
    """One run: its settings, what it was made of, its best model, its pictures."""

    config: JsonObject
    facts: JsonObject
    card: JsonObject | None
    pictures: list[str]
    checkpoints: list[int]
    """Epochs whose models were kept."""
    similarity: JsonObject | None
    """similarity.json, where it was measured."""


@answer
class MetricsAnswer:
    """Lines of metrics.jsonl, one for each epoch."""

    lines: list[JsonObject]
    epochs: int
    state: RunState


@router.get("/runs", summary="Training runs")
def runs(state: State) -> RunsAnswer:
    """All runs that are served, with how far they are."""
    found = [RunSummary(**_summary(name, folder)) for name, folder in state.served.runs().items()]
    return RunsAnswer(runs=found)


@router.get("/runs/{name}", summary="One run")
def run(state: State, name: Name) -> RunAnswer:
    """Settings, facts, the card of the best model, and the names of its pictures."""
    folder = _run(state, name)
    checkpoints = folder.glob("checkpoints/epoch-*/config.json")
    card = None
    with suppress(VaeneerError):
        card = asdict(read_card(folder))
        card.pop("latent_mean", None)  # hundreds of numbers
    places = [folder / place for place in _MODEL_PLACES]
    measured = [file for one in places for file in one.glob("similarity*/similarity.json")]
    newest = max(measured, key=lambda file: file.stat().st_mtime, default=None)
    return RunAnswer(
        **_summary(name, folder),
        config=_config(folder),
        facts=_json_in(RunFolder(folder).facts) or {},
        card=None if card is None else _json_ready(card),
        pictures=sorted(_pictures(folder)),
        checkpoints=sorted(int(file.parent.name[6:]) for file in checkpoints),
        similarity=None if newest is None else _json_in(newest),
    )


@router.get("/runs/{name}/metrics", summary="Its curves")
def metrics(
    state: State, name: Name, after_epoch: Annotated[Whole, Query(ge=0, le=10**9)] = 0
) -> MetricsAnswer:
    """Metrics of each epoch after `after_epoch`, also while the run is being trained."""
    folder = _run(state, name)
    lines = read_metrics(folder)
    return MetricsAnswer(
        lines=[_json_ready(line) for line in lines if line.get("epoch", 0) > after_epoch],
        epochs=len(lines),
        state=RunFolder(folder).state_of(len(lines)),
    )


@router.get(
    "/runs/{name}/pictures/{file}",
    summary="One of its pictures",
    response_class=Response,
    responses=picture_responses("image/png"),
)
def picture(
    request: Request, state: State, name: Name, file: Annotated[str, Path(max_length=255)]
) -> Response:
    """A PNG file by one of the names that the run lists."""
    found = _pictures(_run(state, name)).get(file)
    if found is None:
        raise Problem(404, f"The run {name} has no picture of that name; it lists those it has.")
    try:
        facts = found.stat()
    except OSError:
        raise Problem(404, "The picture is gone.") from None
    headers = {"ETag": etag_of(facts), "Cache-Control": "private, no-cache"}
    return unchanged(request, headers) or DatedFile(
        found, headers=headers, media_type="image/png", stat_result=facts
    )


def _run(state: AppState, name: str) -> FilePath:
    found = state.served.runs().get(name)
    if found is None:
        raise Problem(404, f"No run is called {name[:80]!r}; GET /api/v1/runs lists them.")
    return found


def _summary(name: str, folder: FilePath) -> dict[str, Any]:
    """The fields of a RunSummary."""
    lines, files = read_metrics(folder), RunFolder(folder)
    train = _config(folder).get("train")
    facts = _json_in(files.facts) or {}
    nats = lines[-1].get("valid", {}).get("nats_per_image") if lines else None
    return {
        "name": name,
        "epochs": len(lines),
        "planned_epochs": planned_epochs(folder),
        "state": files.state_of(len(lines)),
        "started": facts.get("started"),
        "updated": files.metrics.stat().st_mtime if files.metrics.is_file() else None,
        "architecture": train.get("architecture") if isinstance(train, dict) else None,
        "valid_nats_per_image": _finite(nats),
    }


def _config(folder: FilePath) -> JsonObject:
    """config.toml; empty where it cannot be read, as in the moment that it is written."""
    try:
        return _json_ready(read_sections(RunFolder(folder).config))
    except VaeneerError:
        return {}


def _pictures(folder: FilePath) -> dict[str, FilePath]:
    """PNG files by names without folders: samples.png, similarity-valid.roc.png."""
    found: dict[str, FilePath] = {}
    for place in _MODEL_PLACES:
        for pattern in _PICTURE_PLACES:
            for file in sorted((folder / place).glob(pattern)):
                above = file.parent.name
                plain = file.parent in (folder, folder / "plots")
                found.setdefault(file.name if plain else f"{above}.{file.name}", file)
    return found


def _json_in(file: FilePath) -> JsonObject | None:
    """The object that a JSON file holds; None where there is none, or a very large one."""
    with suppress(OSError, ValueError):
        if file.stat().st_size <= _MAX_JSON_BYTES:
            value = json.loads(file.read_text(encoding="utf-8"))
            return _json_ready(value) if isinstance(value, dict) else None
    return None


def _json_ready(value: dict[str, Any]) -> JsonObject:
    """What TOML has and JSON has not (dates) as text; numbers that are not finite as null."""
    return {name: _finite(one) for name, one in json.loads(json.dumps(value, default=str)).items()}


def _finite(value: Any) -> JsonValue:
    """The same value with null where a number is not finite, which JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    found: JsonValue = value
    return found
