"""Routes of training runs: settings, curves while they grow, pictures."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from vaeneer.errors import VaeneerError
from vaeneer.model.checkpoint import read_card
from vaeneer.serving import schemas
from vaeneer.serving.problems import Json, Problem, Whole
from vaeneer.serving.schemas import API
from vaeneer.serving.state import AppState, State
from vaeneer.serving.uploads import DatedFile
from vaeneer.settings import read_sections
from vaeneer.training.run_folder import RunFolder, planned_epochs, read_metrics

router = APIRouter(prefix=API)
_MOST_JSON_BYTES = 4 * 2**20
_PICTURE_PLACES = ("plots/*.png", "*.png", "similarity*/*.png", "evaluat*/*.png")
_MODEL_PLACES = ("", "best", "last")
Name = Annotated[str, Path(max_length=255, description="Name of a run.")]


@router.get("/runs", summary="Training runs", response_model=schemas.RunsAnswer)
def runs(house: State) -> Response:
    """All runs that are served, with how far they are."""
    return Json({"runs": [_summary(n, f) for n, f in house.served.runs().items()]})


@router.get("/runs/{name}", summary="One run", response_model=schemas.RunAnswer)
def run(house: State, name: Name) -> Response:
    """Settings, facts, the card of the best model, and the names of its pictures."""
    folder = _run(house, name)
    checkpoints = RunFolder(folder).root.glob("checkpoints/epoch-*/config.json")
    return Json(
        _summary(name, folder)
        | {
            "config": _config(folder),
            "facts": _json_in(RunFolder(folder).facts) or {},
            "card": _card(folder),
            "pictures": sorted(_pictures(folder)),
            "checkpoints": sorted(int(file.parent.name[6:]) for file in checkpoints),
            "similarity": _similarity(folder),
        }
    )


@router.get("/runs/{name}/metrics", summary="Its curves", response_model=schemas.MetricsAnswer)
def metrics(
    house: State, name: Name, after_epoch: Annotated[Whole, Query(ge=0, le=10**9)] = 0
) -> Response:
    """The figures of each epoch, those after one that is known; the last may be new any moment."""
    folder = _run(house, name)
    lines = read_metrics(folder)
    new = [line for line in lines if line.get("epoch", 0) > after_epoch]
    state = RunFolder(folder).state_of(len(lines))
    return Json({"lines": _finite(new), "epochs": len(lines), "state": state})


@router.get(
    "/runs/{name}/pictures/{file}",
    summary="One of its pictures",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, 304: {"description": "Known already."}},
)
def picture(
    request: Request, house: State, name: Name, file: Annotated[str, Path(max_length=255)]
) -> Response:
    """A PNG file by one of the names that the run lists."""
    found = _pictures(_run(house, name)).get(file)
    if found is None:
        raise Problem(404, f"The run {name} has no picture of that name; it lists those it has.")
    try:
        facts = found.stat()
    except OSError:
        raise Problem(404, "The picture is gone.") from None
    tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return DatedFile(found, headers=headers, media_type="image/png", stat_result=facts)


def _run(house: AppState, name: str) -> FilePath:
    found = house.served.runs().get(name)
    if found is None:
        raise Problem(404, f"No run is called {name[:80]!r}; GET /api/v1/runs lists them.")
    return found


def _summary(name: str, folder: FilePath) -> dict[str, Any]:
    lines = read_metrics(folder)
    train = _config(folder).get("train", {})
    facts = _json_in(RunFolder(folder).facts) or {}
    nats = lines[-1].get("valid", {}).get("nats_per_image") if lines else None
    with_file = RunFolder(folder).metrics
    return {
        "name": name,
        "epochs": len(lines),
        "planned_epochs": planned_epochs(folder),
        "state": RunFolder(folder).state_of(len(lines)),
        "started": facts.get("started"),
        "updated": with_file.stat().st_mtime if with_file.is_file() else None,
        "architecture": train.get("architecture"),
        "valid_nats_per_image": _finite(nats),
    }


def _config(folder: FilePath) -> dict[str, Any]:
    """config.toml; empty where it cannot be read, as in the moment that it is written."""
    try:
        return json_ready(read_sections(RunFolder(folder).config))
    except VaeneerError:
        return {}


def json_ready(value: dict[str, Any]) -> dict[str, Any]:
    """What TOML knows and JSON does not (dates) as text; numbers that are not finite as null."""
    ready: dict[str, Any] = _finite(json.loads(json.dumps(value, default=str)))
    return ready


def _card(folder: FilePath) -> dict[str, Any] | None:
    try:
        card = asdict(read_card(folder))
    except VaeneerError:
        return None
    card.pop("latent_mean", None)  # hundreds of numbers that nobody reads
    return json_ready(card)


def _similarity(folder: FilePath) -> dict[str, Any] | None:
    """similarity.json of the run, the newest where there are several."""
    places = [folder / place for place in _MODEL_PLACES]
    found = [file for place in places for file in place.glob("similarity*/similarity.json")]
    newest = max(found, key=lambda file: file.stat().st_mtime, default=None)
    return None if newest is None else _json_in(newest)


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


def _json_in(file: FilePath) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        if file.stat().st_size <= _MOST_JSON_BYTES:
            value = json.loads(file.read_text(encoding="utf-8"))
            return json_ready(value) if isinstance(value, dict) else None
    return None


def _finite(value: Any) -> Any:
    """The same value with null where a number is not finite, which JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return value
