"""Routes that index the folders of images which the server was started with.

POST starts it, GET says how far it is. The library is served when its whole images are in; its
small parts follow. One folder is indexed at a time.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from fastapi import APIRouter, Response

from vaeneer.library.index.index import IndexReport, index
from vaeneer.library.library_folders import is_finished
from vaeneer.progress import Bar
from vaeneer.serving import schemas
from vaeneer.serving.background import JobProgress
from vaeneer.serving.models import ImageFolder
from vaeneer.serving.problems import Json, Problem
from vaeneer.serving.schemas import API
from vaeneer.serving.state import AppState, State
from vaeneer.settings import IndexSettings

router = APIRouter(prefix=API)


class _Watching:
    """The progress of a job, which also serves the library once it is finished."""

    def __init__(self, house: AppState, name: str, progress: JobProgress) -> None:
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
    found = house.served.folders.get(asked.library)
    if found is None:
        raise Problem(404, f"No folder is called {asked.library[:80]!r}; GET {API}/indexing.")
    house.indexing.start_again(asked.library, lambda job: _indexed(house, asked.library, job))
    return Json(_told(house, asked.library, found), 202)


def _indexed(house: AppState, name: str, progress: JobProgress) -> IndexReport:
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


def _told(house: AppState, name: str, found: ImageFolder) -> dict[str, Any]:
    job = house.indexing.get(name)
    state = "ready" if name in house.libraries else "new"
    if job is not None and job.state != "ready":
        state = "failed" if job.state == "failed" else "indexing"
    at = None if job is None or state != "indexing" else job.progress
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
