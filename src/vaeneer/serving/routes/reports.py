"""Routes of long computations, started by POST: duplicates, the map, indexing of folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.duplicates.report import (
    KINDS,
    Decision,
    DuplicateGroup,
    DuplicateItem,
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
from vaeneer.progress import Progress
from vaeneer.serving.background import Job
from vaeneer.serving.models import ServedLibrary
from vaeneer.serving.schemas import (
    API,
    Json,
    LibraryName,
    Problem,
    StateAnswer,
    Text,
    Whole,
    answer,
    thumbnail_address,
)
from vaeneer.serving.state import AppState, State, TheLibrary
from vaeneer.settings import ClusterSettings, DuplicatesSettings, IndexSettings, MapSettings

router = APIRouter(prefix=API)
FolderState = Literal["new", "indexing", "stopping", "stopped", "ready", "failed"]
_MAX_PATH_CHARACTERS = 4096


@answer
class FolderAnswer:
    """A folder of images that can be indexed."""

    name: str
    """Of the folder, and of its library."""
    folder: str
    library: str
    """Where the library is, or will be."""
    state: FolderState
    searchable: bool
    """Whether its library is served."""
    stage: str = ""
    """waiting, listing, images (whole ones), parts (small ones), ...; empty where nothing is under
    way."""
    done: int = 0
    """Of the stage."""
    total: int = 0
    """Of the stage; 0 where it has no number."""
    seconds_left: float | None = None
    """Of the stage."""
    reason: str
    """Why it failed; empty otherwise."""


@answer
class IndexingAnswer:
    """All folders that can be indexed."""

    folders: list[FolderAnswer]


@answer
class Computing:
    """The answer is not there yet; ask again after Retry-After seconds."""

    state: Literal["computing"] = "computing"
    stage: str
    progress: float
    """Of the stage, 0 to 1."""


@answer
class DuplicateItemAnswer(DuplicateItem):
    """One file of a group of duplicates."""

    thumbnail: str


@answer
class DuplicateGroupAnswer(DuplicateGroup):
    """Files that are copies of each other."""

    items: list[DuplicateItemAnswer]  # type: ignore[assignment]
    """The one to keep first."""


@answer
class DuplicatesAnswer(DuplicatesReport):
    """What `vaeneer duplicates --json` prints, for one page of groups."""

    groups: list[DuplicateGroupAnswer]  # type: ignore[assignment]
    """Those of the page; the surest of each kind first."""


@answer
class DecisionsAnswer(DuplicatesAnswer):
    """The same, with a person's decisions."""

    marks: dict[str, Mark]
    """Those of the request whose files are still copies of each other."""


@answer
class MapAnswer:
    """Coordinates of each item, in columns of equal length."""

    ids: list[int]
    x: list[float]
    y: list[float]
    clusters: list[int]
    """-1: in no cluster."""
    categories: list[int]
    """Indices into category_names."""
    cluster_names: dict[str, str]
    category_names: list[str]


class IndexRequest(BaseModel, extra="forbid"):
    """Which folder to index."""

    library: LibraryName = Field(description="Name of a folder in GET /indexing.")


class DuplicateMark(BaseModel, extra="forbid"):
    """Decision of a person about one file."""

    decision: Decision
    keep_path: Text = Field(
        max_length=_MAX_PATH_CHARACTERS,
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


_COMPUTING: dict[int | str, dict[str, Any]] = {
    202: {"model": Computing, "description": "Being computed; ask again."}
}
_STARTED: dict[int | str, dict[str, Any]] = {
    200: {"model": StateAnswer, "description": "Computed; GET has the answer."},
    202: {"model": Computing, "description": "Being computed; GET says how far it is."},
}


@router.post("/duplicates", summary="Look for what a library has twice", responses=_STARTED)
def start_duplicates(state: State, library: TheLibrary) -> StateAnswer:
    """Start the computation, where it is not done or under way."""
    return _start(state, library, "duplicates", _all_duplicates)


@router.post("/map", summary="Lay out the map", responses=_STARTED)
def start_map(state: State, library: TheLibrary) -> StateAnswer:
    """Start the computation, where it is not done or under way."""
    return _start(state, library, "map", _map)


@router.get("/duplicates", summary="What a library has twice", responses=_COMPUTING)
def duplicate_groups(
    state: State,
    library: TheLibrary,
    page: Annotated[Whole, Query(ge=1, le=10**6)] = 1,
    page_size: Annotated[Whole, Query(ge=1, le=200)] = 50,
    kind: Annotated[Kind | None, Query(description=f"One of {', '.join(KINDS)}.")] = None,
) -> DuplicatesAnswer:
    """Groups of copies, by kind; 202 with the progress until they are there, 404 before POST."""
    report = _result(state, library, "duplicates")
    return DuplicatesAnswer(**_page(library, report, kind, page, page_size))


@router.post(
    "/duplicates/decisions",
    summary="What a library has twice, with decisions",
    responses=_COMPUTING,
)
def decided_groups(state: State, body: DecisionsRequest) -> DecisionsAnswer:
    """As GET /duplicates, with a person's decisions instead of the proposal; nothing is stored."""
    library = state.library(body.library)
    report = _result(state, library, "duplicates")
    marks = valid_marks(report.groups, body.decisions())
    groups = decided(report.groups, marks)
    sizes = redundant_in(groups)
    shown = dataclasses.replace(
        report, groups=groups, redundant_files=len(sizes), redundant_bytes=sum(sizes.values())
    )
    page = _page(library, shown, body.kind, body.page, body.page_size)
    return DecisionsAnswer(**page, marks=marks)


@router.post(
    "/duplicates/csv",
    summary="The list of duplicates as CSV",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **_COMPUTING},
)
def duplicates_csv(state: State, body: CsvRequest) -> Response:
    """All groups with a person's decisions; without any the bytes of `vaeneer duplicates --csv`."""
    report = _result(state, state.library(body.library), "duplicates")
    text = csv_text(decided(report.groups, body.decisions()))
    return Response(text.encode(), media_type="text/csv")


@router.get("/map", summary="A place for each item", response_model=MapAnswer, responses=_COMPUTING)
def library_map(state: State, library: TheLibrary) -> Response:
    """Items that look alike lie together; 202 with the progress until then, 404 before POST."""
    return Response(_result(state, library, "map"), media_type="application/json")


class NotComputed(Exception):
    """The result of a job is not there yet: answered by 202, with the progress."""

    def __init__(self, job: Job[Any]) -> None:
        self.answer = Computing(stage=job.stage, progress=round(job.fraction, 4))


def _start(
    state: AppState, library: ServedLibrary, what: str, work: Callable[[Library, Progress], Any]
) -> StateAnswer:
    """Start a job where it is not done or under way. Raises NotComputed where it is not done."""
    opened = library.current()
    job = state.jobs.start((library.name, what), lambda job: work(opened, job), library.content())
    if job.value is None:
        raise NotComputed(job)
    return StateAnswer(state="ready")


def _result(state: AppState, library: ServedLibrary, what: str) -> Any:
    """What a job computed.

    Raises NotComputed, and Problem 404 where none was started, 409 where it failed.
    """
    library.ready()
    job = state.jobs.get((library.name, what), library.content())
    if job is None:
        detail = f"{library.name} has no computed {what} yet: POST {API}/{what} starts that."
        raise Problem(404, detail)
    if job.state in ("failed", "stopped"):
        raise Problem(409, f"{job.reason} POST {API}/{what} starts it again.")
    if job.value is None:
        raise NotComputed(job)
    return job.value


def _all_duplicates(library: Library, progress: Progress) -> DuplicatesReport:
    """All groups; pages are cut from them in memory."""
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

    def answer(group: DuplicateGroup) -> DuplicateGroupAnswer:
        items = [
            DuplicateItemAnswer(
                **vars(item),
                thumbnail=thumbnail_address(library.name, item.id, hashes.get(item.id, "")),
            )
            for item in group.items
        ]
        return DuplicateGroupAnswer(**vars(group) | {"items": items})

    own = {"page": page, "pages": pages, "total_groups": len(groups)}
    return vars(report) | own | {"groups": [answer(group) for group in shown]}


def _map(library: Library, progress: Progress) -> bytes:
    """A MapAnswer as JSON, made once."""
    from vaeneer.library.map.map import map_of  # imports openTSNE and scikit-learn

    found = map_of(library, MapSettings(), ClusterSettings(), progress)
    names = sorted({item.category or "" for item in found.items})
    places = {name: place for place, name in enumerate(names)}
    xy = found.xy.round(4).astype(float)
    answer = MapAnswer(
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
def folders(state: State) -> IndexingAnswer:
    """The folders of images that the server was started with, and how far each is."""
    return IndexingAnswer(folders=[_folder(state, name) for name in state.served.folders])


@router.post("/indexing", summary="Index a folder", status_code=202)
def start(state: State, body: IndexRequest) -> FolderAnswer:
    """Make or bring up to date the library of a folder; where that is under way, nothing new."""
    _folder(state, body.library)
    state.indexing.start(body.library, lambda job: _index(state, body.library, job), again=True)
    return _folder(state, body.library)


@router.post("/indexing/stop", summary="Stop indexing a folder", status_code=202)
def stop(state: State, body: IndexRequest) -> FolderAnswer:
    """End it after the images under way; what is indexed remains, and another POST continues."""
    _folder(state, body.library)
    state.indexing.cancel(body.library)
    return _folder(state, body.library)


def _index(state: AppState, name: str, job: Job[IndexReport]) -> IndexReport:
    """Index a folder, and serve its library as soon as its whole images are in."""
    found, settings = state.served.folders[name], state.settings

    def serve_finished() -> None:
        if name not in state.libraries and is_finished(found.library):
            state.add_library(name, found.library)

    job.begin("listing")
    job.before_stage = serve_finished
    report = index(
        found.folder,
        library=found.library,
        settings=IndexSettings(device=settings.device, precision=settings.precision),
        progress=job,
    )
    serve_finished()
    return report


def _folder(state: AppState, name: str) -> FolderAnswer:
    """A folder, and how far its indexing is. Raises Problem 404."""
    found = state.served.folders.get(name)
    if found is None:
        raise Problem(404, f"No folder is called {name[:80]!r}; GET {API}/indexing.")
    job = state.indexing.get(name)
    status: FolderState = "ready" if name in state.libraries else "new"
    under_way: dict[str, Any] = {}
    if job is not None and job.state == "computing":
        status = "stopping" if job.stopping else "indexing"
        left = None if job.seconds_left is None else round(job.seconds_left, 1)
        under_way = {"stage": job.stage, "done": job.done, "total": job.total, "seconds_left": left}
    elif job is not None and (
        job.state == "failed" or (job.state == "stopped" and status == "new")
    ):
        status = job.state
    return FolderAnswer(
        name=name,
        folder=str(found.folder),
        library=str(found.library),
        state=status,
        searchable=name in state.libraries,
        reason=job.reason if job is not None and status == "failed" else "",
        **under_way,
    )
