"""Options, output and progress bars that the commands share.

Names of files are never markup. Bars and lines go to standard error.
"""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from vaeneer.cli.tables import Values
from vaeneer.model.bundled_models import is_bundled
from vaeneer.progress import Bar
from vaeneer.text import printable, to_json

_SPELLED = {"\N{HORIZONTAL ELLIPSIS}": "...", "\N{MULTIPLICATION SIGN}": "x", "\N{MIDDLE DOT}": "-"}
_SPELLING = "vaeneer.spelling"
"""Name of the error handler of codecs that never fails."""
_UNWRAPPED = 2000  # columns
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
Model = Annotated[
    Path,
    Parameter(help="A model, a run (its best model), or the name of a bundled model."),
]
Images = Annotated[Path, Parameter(help="Images, such as DATA/valid.")]
LibraryFolder = Annotated[
    Path | None,
    Parameter(
        help="A library, or a folder that was indexed. By default the library of the current"
        " directory, or the only one in the user's data folder."
    ),
]

_SPELLED |= {"\N{DEGREE SIGN}": " degrees", "\N{BULLET}": "*", "\N{REPLACEMENT CHARACTER}": "?"}


def spell_out() -> None:
    """Let the standard streams take any text: what their encoding lacks is spelled in ASCII."""
    codecs.register_error(_SPELLING, _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_SPELLING)


def plain_console(*, errors: bool = False) -> Console:
    """A console on standard output, or standard error, that takes text as it is: no markup.

    What goes into a file or another program is not wrapped, so that each path stays whole.
    """
    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _UNWRAPPED
    return Console(
        stderr=errors, highlight=False, soft_wrap=True, markup=False, emoji=False, width=width
    )


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    plain = "".join(_SPELLED.get(sign) or printable(sign) for sign in signs)
    return plain.encode("ascii", "backslashreplace").decode(), error.end


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed else "")


class _RichBar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, count: int = 1, note: str = "") -> None:
        self._bars.update(self._task, advance=count, note=printable(note))


class _LineBar:
    """A bar for a pipe or a log file: one line each few seconds, with the time left."""

    def __init__(
        self, say: Callable[[str], None], title: str, total: int, unit: str, every_seconds: float
    ) -> None:
        self._say, self._title, self._unit = say, title, unit
        self._total, self._done = total, 0
        self._every_seconds = every_seconds
        self._started = self._said = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said < self._every_seconds or self._done >= self._total:
            return
        self._said = now
        speed = self._done / (now - self._started)
        left = timedelta(seconds=round((self._total - self._done) / speed)) if speed else "?"
        self._say(
            f"{self._title} {self._done:,}/{self._total:,} {self._unit},"
            f" {speed:,.1f} {self._unit}/s, {left} left"
        )


class ConsoleProgress:
    """A `Progress` (vaeneer.progress): bars by rich, which vanish when full; in a pipe, lines."""

    def __init__(self, console: Console | None = None, *, every_seconds: float = 10.0) -> None:
        """every_seconds: between two lines of a bar where the console is no terminal."""
        self._console = console or plain_console(errors=True)
        self._every_seconds = every_seconds

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str) -> Iterator[Bar]:
        """Show the count, the speed and the time left; on a terminal the latest note, too."""
        if not self._console.is_terminal:
            yield _LineBar(self.say, title, total, unit, self._every_seconds)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            _Speed(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with RichProgress(*columns, console=self._console, transient=True) as bars:
            yield _RichBar(bars, bars.add_task(printable(title), total=total, unit=unit, note=""))

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        self._console.print(Text(printable(line)))


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
    """Default folder of results: in the model's; of a bundled model, in the current one."""
    from vaeneer.files import short_name

    name = short_name(folder.resolve().name)
    if is_bundled(model):  # the package is only read
        return Path(f"{what}-{model.resolve().name}-{name}")
    return model / f"{what}-{name}"
