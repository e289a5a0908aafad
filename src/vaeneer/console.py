"""Progress bars and lines on standard error, so that standard output stays free for results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed else "")


class _RichBar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, count: int = 1, note: str = "") -> None:
        self._bars.update(self._task, advance=count, note=note)


class ConsoleProgress:
    """A `Progress` (vaeneer.progress) drawn with rich; bars vanish when they are full."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str) -> Iterator[Bar]:
        """Show a bar with the count, the speed, the time left and the latest note."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            _Speed(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        shown = self._console.is_terminal  # into a log file go only the lines that are said
        with RichProgress(
            *columns, console=self._console, transient=True, disable=not shown
        ) as bars:
            yield _RichBar(bars, bars.add_task(title, total=total, unit=unit, note=""))

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        self._console.print(line, markup=False)
