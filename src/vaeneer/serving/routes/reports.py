"""Routes of what takes minutes, started by POST: duplicates, the map, and indexing of folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.duplicates.groups import KINDS
from vaeneer.library.duplicates.report import (
    DuplicateGroup,
    DuplicatesReport,
    Mark,
    csv_text,
    decided,
    redundant_in,
    valid_marks,
)
from vaeneer.library.duplicates.verify import Kind
from vaeneer.library.index.index import IndexReport, index
from vaeneer.library.library import Library
from vaeneer.library.library_folders import is_finished
from vaeneer.progress import Bar, Progress
from vaeneer.serving import schemas
from vaeneer.serving.background import Job
from vaeneer.serving.models import ServedFolder, ServedLibrary
from vaeneer.serving.problems import Json, Problem, Whole
from vaeneer.serving.schemas import API, thumbnail_address
from vaeneer.serving.state import AppState, State, TheLibrary
from vaeneer.settings import ClusterSettings, DuplicatesSettings, IndexSettings, MapSettings
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
    house: AppState, library: ServedLibrary, what: str, work: Callable[[Library, Progress], Any]
) -> Response:
    opened = library.current()
    job = house.jobs.start(
        (library.name, what), lambda progress: work(opened, progress), library.content()
    )
    if job.value is None:
        return _not_yet(job)
    return Json({"state": "ready"})


def _job(house: AppState, library: ServedLibrary, what: str) -> Job[Any]:
    """A job that was started. Raises Problem 404 where none was, 409 where it failed."""
    library.ready()
    job: Job[Any] | None = house.jobs.get((library.name, what), library.content())
    if job is None:
        raise Problem(
            404, f"{library.name} has no computed {what} yet: POST {API}/{what} starts that."
        )
    if job.state in ("failed", "stopped"):
        raise Problem(409, f"{job.reason} POST {API}/{what} starts it again.")
    return job


def _not_yet(job: Job[Any]) -> Response:
    body = {"state": "computing", "stage": job.stage, "progress": round(job.fraction, 4)}
    return Json(body, 202, {"Retry-After": str(_RETRY_AFTER_SECONDS)})


def _all_duplicates(library: Library, progress: Progress) -> DuplicatesReport:
    """All groups, kept in memory: pages are cut from them."""
    return duplicates(library, settings=DuplicatesSettings(page_size=0), progress=progress)


def _page(
    library: ServedLibrary,
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


class _Watching:
    """The progress of a job, which also serves the library once it is finished."""

    def __init__(self, house: AppState, name: str, progress: Job[IndexReport]) -> None:
        self._house, self._name, self._progress = house, name, progress

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Bar]:
        self.look()
        return self._progress.bar(title, total=total, unit=unit)

    def say(self, line: str) -> None:
        self.look()

    def look(self) -> None:
        """Serve the library where it is there."""
        library = self._house.served.folders[self._name].library
        if self._name not in self._house.libraries and is_finished(library):
            self._house.add_library(self._name, library)


@router.get(
    "/indexing", summary="Folders that can be indexed", response_model=schemas.IndexingAnswer
)
def folders(house: State) -> Response:
    """The folders of images that the server was started with, and how far each is."""
    told = [_told(house, name, one) for name, one in house.served.folders.items()]
    return Json({"folders": told})


@router.post(
    "/indexing",
    summary="Index a folder",
    status_code=202,
    response_model=schemas.FolderAnswer,
)
def start(house: State, asked: schemas.IndexRequest) -> Response:
    """Make or bring up to date the library of a folder; where that is under way, nothing new."""
    found = _folder(house, asked.library)
    house.indexing.start(asked.library, lambda job: _indexed(house, asked.library, job), again=True)
    return Json(_told(house, asked.library, found), 202)


@router.post(
    "/indexing/stop",
    summary="Stop indexing a folder",
    status_code=202,
    response_model=schemas.FolderAnswer,
)
def stop(house: State, asked: schemas.IndexRequest) -> Response:
    """End it after the images under way; what is indexed remains, and another POST continues."""
    found = _folder(house, asked.library)
    house.indexing.cancel(asked.library)
    return Json(_told(house, asked.library, found), 202)


def _folder(house: AppState, name: str) -> ServedFolder:
    found = house.served.folders.get(name)
    if found is None:
        raise Problem(404, f"No folder is called {name[:80]!r}; GET {API}/indexing.")
    return found


def _indexed(house: AppState, name: str, progress: Job[IndexReport]) -> IndexReport:
    """Index a folder, in a thread of its own."""
    found, settings = house.served.folders[name], house.settings
    progress.begin("listing")
    watching = _Watching(house, name, progress)
    report = index(
        found.folder,
        library=found.library,
        settings=IndexSettings(device=settings.device, precision=settings.precision),
        progress=watching,
    )
    watching.look()
    return report


def _told(house: AppState, name: str, found: ServedFolder) -> dict[str, Any]:
    job = house.indexing.get(name)
    state = "ready" if name in house.libraries else "new"
    if job is not None and job.state == "computing":
        state = "stopping" if job.stopping else "indexing"
    elif job is not None and (job.state == "failed" or (job.state == "stopped" and state == "new")):
        state = job.state
    at = None if job is None or job.state != "computing" else job
    left = None if at is None else at.seconds_left
    return {
        "name": name,
        "folder": str(found.folder),
        "library": str(found.library),
        "state": state,
        "searchable": name in house.libraries,
        "stage": "" if at is None else at.stage,
        "done": 0 if at is None else at.done,
        "total": 0 if at is None else at.total,
        "seconds_left": None if left is None else round(left, 1),
        "reason": job.reason if job is not None and state == "failed" else "",
    }
