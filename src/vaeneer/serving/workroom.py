"""Where requests do what takes long: a few threads, and a bounded number of requests for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from vaeneer.serving.metrics import Metrics
from vaeneer.serving.problems import busy
from vaeneer.settings.commands import ServeSettings

T = TypeVar("T")
_THREADS = 16
"""Enough that the crops of a whole batch can be decoded while the network has another."""


class Workroom:
    """Runs blocking work for the event loop, and says no when too much of it waits."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(_THREADS, "work", initializer=_alone)
        self._lock = threading.Lock()
        self._inside = 0

    @property
    def inside(self) -> int:
        """Requests that wait or are worked on."""
        return self._inside

    async def do(self, work: Callable[[], T]) -> T:
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


def _alone() -> None:
    """Let a thread of the room compute on one core: a team of threads for each would only wait."""
    import faiss
    import torch

    usual = torch.get_num_threads()  # settles this thread before it is told otherwise
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    other = threading.Thread(target=torch.set_num_threads, args=(usual,))
    other.start()  # PyTorch keeps the last number for threads to come: the usual one again
    other.join()


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
