"""Cores that this process has, how threads wait, chunks, and results prefetched by threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vaeneer.errors import ImageFileError
from vaeneer.settings import CountOrZero, check

Job = TypeVar("Job")
Made = TypeVar("Made")


def core_count(requested: int = 0) -> int:
    """Number of workers to start: `requested`, or one for each available core.

    Available are the cores of the affinity mask (taskset, a scheduler) within the CPU quota of the
    control group (a container), as joblib reads them. Raises SettingsError for less than 0.
    """
    check("workers", requested, CountOrZero)
    if requested:
        return requested
    from joblib import cpu_count

    return int(cpu_count())


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait for each other.

    Call it before PyTorch is imported. Threads that spin take the cores from other work, such as
    decoding, and each other's time on a busy machine (benchmarks/busy_machine.py). A policy set by
    the user stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def prefetch(
    make: Callable[[Job], Made],
    jobs: Iterable[Job],
    *,
    workers: int,
    initializer: Callable[[], None] | None = None,
) -> Iterator[Made]:
    """`make(job)` of each job in turn, by `workers` threads; what it raises is raised here.

    At most two for each thread wait to be taken, so that memory does not grow. initializer: called
    once in each thread.
    """
    with ThreadPoolExecutor(workers, initializer=initializer) as pool:

        def submit(job: Job) -> Future[Made]:
            return pool.submit(make, job)

        try:
            for future in submit_ahead(submit, jobs, ahead=2 * workers):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def submit_ahead(
    submit: Callable[[Job], Made], jobs: Iterable[Job], *, ahead: int
) -> Iterator[Made]:
    """`submit(job)` of each job in turn, each yielded when `ahead` later ones are submitted."""
    waiting: deque[Made] = deque()
    for job in jobs:
        waiting.append(submit(job))
        if len(waiting) > ahead:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def prefetch_groups(
    make: Callable[[Job], Made],
    groups: Iterable[Iterable[Job]],
    *,
    workers: int,
    ahead: int,
    skipped: list[ImageFileError] | None = None,
) -> Iterator[list[tuple[Job, Made]]]:
    """The jobs of each group in turn, each with `make(job)`, by `workers` threads.

    ahead: groups that wait to be taken. A job whose file cannot be read is added to `skipped` and
    left out, as is a group that becomes empty; without `skipped` the ImageFileError is raised.
    """
    with ThreadPoolExecutor(workers) as pool:

        def submit(group: Iterable[Job]) -> list[tuple[Job, Future[Made]]]:
            return [(job, pool.submit(make, job)) for job in group]

        try:
            for group in submit_ahead(submit, groups, ahead=ahead):
                made = []
                for job, future in group:
                    try:
                        made.append((job, future.result()))
                    except ImageFileError as error:
                        if skipped is None:
                            raise
                        skipped.append(error)
                if made:
                    yield made
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # a run that stops does not read on


def chunks(count: int, size: int) -> list[range]:
    """The indices 0 .. count - 1 in groups of `size`, the last one shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
