"""A library in the browser and behind HTTP: serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer.cli.options import Flat
from vaeneer.console import ConsoleProgress
from vaeneer.settings.training import ServeSettings


def serve(
    library: Annotated[list[Path] | None, Parameter(negative="")] = None,
    *,
    settings: Annotated[ServeSettings, Flat] = ServeSettings(),
    open: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Open libraries and runs as a page in the browser, and put them behind HTTP.

    Works offline and listens on this machine alone, unless --host says otherwise; then it asks for
    a token. Ctrl-C ends it.

    Parameters
    ----------
    library
        Libraries, folders that were indexed, runs, or folders of runs; several at once. A folder of
        images that was never indexed can be indexed from the page. By default the library of the
        current directory, or the only one in the user's data folder.
    open
        Show the page in the browser.
    """
    vaeneer.serve(library or None, settings=settings, open_page=open, progress=ConsoleProgress())
