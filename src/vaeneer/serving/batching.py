"""Dynamic batching: crops of requests that wait together go through the network together.

Requests come in threads of their own (background.py), which decode and then wait here; while
batches are under way the next ones gather. A GPU has one thread. A CPU has one for each core: a
batch that is alone takes all cores, and batches beside each other take one each, since teams of
threads that share cores spend their time waiting for each other (benchmarks/serving.py).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vaeneer.device import choose_device, malloc_trim
from vaeneer.model.embedder import Embedder, Images
from vaeneer.model.projection import Vectors
from vaeneer.serving.schemas import busy
from vaeneer.settings import ServeSettings

T = TypeVar("T")
_TRIM_SECONDS = 10.0
_MIN_BATCH = 16  # crops in one forward pass


@dataclass(frozen=True)
class _Crops:
    """Crops (n, 3, H, W) of one image, and the embedder that they go through."""

    embedder: Embedder
    images: Tensor
    result: Future[Vectors] = field(default_factory=Future)

    def fits(self, first: _Crops, room: int) -> bool:
        """Whether these crops may be in the batch of others, which has room for so many."""
        return (
            len(self.images) <= room
            and self.embedder is first.embedder
            and self.images.shape[1:] == first.images.shape[1:]
            and self.images.dtype == first.images.dtype
        )


@dataclass(frozen=True)
class _Work:
    """Any other work that needs a network."""

    do: Callable[[], Any]
    result: Future[Any] = field(default_factory=Future)


class Batcher:
    """The threads that run networks, and the queue in front of them.

    The queue is as long as the pool of requests lets it be (`RequestPool`).
    """

    def __init__(
        self, settings: ServeSettings, count_batch: Callable[[int, int], None] | None = None
    ) -> None:
        """Nothing runs before `start`. count_batch: gets the crops and images of each batch."""
        self._settings = settings
        self._count_batch = count_batch
        self._embedders: dict[str, BatchedEmbedder] = {}
        self._loading = threading.Lock()
        self._queue: deque[_Crops | _Work | None] = deque()
        self._changed = threading.Condition()
        self._cores = torch.get_num_threads()
        count = 1 if choose_device(settings.device).type == "cuda" else self._cores
        self._threads = [
            threading.Thread(target=self._run, name=f"network {number}", daemon=True)
            for number in range(count)
        ]
        self._busy = 0
        self._trimmed = time.monotonic()

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End once the queue is empty."""
        alive = [thread for thread in self._threads if thread.is_alive()]
        for _ in alive:
            self._put(None)
        for thread in alive:
            thread.join(self._settings.timeout_seconds)

    def embedder(self, model: Path, fingerprint: str) -> BatchedEmbedder:
        """The embedder of a model folder; models of the same fingerprint share one.

        Raises ModelFileError.
        """
        with self._loading:
            if fingerprint not in self._embedders:
                plain = Embedder(
                    model,
                    device=self._settings.device,
                    precision=self._settings.precision,
                    batch_size=max(self._settings.batch_crops, _MIN_BATCH),
                )
                self._embedders[fingerprint] = BatchedEmbedder(plain, self)
            return self._embedders[fingerprint]

    @property
    def depth(self) -> int:
        """Length of the queue."""
        return len(self._queue)

    def embed(self, embedder: Embedder, images: Tensor) -> Vectors:
        """Vectors (n, D) of crops (n, 3, H, W); blocks until the batch with them is done.

        Raises Problem 503 when that takes too long.
        """
        crops = _Crops(embedder, images)
        self._put(crops)
        return self._wait(crops.result)

    def do(self, work: Callable[[], T]) -> T:
        """Run other work in its turn; blocks until it is done. Raises as `embed`."""
        job = _Work(work)
        self._put(job)
        result: T = self._wait(job.result)
        return result

    def _put(self, job: _Crops | _Work | None) -> None:
        """Append to the queue; None ends a thread."""
        with self._changed:
            self._queue.append(job)
            self._changed.notify_all()

    def _wait(self, result: Future[T]) -> T:
        try:
            return result.result(self._settings.timeout_seconds)
        except FutureTimeout:
            result.cancel()
            raise busy("The network was too busy to answer in time; ask again.", 5) from None

    def _run(self) -> None:
        torch.get_num_threads()  # before any set_num_threads: it sets up this thread's own number
        while batch := self._next_batch():
            with self._cores_for_batch():
                self._process(batch)
            if time.monotonic() > self._trimmed + _TRIM_SECONDS:  # else memory grows with batches
                self._trimmed = time.monotonic()
                malloc_trim()

    def _next_batch(self) -> list[_Crops | _Work]:
        """Wait for a job; of crops, with those that come within a few milliseconds and fit.

        Empty where the thread is to end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queue)
            first = self._queue.popleft()
            if first is None:
                return []
            batch: list[_Crops | _Work] = [first]
            if isinstance(first, _Work):
                return batch
            room = self._settings.batch_crops - len(first.images)
            until = time.monotonic() + self._settings.batch_wait_ms / 1000
            while room > 0:
                left = max(0.0, until - time.monotonic())
                if not self._changed.wait_for(lambda: self._queue, left):
                    break
                job = self._queue[0]
                if not isinstance(job, _Crops) or not job.fits(first, room):
                    break
                batch.append(job)
                self._queue.popleft()
                room -= len(job.images)
            return batch

    def _process(self, batch: list[_Crops | _Work]) -> None:
        wanted = [job for job in batch if job.result.set_running_or_notify_cancel()]
        crops = [job for job in wanted if isinstance(job, _Crops)]
        try:
            results: list[Any] = [job.do() for job in wanted if isinstance(job, _Work)]
            if crops:
                images = torch.cat([one.images for one in crops])
                ends = np.cumsum([len(one.images) for one in crops])
                results = np.split(crops[0].embedder.embed(images), ends[:-1])
                if self._count_batch is not None:
                    self._count_batch(len(images), len(crops))
        except BaseException as error:  # reported to whoever waits; the thread continues
            for job in wanted:
                job.result.set_exception(error)
        else:
            for job, result in zip(wanted, results, strict=True):
                job.result.set_result(result)

    @contextmanager
    def _cores_for_batch(self) -> Iterator[None]:
        """All cores where nothing else is under way or waiting, else one."""
        with self._changed:
            self._busy += 1
            alone = self._busy == 1 and not self._queue
        if len(self._threads) > 1:
            torch.set_num_threads(self._cores if alone else 1)
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1


class BatchedEmbedder(Embedder):
    """An embedder whose batches of crops go through a batcher, together with those of others."""

    def __init__(self, plain: Embedder, batcher: Batcher) -> None:
        """plain: what the batcher's threads embed with."""
        super().__init__(
            plain.vae,
            name=plain.name,
            precision=plain.precision,
            views=plain.views,
            batch_size=plain.batch_size,
        )
        self._plain = plain
        self._batcher = batcher

    def embed(self, images: Images) -> Vectors:
        """As that of Embedder. Raises Problem 503 for a batch (B, 3, H, W) that takes too long."""
        if not isinstance(images, Tensor | np.ndarray):
            return super().embed(images)
        batch = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
        return self._batcher.embed(self._plain, batch)
