"""Routes of what takes minutes, started by POST: duplicates, the map, and indexing of folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.duplicates.groups import KINDS
from vaeneer.library.duplicates.report import (
    Decision,
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
from vaeneer.serving.models import ServedLibrary
from vaeneer.serving.problems import Problem
from vaeneer.serving.schemas import API, Json, LibraryName, Text, Whole, thumbnail_address
from vaeneer.serving.state import AppState, State, TheLibrary
from vaeneer.settings import ClusterSettings, DuplicatesSettings, IndexSettings, MapSettings

router = APIRouter(prefix=API)
_COMPUTING: dict[int | str, dict[str, Any]] = {
    202: {"model": schemas.Computing, "description": "Being computed; ask again."}
}
_STARTED: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.StateAnswer, "description": "Computed; GET has the answer."},
    202: {"model": schemas.Computing, "description": "Being computed; GET says how far it is."},
}
_RETRY_AFTER_SECONDS = 2
_LONGEST_PATH = 4096


class IndexRequest(BaseModel, extra="forbid"):
    """Which folder to index."""

    library: LibraryName = Field(description="Name of a folder in GET /indexing.")


class DuplicateMark(BaseModel, extra="forbid"):
    """Decision of a person about one file."""

    decision: Decision
    keep_path: Text = Field(
        max_length=_LONGEST_PATH,
        description="The file that stands for it; of the file to keep, its own path.",
    )


class CsvRequest(BaseModel, extra="forbid"):
    """Decisions, by the paths of the files as in `GET /duplicates`."""

    library: LibraryName | None = None
    marks: dict[Text, DuplicateMark] = Field({}, examples=[{}])

    def decisions(self) -> dict[str, Mark]:
        """The marks as the library has them."""
        return {path: Mark(mark.decision, mark.keep_path) for path, mark in self.marks.items()}


class DecisionsRequest(CsvRequest):
    """Decisions, and which page of groups to answer."""

    page: Whole = Field(1, ge=1, le=10**6)
    page_size: Whole = Field(50, ge=1, le=200)
    kind: Kind | None = None


@router.post(
    "/duplicates",
    summary="Look for what a library has twice",
    response_model=schemas.StateAnswer,
    responses=_STARTED,
)
def start_duplicates(state: State, library: TheLibrary) -> schemas.StateAnswer | Response:
    """Start the computation, where it is not done or under way."""
    return _start(state, library, "duplicates", _all_duplicates)


@router.post(
    "/map", summary="Lay out the map", response_model=schemas.StateAnswer, responses=_STARTED
)
def start_map(state: State, library: TheLibrary) -> schemas.StateAnswer | Response:
    """Start the computation, where it is not done or under way."""
    return _start(state, library, "map", _map)


@router.get(
    "/duplicates",
    summary="What a library has twice",
    response_model=schemas.DuplicatesAnswer,
    responses=_COMPUTING,
)
def duplicate_groups(
    state: State,
    library: TheLibrary,
    page: Annotated[Whole, Query(ge=1, le=10**6)] = 1,
    page_size: Annotated[Whole, Query(ge=1, le=200)] = 50,
    kind: Annotated[Kind | None, Query(description=f"One of {', '.join(KINDS)}.")] = None,
) -> schemas.DuplicatesAnswer | Response:
    """Groups of copies, by kind; 202 with the progress until they are there, 404 before POST."""
    report = _value(state, library, "duplicates")
    if isinstance(report, Response):
        return report
    return schemas.DuplicatesAnswer(**_page(library, report, kind, page, page_size))


@router.post(
    "/duplicates/decisions",
    summary="What a library has twice, with decisions",
    response_model=schemas.DecisionsAnswer,
    responses=_COMPUTING,
)
def decided_groups(state: State, asked: DecisionsRequest) -> schemas.DecisionsAnswer | Response:
    """As GET /duplicates, with a person's decisions instead of the proposal; nothing is stored."""
    library = state.library(asked.library)
    report = _value(state, library, "duplicates")
    if isinstance(report, Response):
        return report
    marks = valid_marks(report.groups, asked.decisions())
    groups = decided(report.groups, marks)
    sizes = redundant_in(groups)
    shown = dataclasses.replace(
        report, groups=groups, redundant_files=len(sizes), redundant_bytes=sum(sizes.values())
    )
    page = _page(library, shown, asked.kind, asked.page, asked.page_size)
    return schemas.DecisionsAnswer(**page, marks=marks)


@router.post(
    "/duplicates/csv",
    summary="The list of duplicates as CSV",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **_COMPUTING},
)
def duplicates_csv(state: State, asked: CsvRequest) -> Response:
    """All groups with a person's decisions; without any the bytes of `vaeneer duplicates --csv`."""
    report = _value(state, state.library(asked.library), "duplicates")
    if isinstance(report, Response):
        return report
    text = csv_text(decided(report.groups, asked.decisions()))
    return Response(text.encode(), media_type="text/csv")


@router.get(
    "/map", summary="A place for each item", response_model=schemas.MapAnswer, responses=_COMPUTING
)
def library_map(state: State, library: TheLibrary) -> Response:
    """Items that look alike lie together; 202 with the progress until then, 404 before POST."""
    found = _value(state, library, "map")
    return found if isinstance(found, Response) else Response(found, media_type="application/json")


def _start(
    state: AppState, library: ServedLibrary, what: str, work: Callable[[Library, Progress], Any]
) -> schemas.StateAnswer | Response:
    opened = library.current()
    job = state.jobs.start((library.name, what), lambda job: work(opened, job), library.content())
    return _not_yet(job) if job.value is None else schemas.StateAnswer(state="ready")


def _value(state: AppState, library: ServedLibrary, what: str) -> Any:
    """What a job computed; 202 with its progress where that is not there yet.

    Raises Problem 404 where none was started, 409 where it failed.
    """
    library.ready()
    job = state.jobs.get((library.name, what), library.content())
    if job is None:
        raise Problem(
            404, f"{library.name} has no computed {what} yet: POST {API}/{what} starts that."
        )
    if job.state in ("failed", "stopped"):
        raise Problem(409, f"{job.reason} POST {API}/{what} starts it again.")
    return _not_yet(job) if job.value is None else job.value


def _not_yet(job: Job[Any]) -> Response:
    answer = schemas.Computing(stage=job.stage, progress=round(job.fraction, 4))
    return Json(vars(answer), 202, {"Retry-After": str(_RETRY_AFTER_SECONDS)})


def _all_duplicates(library: Library, progress: Progress) -> DuplicatesReport:
    """All groups, kept in memory: pages are cut from them."""
    return duplicates(library, settings=DuplicatesSettings(page_size=0), progress=progress)


def _page(
    library: ServedLibrary, report: DuplicatesReport, kind: Kind | None, page: int, page_size: int
) -> dict[str, Any]:
    """The fields of a DuplicatesAnswer. Raises Problem 404 for a page beyond the last."""
    groups = [group for group in report.groups if kind is None or group.kind == kind]
    pages = max(1, -(-len(groups) // page_size))
    if page > pages:
        raise Problem(404, f"page is {page}; there are {pages}, of {page_size} groups each.")
    start = (page - 1) * page_size
    shown = groups[start : start + page_size]
    items = library.catalog.items(item.id for group in shown for item in group.items)
    hashes = {item.id: item.sha256 for item in items}

    def answer(group: DuplicateGroup) -> schemas.DuplicateGroupAnswer:
        items = [
            schemas.DuplicateItemAnswer(
                **vars(item),
                thumbnail=thumbnail_address(library.name, item.id, hashes.get(item.id, "")),
            )
            for item in group.items
        ]
        return schemas.DuplicateGroupAnswer(**vars(group) | {"items": items})

    own = {"page": page, "pages": pages, "total_groups": len(groups)}
    return vars(report) | own | {"groups": [answer(group) for group in shown]}


def _map(library: Library, progress: Progress) -> bytes:
    """A MapAnswer as JSON, made once."""
    from vaeneer.library.map.build import map_of  # imports openTSNE and scikit-learn

    found = map_of(library, MapSettings(), ClusterSettings(), progress)
    names = sorted({item.category or "" for item in found.items})
    places = {name: place for place, name in enumerate(names)}
    xy = found.xy.round(4).astype(float)
    answer = schemas.MapAnswer(
        ids=[item.id for item in found.items],
        x=xy[:, 0].round(4).tolist(),
        y=xy[:, 1].round(4).tolist(),
        clusters=found.labels.tolist(),
        categories=[places[item.category or ""] for item in found.items],
        cluster_names={str(cluster.id): cluster.name for cluster in found.clusters},
        category_names=names,
    )
    return bytes(Json(vars(answer)).body)


@router.get("/indexing", summary="Folders that can be indexed")
def folders(state: State) -> schemas.IndexingAnswer:
    """The folders of images that the server was started with, and how far each is."""
    return schemas.IndexingAnswer(folders=[_folder(state, name) for name in state.served.folders])


@router.post("/indexing", summary="Index a folder", status_code=202)
def start(state: State, asked: IndexRequest) -> schemas.FolderAnswer:
    """Make or bring up to date the library of a folder; where that is under way, nothing new."""
    _folder(state, asked.library)
    state.indexing.start(asked.library, lambda job: _index(state, asked.library, job), again=True)
    return _folder(state, asked.library)


@router.post("/indexing/stop", summary="Stop indexing a folder", status_code=202)
def stop(state: State, asked: IndexRequest) -> schemas.FolderAnswer:
    """End it after the images under way; what is indexed remains, and another POST continues."""
    _folder(state, asked.library)
    state.indexing.cancel(asked.library)
    return _folder(state, asked.library)


class _ServingProgress:
    """The progress of indexing, which serves the library as soon as its whole images are in."""

    def __init__(self, state: AppState, name: str, job: Job[IndexReport]) -> None:
        self._state, self._name, self._job = state, name, job

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Bar]:
        self.serve_finished()
        return self._job.bar(title, total=total, unit=unit)

    def say(self, line: str) -> None:
        self.serve_finished()

    def serve_finished(self) -> None:
        """Serve the library where it can be searched."""
        library = self._state.served.folders[self._name].library
        if self._name not in self._state.libraries and is_finished(library):
            self._state.add_library(self._name, library)


def _index(state: AppState, name: str, job: Job[IndexReport]) -> IndexReport:
    """Index a folder, in a thread of its own."""
    found, settings = state.served.folders[name], state.settings
    job.begin("listing")
    progress = _ServingProgress(state, name, job)
    report = index(
        found.folder,
        library=found.library,
        settings=IndexSettings(device=settings.device, precision=settings.precision),
        progress=progress,
    )
    progress.serve_finished()
    return report


def _folder(state: AppState, name: str) -> schemas.FolderAnswer:
    """A folder, and how far its indexing is. Raises Problem 404."""
    found = state.served.folders.get(name)
    if found is None:
        raise Problem(404, f"No folder is called {name[:80]!r}; GET {API}/indexing.")
    job = state.indexing.get(name)
    status: schemas.FolderState = "ready" if name in state.libraries else "new"
    under_way: dict[str, Any] = {}
    if job is not None and job.state == "computing":
        status = "stopping" if job.stopping else "indexing"
        left = None if job.seconds_left is None else round(job.seconds_left, 1)
        under_way = {"stage": job.stage, "done": job.done, "total": job.total, "seconds_left": left}
    elif job is not None and (
        job.state == "failed" or (job.state == "stopped" and status == "new")
    ):
        status = job.state
    return schemas.FolderAnswer(
        name=name,
        folder=str(found.folder),
        library=str(found.library),
        state=status,
        searchable=name in state.libraries,
        reason=job.reason if job is not None and status == "failed" else "",
        **under_way,
    )
