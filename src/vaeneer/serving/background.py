"""A bounded thread pool for requests, and long jobs that run once behind them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from vaeneer.errors import VaeneerError
from vaeneer.progress import Bar
from vaeneer.serving.metrics import Metrics
from vaeneer.serving.problems import busy
from vaeneer.settings import ServeSettings

T = TypeVar("T")
_THREADS = 16
"""Enough that the crops of a whole batch can be decoded while the network has another."""
_LOG = logging.getLogger(__name__)
_MOST_KEPT = 16
_END_SECONDS = 10.0


class RequestPool:
    """Runs blocking work for the event loop, and says no when too much of it waits."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(_THREADS, "work", initializer=_on_one_core)
        self._lock = threading.Lock()
        self._inside = 0

    @property
    def pending(self) -> int:
        """Requests that wait or are worked on."""
        return self._inside

    async def submit(self, work: Callable[[], T]) -> T:
        """What `work` answers, from a thread.

        Raises Problem 503 when the room is full, or when it takes longer than the timeout.
        """
        with self._lock:
            if self._inside >= self._settings.queue_length:
                self._metrics.rejected("queue_full")
                raise busy(f"{self._inside} requests are waiting already; ask again in a second.")
            self._inside += 1
        future = self._pool.submit(work)
        future.add_done_callback(self._left)
        try:
            seconds = self._settings.timeout_seconds
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            self._metrics.rejected("timeout")
            raise busy("The answer took too long; ask for less, or again later.", 5) from None

    def close(self) -> None:
        """Take no more work, and drop what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _left(self, _: Future[Any]) -> None:
        with self._lock:
            self._inside -= 1


def _on_one_core() -> None:
    """Let a thread of the pool compute on one core, in PyTorch and in faiss."""
    import faiss

    from vaeneer.device import compute_on_one_core

    compute_on_one_core()
    faiss.omp_set_num_threads(1)


class PixelBudget:
    """How many pixels may be decoded at the same time: large pictures wait for each other."""

    def __init__(self, megapixels: float) -> None:
        """megapixels: the most at once; one picture may have as many."""
        self._free = self._all = megapixels
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, megapixels: float, seconds: float) -> Iterator[None]:
        """Hold a share for the block. Raises Problem 503 when none is free in time."""
        share = min(megapixels, self._all)
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= share, seconds):
                raise busy("Too many large pictures are being decoded; ask again later.", 5)
            self._free -= share
        try:
            yield
        finally:
            with self._changed:
                self._free += share
                self._changed.notify_all()


class _Stopped(Exception):
    """The work is wanted no more; raised inside a job, at its next step."""


class JobProgress:
    """How far a job is, as a Progress that requests can read."""

    def __init__(self) -> None:
        self.stage = "waiting"
        self.total = 0
        """Of the stage; 0 where it has no number."""
        self.done = 0
        self.stopped = False
        self._started = time.monotonic()

    @property
    def fraction(self) -> float:
        """Of the stage, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Of the stage, at its speed so far; None where nothing is done yet."""
        if not self.done:
            return None
        spent = time.monotonic() - self._started
        return max(0.0, spent * (self.total - self.done) / self.done)

    def begin(self, stage: str, total: int = 0) -> None:
        """Begin a stage."""
        self.go_on()
        self.stage, self.total, self.done = stage, total, 0
        self._started = time.monotonic()

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Bar]:
        """The next stage."""
        self.go_on()
        return self._bar(title, total)

    def say(self, line: str) -> None:
        """Lines are for people at a terminal."""

    def go_on(self) -> None:
        """Raise where the work is wanted no more."""
        if self.stopped:
            raise _Stopped

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Bar]:
        self.begin(title, total)
        yield _JobBar(self)


class _JobBar:
    def __init__(self, progress: JobProgress) -> None:
        self._progress = progress

    def advance(self, count: int = 1, note: str = "") -> None:
        self._progress.go_on()
        self._progress.done += count


@dataclass
class Job(Generic[T]):
    """One piece of work and what came of it."""

    version: Hashable = None
    """Of what the work is about."""
    progress: JobProgress = field(default_factory=JobProgress)
    state: Literal["computing", "ready", "failed", "stopped"] = "computing"
    value: T | None = None
    reason: str = ""

    @property
    def ending(self) -> bool:
        """Whether it was stopped, and is at its last step."""
        return self.progress.stopped and self.state == "computing"


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
        self, key: Hashable, work: Callable[[JobProgress], T], version: Hashable = None
    ) -> Job[T]:
        """The job of a key and version: the existing one, or a new one where that did not end."""
        with self._lock:
            known = self._jobs.pop(key, None)
            usable = known is not None and known.state not in ("failed", "stopped")
            if known is not None and usable and known.version == version and not known.ending:
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

    def start_again(self, key: Hashable, work: Callable[[JobProgress], T]) -> Job[T]:
        """The job of a key that is under way, else a new one, whatever came of the last."""
        with self._lock:
            if (known := self._jobs.get(key)) is not None and known.state == "ready":
                del self._jobs[key]
        return self.start(key, work)

    def cancel(self, key: Hashable) -> Job[T] | None:
        """End the job of a key at its next step, and at once where it waits for its turn."""
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and job.state == "computing":
                job.progress.stopped = True
                if job.progress.stage == "waiting":
                    job.reason, job.state = "It was stopped.", "stopped"
            return job

    def stop(self) -> None:
        """End what is under way at its next step: a thread that is cut off in C++ aborts Python."""
        with self._lock:
            for job in self._jobs.values():
                job.progress.stopped = True
        for thread in self._threads:
            thread.join(_END_SECONDS)

    def _run(self, job: Job[T], work: Callable[[JobProgress], T]) -> None:
        with self._turn:
            try:
                job.progress.go_on()
                job.value = work(job.progress)
                job.state = "ready"
            except _Stopped:
                job.reason, job.state = "It was stopped.", "stopped"
            except (VaeneerError, OSError) as error:  # a library that went away, a full disk
                job.reason, job.state = str(error), "failed"
            except Exception as error:  # told to whoever asks
                _LOG.exception("a job failed")
                job.reason, job.state = f"{type(error).__name__}: {error}", "failed"
