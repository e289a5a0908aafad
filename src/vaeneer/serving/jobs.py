"""Work of minutes, done once behind the requests when a POST starts it: duplicates and maps."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from vaeneer.errors import VaeneerError
from vaeneer.progress import Bar, Progress

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_MOST_KEPT = 16
_END_SECONDS = 10.0


class _Stopped(Exception):
    """The server ends; raised inside a job, at its next step."""


class JobProgress:
    """How far a job is, as a Progress that requests can read."""

    def __init__(self) -> None:
        self.stage = "waiting"
        self.fraction = 0.0
        """Of the stage, 0 to 1."""
        self.stopped = False

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Bar]:
        """The next stage."""
        self.go_on()
        return self._bar(title, max(1, total))

    def say(self, line: str) -> None:
        """Lines are for people at a terminal."""

    def go_on(self) -> None:
        """Raise where the work is wanted no more."""
        if self.stopped:
            raise _Stopped

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Bar]:
        self.stage, self.fraction = title, 0.0
        yield _JobBar(self, total)


class _JobBar:
    def __init__(self, progress: JobProgress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        self._progress.go_on()
        self._progress.fraction = min(1.0, self._done / self._total)


@dataclass
class Job(Generic[T]):
    """One piece of work and what came of it."""

    version: Hashable = None
    """Of what the work is about."""
    progress: JobProgress = field(default_factory=JobProgress)
    state: Literal["computing", "ready", "failed"] = "computing"
    value: T | None = None
    reason: str = ""


class Jobs(Generic[T]):
    """Starts each job once, one after the other, and keeps the last answers.

    A job of a new version takes the place of that of the old one, which ends at its next step.
    """

    def __init__(self) -> None:
        self._jobs: dict[Hashable, Job[T]] = {}
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._threads: list[threading.Thread] = []

    def get(self, key: Hashable, version: Hashable = None) -> Job[T] | None:
        """The job of a key and version; None where none was started, or where that is long ago."""
        with self._lock:
            job = self._jobs.get(key)
            return job if job is not None and job.version == version else None

    def start(
        self, key: Hashable, work: Callable[[Progress], T], version: Hashable = None
    ) -> Job[T]:
        """The job of a key and version: the existing one, or a new one where none is, or failed."""
        with self._lock:
            known = self._jobs.pop(key, None)
            if known is not None and known.version == version and known.state != "failed":
                self._jobs[key] = known
                return known
            if known is not None:
                known.progress.stopped = True
            job: Job[T] = Job(version)
            self._jobs[key] = job
            if len(self._jobs) > _MOST_KEPT:
                self._jobs.pop(next(iter(self._jobs))).progress.stopped = True
            thread = threading.Thread(target=self._run, args=(job, work), name="job", daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()
            return job

    def stop(self) -> None:
        """End what is under way at its next step: a thread that is cut off in C++ aborts Python."""
        with self._lock:
            for job in self._jobs.values():
                job.progress.stopped = True
        for thread in self._threads:
            thread.join(_END_SECONDS)

    def _run(self, job: Job[T], work: Callable[[Progress], T]) -> None:
        with self._turn:
            try:
                job.progress.go_on()
                job.value = work(job.progress)
                job.state = "ready"
            except _Stopped:
                job.reason, job.state = "The server has ended.", "failed"
            except (VaeneerError, OSError) as error:  # a library that went away, a full disk
                job.reason, job.state = str(error), "failed"
            except Exception as error:  # told to whoever asks
                _LOG.exception("a job failed")
                job.reason, job.state = f"{type(error).__name__}: {error}", "failed"
