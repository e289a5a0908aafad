"""One thread that runs every network: crops of requests that wait together are embedded together.

Requests come in threads of their own (workroom.py), which decode and then wait here. While a batch
is under way the next ones gather, so that the network is never idle and never run twice at once.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.model.embedder import Embedder
from vaeneer.model.readout import Vectors
from vaeneer.serving.metrics import Metrics
from vaeneer.serving.problems import busy
from vaeneer.serving_config import ServeSettings

T = TypeVar("T")


@dataclass(frozen=True)
class _Crops:
    """Crops (n, 3, H, W) uint8 of one image, and who is to embed them."""

    embedder: GatheringEmbedder
    images: Tensor
    answer: Future[Vectors]

    def goes_with(self, other: _Crops) -> bool:
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


class Network:
    """The thread and its queue."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        """Nothing runs before `start`."""
        self._settings = settings
        self._metrics = metrics
        self._waiting: queue.Queue[_Crops | _Work | None] = queue.Queue(4 * settings.queue_length)
        self._kept: _Crops | _Work | None = None  # taken from the queue, but not for this batch
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End after what is waiting."""
        if self._thread.is_alive():
            self._waiting.put(None)

    @property
    def depth(self) -> int:
        """How much is waiting."""
        return self._waiting.qsize()

    def embed(self, embedder: GatheringEmbedder, images: Tensor) -> Vectors:
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
        try:
            self._waiting.put_nowait(job)
        except queue.Full:
            self._metrics.rejected("network_queue_full")
            raise busy("The network has too much to do; ask again in a second.") from None

    def _result(self, answer: Future[T]) -> T:
        try:
            return answer.result(self._settings.timeout_seconds)
        except FutureTimeout:
            answer.cancel()
            raise busy("The network was too busy to answer in time; ask again.", 5) from None

    def _run(self) -> None:
        while True:
            job = self._kept or self._waiting.get()
            self._kept = None
            if job is None:
                return
            if isinstance(job, _Work):
                _answer(job.answer, job.do)
            else:
                self._embed(self._gathered(job))

    def _gathered(self, first: _Crops) -> list[_Crops]:
        """`first` and what comes within a few milliseconds, up to a batch."""
        batch, count = [first], len(first.images)
        until = time.monotonic() + self._settings.batch_wait_ms / 1000
        while count < self._settings.batch_crops:
            try:
                job = self._waiting.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if job is None:
                self._waiting.put(None)
                break
            fits = isinstance(job, _Crops) and job.goes_with(first)
            if not isinstance(job, _Crops) or not fits:
                self._kept = job
                break
            count += len(job.images)
            if count > self._settings.batch_crops:
                self._kept = job
                break
            batch.append(job)
        return batch

    def _embed(self, batch: list[_Crops]) -> None:
        batch = [one for one in batch if one.answer.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            images = torch.cat([one.images for one in batch])
            vectors = batch[0].embedder.embed_now(images)
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


class GatheringEmbedder(Embedder):
    """An embedder whose work is done by the network's thread, together with that of others."""

    def __init__(self, embedder: Embedder, network: Network, batch_size: int) -> None:
        """embedder: the one whose network and read-out are used."""
        super().__init__(
            embedder.vae,
            name=embedder.name,
            precision=embedder.precision,
            views=embedder.views,
            batch_size=batch_size,
        )
        self._network = network

    def embed(self, images: Tensor | NDArray[Any]) -> Vectors:
        """As that of Embedder."""
        batch = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
        return self._network.embed(self, batch)

    def embed_now(self, images: Tensor) -> Vectors:
        """As `embed`, at once and in this thread."""
        return super().embed(images)


def _answer(answer: Future[Any], do: Callable[[], Any]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(do())
    except BaseException as error:  # whoever waits is told, and the thread goes on
        answer.set_exception(error)
