"""The network's threads: what waits together is embedded together, and everyone gets their own."""

from __future__ import annotations

import asyncio
import gc
import platform
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from starlette.exceptions import HTTPException
from torch import Tensor

import vaeneer
from vaeneer.model.projection import Vectors
from vaeneer.progress import Progress
from vaeneer.serving.background import Jobs, PixelBudget, RequestPool
from vaeneer.serving.batching import BatchedEmbedder, Batcher
from vaeneer.serving.schemas import Problem
from vaeneer.settings import ServeSettings

SETTINGS = ServeSettings(device="cpu", batch_crops=8, batch_wait_ms=50, timeout_seconds=10)


class Noting(vaeneer.Embedder):
    """Writes down the batches that it is given."""

    seen: tuple[int, ...] = ()

    def embed(self, images: Any) -> Vectors:
        """As it is, and noted."""
        self.seen = (*self.seen, len(images))
        if int(images.sum()) == 0:
            raise ValueError("a crop that is all black")
        return super().embed(images)


@pytest.fixture(scope="module")
def plain() -> vaeneer.Embedder:
    return vaeneer.Embedder("surface-base", device="cpu", precision="float32")


@pytest.fixture
def noting(plain: vaeneer.Embedder) -> Noting:
    return Noting(plain.vae, precision=plain.precision)


@pytest.fixture
def network() -> Iterator[Batcher]:
    made = Batcher(SETTINGS)
    made.start()
    yield made
    made.stop()


def crops(count: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(1, 255, (count, 3, 254, 254), generator=random, dtype=torch.uint8)


def held(network: Batcher, work: threading.Event) -> list[threading.Thread]:
    """Keep every thread of the network busy until an event."""
    threads = [
        threading.Thread(target=lambda: network.do(lambda: work.wait(10))) for _ in network._threads
    ]
    for thread in threads:
        thread.start()
    while network._busy < len(threads):
        time.sleep(0.01)
    return threads


def test_what_waits_together_goes_together(
    plain: vaeneer.Embedder, noting: Noting, network: Batcher
) -> None:
    embedder, free = BatchedEmbedder(noting, network), threading.Event()
    asked = [crops(count, count) for count in (2, 3, 1, 4, 2)]
    holders = held(network, free)
    with ThreadPoolExecutor(5) as pool:
        answers = []
        for number, images in enumerate(asked):  # in this order
            answers.append(pool.submit(embedder.embed, images))
            while network.depth <= number:
                time.sleep(0.01)
        free.set()
        for images, answer in zip(asked, answers, strict=True):
            assert np.abs(answer.result(20) - plain.embed(images)).max() < 1e-4
    assert sorted(noting.seen) == [6, 6]  # 2 + 3 + 1, and 4 + 2: up to 8 each, in order
    for holder in holders:
        holder.join(5)


def test_a_mistake_ends_no_thread(
    plain: vaeneer.Embedder, noting: Noting, network: Batcher
) -> None:
    embedder = BatchedEmbedder(noting, network)
    for _ in range(2 * len(network._threads)):
        with pytest.raises(ValueError, match="black"):
            embedder.embed(0 * crops(1, 1))
        with pytest.raises(ZeroDivisionError):
            network.do(lambda: 1 // 0)
    assert np.array_equal(embedder.embed(crops(2, 3)), plain.embed(crops(2, 3)))


def test_more_requests_than_may_wait_are_refused() -> None:
    pool = RequestPool(ServeSettings(queue_length=2))
    free = threading.Event()

    async def ask() -> None:
        waiting = [asyncio.create_task(pool.submit(lambda: free.wait(10))) for _ in range(2)]
        while pool.pending < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(Problem, match="2 requests are waiting") as refused:
            await pool.submit(lambda: True)
        assert (refused.value.status_code, refused.value.rejected) == (503, "queue_full")
        assert refused.value.headers == {"Retry-After": "1"}
        free.set()
        assert await asyncio.gather(*waiting) == [True, True]
        assert await pool.submit(lambda: 7) == 7

    asyncio.run(ask())
    assert pool.pending == 0
    pool.close()


def test_large_pictures_wait_for_each_other() -> None:
    budget, most, inside = PixelBudget(10), [0], [0]
    lock = threading.Lock()

    def decode(megapixels: float) -> None:
        with budget.taking(megapixels, 10):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            with lock:
                inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [6.0] * 6))
        assert most[0] == 1
        list(pool.map(decode, [5.0] * 6))
        assert most[0] == 2
    with budget.taking(99, 1), pytest.raises(HTTPException), budget.taking(1, 0.05):
        pass
    with budget.taking(10, 0.05):
        pass


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are those of glibc")
def test_the_threads_of_a_server_share_two_arenas() -> None:
    code = """
import ctypes, threading
from vaeneer.errors import SettingsError
from vaeneer.serving.server import serve
try:
    serve("nowhere")
except SettingsError:
    libc, all_there = ctypes.CDLL(None), threading.Barrier(6)
    def allocate():
        libc.malloc(1000)
        all_there.wait()
    threads = [threading.Thread(target=allocate) for _ in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
    libc.fflush(None)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert 1 <= done.stdout.count("<heap nr=") <= 2, done.stdout


def test_a_job_is_done_once_and_a_failed_one_again() -> None:
    jobs: Jobs[int] = Jobs()
    calls: list[int] = []

    def work(_: object) -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("the first time")
        return 7

    def settled() -> str:
        for _ in range(200):
            job = jobs.get("a")
            assert job is not None
            if job.state != "computing":
                return f"{job.state} {job.reason}{job.value}"
            time.sleep(0.01)
        raise AssertionError("never done")

    assert jobs.get("a") is None
    jobs.start("a", work)
    assert settled() == "failed ValueError: the first timeNone"
    assert settled() == "failed ValueError: the first timeNone"  # asking starts nothing
    jobs.start("a", work)
    assert settled() == "ready 7"
    assert jobs.start("a", work).value == 7
    assert len(calls) == 2


def endless(begun: threading.Event) -> Callable[[Progress], Any]:
    """Work that goes on until it is stopped."""

    def work(progress: Progress) -> Any:
        with progress.bar("for ever", total=10**9, unit="steps") as bar:
            while True:
                bar.advance()
                begun.set()
                time.sleep(0.01)

    return work


def test_nothing_of_an_old_version_is_kept() -> None:
    class Answer:
        """What weak references can follow."""

    jobs: Jobs[Answer] = Jobs()

    def of_version(version: int) -> weakref.ref[Answer]:
        job = jobs.start("a", lambda _: Answer(), version)
        for _ in range(500):
            if job.value is not None:
                return weakref.ref(job.value)
            time.sleep(0.01)
        raise AssertionError(f"version {version}: {job.state} {job.reason}")

    first = of_version(1)
    assert first() is not None
    second = of_version(2)
    gc.collect()
    assert first() is None
    assert jobs.get("a", 1) is None
    job = jobs.get("a", 2)
    assert job is not None
    assert job.value is second() is not None
    begun = threading.Event()
    running = jobs.start("a", endless(begun), 3)
    assert begun.wait(5)
    of_version(4)  # its turn comes once the other has ended
    assert running.state == "stopped"


def test_jobs_end_with_the_server() -> None:
    jobs: Jobs[int] = Jobs()
    begun = threading.Event()
    running = jobs.start("endless", endless(begun))
    waiting = jobs.start("next", endless(begun))
    assert begun.wait(5)
    jobs.stop()
    assert running.state == waiting.state == "stopped"
    assert not [thread for thread in threading.enumerate() if thread.name == "job"]
