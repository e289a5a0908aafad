"""Things made by threads a little ahead of who needs them, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Made = TypeVar("Made")


def made_ahead(
    make: Callable[[int], Made], numbers: Sequence[int], *, workers: int
) -> Iterator[Made]:
    """`make(number)` of each number in turn, by `workers` threads; what it raises is raised here.

    At most two for each thread wait to be taken, so that memory does not grow.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for number in numbers:
                waiting.append(pool.submit(make, number))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
