"""What is shown in a terminal: plain text of any encoding, and progress bars.

Names of files are never markup. Bars and lines go to standard error, so that standard output stays
free for results.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from rich.console import Console
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

from vaeneer.progress import Bar
from vaeneer.text import printable

_SPELLED = {"\N{HORIZONTAL ELLIPSIS}": "...", "\N{MULTIPLICATION SIGN}": "x", "\N{MIDDLE DOT}": "-"}
_SPELLED |= {"\N{DEGREE SIGN}": " degrees", "\N{BULLET}": "*", "\N{REPLACEMENT CHARACTER}": "?"}
_SPELLING = "vaeneer.spelling"
"""Name of the error handler of codecs that never fails."""


_UNWRAPPED = 2000  # columns


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


class ConsoleProgress:
    """A `Progress` (vaeneer.progress) drawn with rich; bars vanish when they are full."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or plain_console(errors=True)

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str) -> Iterator[Bar]:
        """Show a bar with the count, the speed, the time left and the latest note."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            _Speed(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        shown = self._console.is_terminal  # into a log file go only the lines that are said
        with RichProgress(
            *columns, console=self._console, transient=True, disable=not shown
        ) as bars:
            yield _RichBar(bars, bars.add_task(printable(title), total=total, unit=unit, note=""))

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        self._console.print(Text(printable(line)))
