"""A library: index, stats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer import library_tables
from vaeneer.cli.options import Flat, Json, LibraryFolder, find, show
from vaeneer.console import ConsoleProgress
from vaeneer.settings.training import IndexSettings


def index(
    folder: Path,
    *,
    library: Path | None = None,
    model: Path | None = None,
    settings: Annotated[IndexSettings, Flat] = IndexSettings(),
    folder_moved: Annotated[bool, Parameter(negative="")] = False,
    forget_missing: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Make a library of a folder, or bring it up to date: only what changed is decoded.

    Stop it with Ctrl-C at any time; the same command goes on. Bad files are skipped and listed in
    LIBRARY/errors.csv.

    Parameters
    ----------
    folder
        Images, side-car JSON and other maps, in folders of any depth.
    library
        Folder of the library; new, or that of an earlier run. By default in the user's data folder
        (XDG_DATA_HOME): other commands find it by FOLDER.
    model
        What makes the vectors: a name in the box, a model or a run. By default the library's own,
        and surface-base for a new library.
    folder_moved
        The library's images lie in FOLDER now.
    forget_missing
        Images whose folder is not there, or empty, leave the library. Without it they stay, marked
        offline, as long as their drive may come back.
    """
    report = vaeneer.index(
        folder,
        library=library,
        model=model,
        settings=settings,
        folder_moved=folder_moved,
        forget_missing=forget_missing,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), library_tables.indexing, json)


def stats(library: LibraryFolder = None, *, json: Json = False) -> None:
    """Count what a library holds."""
    show(vaeneer.stats(find(library)).to_dict(), library_tables.census, json)
