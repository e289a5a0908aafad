"""What the commands share: options, and how a report is shown at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from rich.console import RenderableType

from vaeneer.console import ConsoleProgress, plain_console
from vaeneer.model.box import is_in_box
from vaeneer.tables import Values
from vaeneer.text import to_json

OUTPUT = Group("Output", sort_key=2)
SETTINGS = Group("Settings", sort_key=1)
Json = Annotated[
    bool, Parameter(name="--json", negative="", group=OUTPUT, help="Print one JSON object.")
]
Overwrite = Annotated[
    bool,
    Parameter(negative="", group=OUTPUT, help="Replace an output that exists."),
]
Flat = Parameter(name="*", group=SETTINGS)
"""The fields of a settings dataclass, each as a flag."""
LibraryFolder = Annotated[
    Path | None,
    Parameter(
        help="A library, or a folder that was indexed. By default the library of the current"
        " directory, or the only one in the user's data folder."
    ),
]


def find(library: Path | None) -> Path:
    """The folder of a library, as `find_library`; where none was named, say which it is."""
    from vaeneer.library.library_folders import find_library

    found = find_library(library)
    if library is None:
        ConsoleProgress().say(f"Library {found}")
    return found


def show(values: Values, table: Callable[[Values], RenderableType], as_json: bool) -> None:
    """Print a report: as one JSON object, or as the table made of it."""
    if as_json:
        print(to_json(values, ascii_only=True))
    else:
        plain_console().print(table(values))


def write_bytes(data: bytes) -> None:
    """Write to standard output what is not for a terminal's encoding: paths, UTF-8 files."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def own_folder(model: Path, what: str, folder: Path) -> Path:
    """Where a command's results lie by default: in the model's folder, of one in the box here."""
    from vaeneer.files import short_name

    name = short_name(folder.resolve().name)
    if is_in_box(model):  # the package is only read
        return Path(f"{what}-{model.resolve().name}-{name}")
    return model / f"{what}-{name}"
