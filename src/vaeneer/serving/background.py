"""A bounded thread pool for requests, and long jobs that run once in the background."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from vaeneer.data.image_files import check_sides
from vaeneer.data.images import header_size, read_rgb
from vaeneer.errors import ImageFileError, VaeneerError
from vaeneer.progress import Bar
from vaeneer.serving.schemas import busy
from vaeneer.settings import ServeSettings

T = TypeVar("T")
_THREADS = 16
"""Enough to decode the crops of a whole batch while the network computes another."""
_LOG = logging.getLogger(__name__)
_MAX_JOBS = 16
_END_SECONDS = 10.0


class RequestPool:
    """Runs blocking work for the event loop; refuses more where the queue is full."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(_THREADS, "work", initializer=_compute_on_one_core)
        self._lock = threading.Lock()
        self.pending = 0
        """Requests that wait or are under way."""

    async def submit(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread; returns its result.

        Raises Problem 503 when the queue is full, or when it takes longer than the timeout.
        """
        with self._lock:
            if self.pending >= self._settings.queue_length:
                detail = f"{self.pending} requests are waiting already; ask again in a second."
                raise busy(detail, rejected="queue_full")
            self.pending += 1
        future = self._pool.submit(work)
        future.add_done_callback(self._done)
        try:
            seconds = self._settings.timeout_seconds
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            detail = "The answer took too long; ask for less, or again later."
            raise busy(detail, 5, rejected="timeout") from None

    def close(self) -> None:
        """Refuse further work, and drop what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self.pending -= 1


def _compute_on_one_core() -> None:
    """Let a thread of the pool compute on one core, in PyTorch and in faiss."""
    import faiss

    from vaeneer.device import compute_on_one_core

    compute_on_one_core()
    faiss.omp_set_num_threads(1)


def megapixels_of(path: Path) -> float:
    """Megapixels of the header, before anything is decoded.

    Raises ImageFileError for what is no image, or has too long a side.
    """
    size = header_size(path)
    if size is None:
        read_rgb(path, max_megapixels=0)  # says why; it cannot be decoded with 0
        raise ImageFileError(path, "not an image")
    check_sides(path, size)
    return size[0] * size[1] / 1e6


class PixelBudget:
    """Limits how many pixels are decoded at the same time: large pictures wait for each other."""

    def __init__(self, megapixels: float) -> None:
        """megapixels: the limit, of one picture or of several together."""
        self._free = self._all = megapixels
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, megapixels: float, seconds: float) -> Iterator[None]:
        """Reserve pixels for the block. Raises Problem 503 when too few are free in time."""
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
    """The result is no longer wanted; raised inside a job, at its next step."""


class Job(Generic[T]):
    """Long work that runs once: the Progress and Bar that it reports to, and its result."""

    def __init__(self, version: Hashable = None) -> None:
        """version: of what the work is about."""
        self.version = version
        self.state: Literal["computing", "ready", "failed", "stopped"] = "computing"
        self.value: T | None = None
        self.reason = ""
        """Why it failed or was stopped."""
        self.stage = "waiting"
        self.total = 0
        """Of the stage; 0 where it has no number."""
        self.done = 0
        self.stopping = False
        """Whether it ends at its next step."""
        self.before_stage: Callable[[], None] | None = None
        """Called before each stage."""
        self._stage_started = time.monotonic()

    @property
    def fraction(self) -> float:
        """Of the stage, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Of the stage, at its speed so far; None where nothing is done yet."""
        if not self.done:
            return None
        spent = time.monotonic() - self._stage_started
        return max(0.0, spent * (self.total - self.done) / self.done)

    def begin(self, stage: str, total: int = 0) -> None:
        """Begin a stage; ends the job where it was stopped."""
        self.advance(0)
        if self.before_stage is not None:
            self.before_stage()
        self.stage, self.total, self.done = stage, total, 0
        self._stage_started = time.monotonic()

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Bar]:
        """Begin the next stage, as a Progress does."""
        self.begin(title, total)
        return nullcontext(self)

    def say(self, line: str) -> None:
        """Ignore a line: it is for a terminal."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count what is done of the stage, as a Bar does; ends the job where it was stopped."""
        if self.stopping:
            raise _Stopped
        self.done += count

    def run(self, work: Callable[[Job[T]], T]) -> None:
        """Do the work, and keep its result or why there is none."""
        try:
            self.advance(0)
            self.value = work(self)
            self.state = "ready"
        except _Stopped:
            self.reason, self.state = "It was stopped.", "stopped"
        except (VaeneerError, OSError) as error:  # such as a moved library or a full disk
            self.reason, self.state = str(error), "failed"
        except Exception as error:  # reported to clients
            _LOG.exception("a job failed")
            self.reason, self.state = f"{type(error).__name__}: {error}", "failed"


class Jobs(Generic[T]):
    """Starts each job once, one after the other, and keeps the last results.

    A job of a new version replaces that of the old one, which ends at its next step.
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
        self,
        key: Hashable,
        work: Callable[[Job[T]], T],
        version: Hashable = None,
        *,
        again: bool = False,
    ) -> Job[T]:
        """The job of a key and version: the existing one, or a new one where that did not end well.

        again: start a new one where the existing one is ready, too.
        """
        with self._lock:
            existing = self._jobs.pop(key, None)
            if existing is not None:
                usable = existing.state == "computing" or (existing.state == "ready" and not again)
                ending = existing.state == "computing" and existing.stopping
                if usable and not ending and existing.version == version:
                    self._jobs[key] = existing
                    return existing
                existing.stopping = True
            job = self._jobs[key] = Job[T](version)
            if len(self._jobs) > _MAX_JOBS:
                self._jobs.pop(next(iter(self._jobs))).stopping = True
            thread = threading.Thread(target=self._run, args=(job, work), name="job", daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()
            return job

    def cancel(self, key: Hashable) -> None:
        """End the job of a key at its next step, and immediately where it waits for its turn."""
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and job.state == "computing":
                job.stopping = True
                if job.stage == "waiting":
                    job.reason, job.state = "It was stopped.", "stopped"

    def stop(self) -> None:
        """End what is under way at its next step: a thread that is cut off in C++ aborts Python."""
        with self._lock:
            for job in self._jobs.values():
                job.stopping = True
        for thread in self._threads:
            thread.join(_END_SECONDS)

    def _run(self, job: Job[T], work: Callable[[Job[T]], T]) -> None:
        with self._turn:
            job.run(work)
