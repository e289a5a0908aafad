"""The threads that run networks: crops of requests that wait together are embedded together.

Requests come in threads of their own (background.py), which decode and then wait here; while
batches are under way the next ones
gather. A GPU has one thread. A CPU has one for each core: a batch that
is alone takes all cores, and batches beside each other take one each, since teams of threads that
share cores spend their time waiting for each other (benchmarks/serving.py).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vaeneer.device import choose_device, malloc_trim
from vaeneer.model.embedder import Embedder, Images
from vaeneer.model.projection import Vectors
from vaeneer.serving.metrics import Metrics
from vaeneer.serving.problems import busy
from vaeneer.settings import ServeSettings

T = TypeVar("T")
_TIDY_SECONDS = 10.0


@dataclass(frozen=True)
class _Crops:
    """Crops (n, 3, H, W) uint8 of one image, and who is to embed them."""

    embedder: BatchedEmbedder
    images: Tensor
    answer: Future[Vectors]

    def compatible(self, other: _Crops) -> bool:
        return (
            self.embedder is other.embedder
            and self.images.shape[1:] == other.images.shape[1:]
            and self.images.dtype == other.images.dtype
        )


@dataclass(frozen=True)
class _Work:
    """Anything else that needs a network."""

    do: Callable[[], Any]
    answer: Future[Any]


class _BatchQueue:
    """What waits, in order; of several threads each takes what it can use at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: deque[_Crops | _Work | None] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: _Crops | _Work | None) -> bool:
        """Whether there was room; None, which ends a thread, always has."""
        with self._changed:
            if job is not None and len(self._jobs) >= self._most:
                return False
            self._jobs.append(job)
            self._changed.notify_all()
            return True

    def take(self) -> _Crops | _Work | None:
        """The first; waits for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs)
            return self._jobs.popleft()

    def get_compatible(self, first: _Crops, room: int, until: float) -> _Crops | None:
        """The next, where it goes with `first` and has up to `room` crops; waits for one."""
        with self._changed:
            while not self._jobs:
                if not self._changed.wait(max(0.0, until - time.monotonic())):
                    return None
            job = self._jobs[0]
            if isinstance(job, _Crops) and job.compatible(first) and len(job.images) <= room:
                self._jobs.popleft()
                return job
            return None


class Batcher:
    """The threads and their queue."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        """Nothing runs before `start`."""
        self._settings = settings
        self._metrics = metrics
        self._waiting = _BatchQueue(4 * settings.queue_length)
        self._cores = torch.get_num_threads()
        count = 1 if choose_device(settings.device).type == "cuda" else self._cores
        self._threads = [
            threading.Thread(target=self._run, name=f"network {number}", daemon=True)
            for number in range(count)
        ]
        self._lock = threading.Lock()
        self._busy = 0
        self._tidied = time.monotonic()

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is waiting."""
        alive = [thread for thread in self._threads if thread.is_alive()]
        for _ in alive:
            self._waiting.put(None)
        for thread in alive:
            thread.join(self._settings.timeout_seconds)

    @property
    def depth(self) -> int:
        """How much is waiting."""
        return len(self._waiting)

    def embed(self, embedder: BatchedEmbedder, images: Tensor) -> Vectors:
        """Vectors (n, D) of crops (n, 3, H, W); blocks until the batch with them is done."""
        answer: Future[Vectors] = Future()
        self._put(_Crops(embedder, images, answer))
        return self._result(answer)

    def do(self, work: Callable[[], T]) -> T:
        """Run anything else in its turn; blocks until it is done."""
        answer: Future[T] = Future()
        self._put(_Work(work, answer))
        return self._result(answer)

    def _put(self, job: _Crops | _Work) -> None:
        if not self._waiting.put(job):
            self._metrics.rejected("network_queue_full")
            raise busy("The network has too much to do; ask again in a second.")

    def _result(self, answer: Future[T]) -> T:
        try:
            return answer.result(self._settings.timeout_seconds)
        except FutureTimeout:
            answer.cancel()
            raise busy("The network was too busy to answer in time; ask again.", 5) from None

    def _run(self) -> None:
        torch.get_num_threads()  # settles it, whatever other threads are told
        while (job := self._waiting.take()) is not None:
            if isinstance(job, _Work):
                with self._cores_for_it():
                    _answer(job.answer, job.do)
            else:
                batch = self._gathered(job)
                with self._cores_for_it():
                    self._embed(batch)
            self._tidy()

    def _tidy(self) -> None:
        """Now and then, let go of what batches have freed, so that memory does not grow."""
        with self._lock:
            due = time.monotonic() > self._tidied + _TIDY_SECONDS
            self._tidied = time.monotonic() if due else self._tidied
        if due:
            malloc_trim()

    @contextmanager
    def _cores_for_it(self) -> Iterator[None]:
        """All cores where nothing else is under way or waiting, else one."""
        with self._lock:
            self._busy += 1
            alone = self._busy == 1 and not len(self._waiting)
        if len(self._threads) > 1:
            torch.set_num_threads(self._cores if alone else 1)
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def _gathered(self, first: _Crops) -> list[_Crops]:
        """`first` and what comes within a few milliseconds, up to a batch."""
        batch, room = [first], self._settings.batch_crops - len(first.images)
        until = time.monotonic() + self._settings.batch_wait_ms / 1000
        while room > 0:
            job = self._waiting.get_compatible(first, room, until)
            if job is None:
                break
            batch.append(job)
            room -= len(job.images)
        return batch

    def _embed(self, batch: list[_Crops]) -> None:
        batch = [one for one in batch if one.answer.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            images = torch.cat([one.images for one in batch])
            vectors = batch[0].embedder.embed_direct(images)
        except Exception as error:  # whoever waits is told, and the thread goes on
            for one in batch:
                one.answer.set_exception(error)
            return
        self._metrics.batch(len(images), len(batch))
        start = 0
        for one in batch:
            stop = start + len(one.images)
            one.answer.set_result(vectors[start:stop])
            start = stop


class BatchedEmbedder(Embedder):
    """An embedder whose work is done by the network's thread, together with that of others."""

    def __init__(self, embedder: Embedder, network: Batcher, batch_size: int) -> None:
        """embedder: the one whose network and read-out are used."""
        super().__init__(
            embedder.vae,
            name=embedder.name,
            precision=embedder.precision,
            views=embedder.views,
            batch_size=batch_size,
        )
        self._network = network

    def embed(self, images: Images) -> Vectors:
        """As that of Embedder, of a batch (B, 3, H, W)."""
        if not isinstance(images, Tensor | np.ndarray):
            return super().embed(images)
        batch = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
        return self._network.embed(self, batch)

    def embed_direct(self, images: Tensor) -> Vectors:
        """As `embed`, at once and in this thread."""
        return super().embed(images)


def _answer(answer: Future[Any], do: Callable[[], Any]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(do())
    except BaseException as error:  # whoever waits is told, and the thread goes on
        answer.set_exception(error)
