"""Routes of what takes minutes: duplicates and the map, started by POST, answered by GET."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from vaeneer.library.duplicates.decisions import Mark, csv_text, decided, redundant_in, valid_marks
from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.duplicates.groups import KINDS
from vaeneer.library.duplicates.report import DuplicateGroup, DuplicatesReport
from vaeneer.library.duplicates.verify import Kind
from vaeneer.library.library import Library
from vaeneer.progress import Progress
from vaeneer.serving import schemas
from vaeneer.serving.background import Job
from vaeneer.serving.models import OpenLibrary
from vaeneer.serving.parameters import Whole
from vaeneer.serving.problems import Json, Problem
from vaeneer.serving.schemas import API, thumbnail_address
from vaeneer.serving.state import AppState, State, TheLibrary
from vaeneer.settings import ClusterSettings, DuplicatesSettings, MapSettings
from vaeneer.text import to_json

router = APIRouter(prefix=API)
_COMPUTING: dict[int | str, dict[str, Any]] = {
    202: {"model": schemas.Computing, "description": "Being computed; ask again."}
}
_STARTED: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.StateAnswer, "description": "Computed; GET has the answer."},
    202: {"model": schemas.Computing, "description": "Being computed; GET says how far it is."},
}
_RETRY_AFTER_SECONDS = 2


@router.post(
    "/duplicates",
    summary="Look for what a library has twice",
    response_model=schemas.StateAnswer,
    responses=_STARTED,
)
async def start_duplicates(house: State, library: TheLibrary) -> Response:
    """Start the computation, where it is not done or under way."""
    return _start(house, library, "duplicates", _all_duplicates)


@router.post(
    "/map",
    summary="Lay out the map",
    response_model=schemas.StateAnswer,
    responses=_STARTED,
)
async def start_map(house: State, library: TheLibrary) -> Response:
    """Start the computation, where it is not done or under way."""
    return _start(house, library, "map", _map)


@router.get(
    "/duplicates",
    summary="What a library has twice",
    response_model=schemas.DuplicatesAnswer,
    responses=_COMPUTING,
)
async def duplicate_groups(
    house: State,
    library: TheLibrary,
    page: Annotated[Whole, Query(ge=1, le=10**6)] = 1,
    page_size: Annotated[Whole, Query(ge=1, le=200)] = 50,
    kind: Annotated[Kind | None, Query(description=f"One of {', '.join(KINDS)}.")] = None,
) -> Response:
    """Groups of copies, by kind; 202 with the progress until they are there, 404 before POST."""
    job = _job(house, library, "duplicates")
    if job.value is None:
        return _not_yet(job)
    report: DuplicatesReport = job.value
    return await run_in_threadpool(lambda: _page(library, report, kind, page, page_size))


@router.post(
    "/duplicates/decisions",
    summary="What a library has twice, with decisions",
    response_model=schemas.DecisionsAnswer,
    responses=_COMPUTING,
)
async def decided_groups(house: State, asked: schemas.DecisionsRequest) -> Response:
    """As GET /duplicates, with a person's decisions instead of the proposal; nothing is stored."""
    library = house.library(asked.library)
    job = _job(house, library, "duplicates")
    if job.value is None:
        return _not_yet(job)
    report: DuplicatesReport = job.value

    def work() -> Response:
        marks = valid_marks(report.groups, _marks(asked))
        groups = decided(report.groups, marks)
        sizes = redundant_in(groups)
        shown = dataclasses.replace(
            report,
            groups=groups,
            redundant_files=len(sizes),
            redundant_bytes=sum(sizes.values()),
        )
        told = {path: dataclasses.asdict(mark) for path, mark in marks.items()}
        return _page(library, shown, asked.kind, asked.page, asked.page_size, marks=told)

    return await run_in_threadpool(work)


@router.post(
    "/duplicates/csv",
    summary="The list of duplicates as CSV",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **_COMPUTING},
)
async def duplicates_csv(house: State, asked: schemas.CsvRequest) -> Response:
    """All groups with a person's decisions; without any the bytes of `vaeneer duplicates --csv`."""
    library = house.library(asked.library)
    job = _job(house, library, "duplicates")
    if job.value is None:
        return _not_yet(job)
    groups: list[DuplicateGroup] = job.value.groups
    text = await run_in_threadpool(lambda: csv_text(decided(groups, _marks(asked))))
    return Response(text.encode(), media_type="text/csv")


def _marks(asked: schemas.CsvRequest) -> dict[str, Mark]:
    return {path: Mark(mark.decision, mark.keep_path) for path, mark in asked.marks.items()}


@router.get(
    "/map", summary="A place for each item", response_model=schemas.MapAnswer, responses=_COMPUTING
)
async def library_map(house: State, library: TheLibrary) -> Response:
    """Items that look alike lie together; 202 with the progress until then, 404 before POST."""
    job = _job(house, library, "map")
    return (
        _not_yet(job) if job.value is None else Response(job.value, media_type="application/json")
    )


def _start(
    house: AppState, library: OpenLibrary, what: str, work: Callable[[Library, Progress], Any]
) -> Response:
    opened = library.current()
    job = house.jobs.start(
        (library.name, what), lambda progress: work(opened, progress), library.content()
    )
    if job.value is None:
        return _not_yet(job)
    return Json({"state": "ready"})


def _job(house: AppState, library: OpenLibrary, what: str) -> Job[Any]:
    """A job that was started. Raises Problem 404 where none was, 409 where it failed."""
    library.ready()
    job: Job[Any] | None = house.jobs.get((library.name, what), library.content())
    if job is None:
        raise Problem(
            404, f"{library.name} has no computed {what} yet: POST {API}/{what} starts that."
        )
    if job.state == "failed":
        raise Problem(409, f"{job.reason} POST {API}/{what} starts it again.")
    return job


def _not_yet(job: Job[Any]) -> Response:
    progress = job.progress
    body = {"state": "computing", "stage": progress.stage, "progress": round(progress.fraction, 4)}
    return Json(body, 202, {"Retry-After": str(_RETRY_AFTER_SECONDS)})


def _all_duplicates(library: Library, progress: Progress) -> DuplicatesReport:
    """All groups, kept in memory: pages are cut from them."""
    return duplicates(library, settings=DuplicatesSettings(page_size=0), progress=progress)


def _page(
    library: OpenLibrary,
    report: DuplicatesReport,
    kind: Kind | None,
    page: int,
    page_size: int,
    **more: Any,
) -> Response:
    groups = [group for group in report.groups if kind is None or group.kind == kind]
    pages = max(1, -(-len(groups) // page_size))
    if page > pages:
        raise Problem(404, f"page is {page}; there are {pages}, of {page_size} groups each.")
    start = (page - 1) * page_size
    shown = dataclasses.replace(
        report,
        groups=groups[start : start + page_size],
        page=page,
        pages=pages,
        total_groups=len(groups),
    )
    values = shown.to_dict()
    told = [item for group in values["groups"] for item in group["items"]]
    hashes = {one.id: one.sha256 for one in library.catalog.items(item["id"] for item in told)}
    for item in told:
        address = thumbnail_address(library.name, item["id"], hashes.get(item["id"], ""))
        item["thumbnail"] = address
    return Json(values | more)


def _map(library: Library, progress: Progress) -> bytes:
    """The answer as JSON, made once."""
    from vaeneer.library.map.build import map_of  # imports openTSNE and scikit-learn

    found = map_of(library, MapSettings(), ClusterSettings(), progress)
    names = sorted({item.category or "" for item in found.items})
    places = {name: place for place, name in enumerate(names)}
    xy = found.xy.round(4).astype(float)
    values = {
        "ids": [item.id for item in found.items],
        "x": xy[:, 0].round(4).tolist(),
        "y": xy[:, 1].round(4).tolist(),
        "clusters": found.labels.tolist(),
        "categories": [places[item.category or ""] for item in found.items],
        "cluster_names": {str(cluster.id): cluster.name for cluster in found.clusters},
        "category_names": names,
    }
    return to_json(values, compact=True).encode()
