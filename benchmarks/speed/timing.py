"""How long work takes: medians of repetitions, with the device waited for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from statistics import median

import torch

from vaeneer.progress import Bar

REPETITIONS = 5
_SHORTEST_SECONDS = 0.02  # work that takes less is done several times between two looks at a clock
_MOST_REPETITIONS = 200


def wait_for(device: torch.device) -> None:
    """Let a device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(
    work: Callable[[], object], device: torch.device, least_seconds: float, *, warm_up: int = 1
) -> float:
    """The median over five or more repetitions that take `least_seconds` together.

    warm_up: calls before, in which memory is taken and kernels are chosen.
    """
    for _ in range(warm_up):
        work()
    once = _seconds(work, 1, device)
    calls = math.ceil(_SHORTEST_SECONDS / max(once, 1e-6))
    repetitions = math.ceil(least_seconds / (calls * max(once, 1e-6)))
    repetitions = min(max(repetitions, REPETITIONS), _MOST_REPETITIONS)
    found = [once] if calls == 1 else []
    while len(found) < repetitions:
        found.append(_seconds(work, calls, device) / calls)
    return median(found)


def _seconds(work: Callable[[], object], calls: int, device: torch.device) -> float:
    wait_for(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    wait_for(device)
    return time.perf_counter() - start


class Arrivals:
    """When how many images were done: marks on a clock that waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[tuple[float, int]] = [(time.perf_counter(), 0)]

    def advance(self, count: int = 1, note: str = "") -> None:
        """Mark that `count` more are done, as a `Bar`."""
        wait_for(self._device)
        self._marks.append((time.perf_counter(), self.count + count))

    @property
    def count(self) -> int:
        """How many are done."""
        return self._marks[-1][1]

    def seconds_since(self, skipped: int) -> float:
        """How long it took to do those after the first `skipped`."""
        marks = self._after(skipped)
        return marks[-1][0] - marks[0][0] if marks else 0.0

    def per_second(self, skipped: int) -> float:
        """The median rate over five stretches of those after the first `skipped`.

        Where no more were done, over all.
        """
        marks = self._after(skipped)
        marks = marks if len(marks) > 1 else self._marks
        edges = [round(i * (len(marks) - 1) / REPETITIONS) for i in range(REPETITIONS + 1)]
        stretches = [(marks[a], marks[b]) for a, b in pairwise(edges) if a < b]
        return median((n - m) / max(t - s, 1e-9) for (s, m), (t, n) in stretches)

    def _after(self, skipped: int) -> Sequence[tuple[float, int]]:
        return [mark for mark in self._marks if mark[1] >= skipped]


class Listener:
    """A `Progress` that shows nothing and keeps the arrivals of each bar, by title."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.bars: dict[str, Arrivals] = {}

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str) -> Iterator[Bar]:
        """Open a bar whose arrivals are kept."""
        self.bars[title] = Arrivals(self._device)
        yield self.bars[title]

    def say(self, line: str) -> None:
        """Say nothing."""
