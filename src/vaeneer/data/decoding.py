"""Decode many files once, in processes: what an image is, its hash, or its PNG."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vaeneer.data.images import read_image
from vaeneer.data.near_duplicates import Fingerprint, fingerprint
from vaeneer.errors import DataError, ImageFileError
from vaeneer.files import replacing
from vaeneer.provenance import refuse_own_picture
from vaeneer.workers import core_count

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")

# Starting a process costs about as much as decoding this much.
_BYTES_WORTH_PROCESSES = 24 * 2**20
_JOBS_AT_ONCE = 4  # sent to a process together


@dataclass(frozen=True)
class LookJob:
    """One image file to decode."""

    file: Path
    max_megapixels: float
    with_fingerprint: bool


@dataclass(frozen=True)
class Look:
    """What decoding told; `reason` and nothing else where the file cannot be used."""

    reason: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    mode: str | None = None
    format: str | None = None
    plain: bool | None = None
    bits: int | None = None
    notes: tuple[str, ...] = ()
    sha256: str | None = None
    prints: Fingerprint | None = None


@dataclass(frozen=True)
class ConvertJob:
    """One image file to write again as an RGB PNG."""

    source: Path
    target: Path
    max_megapixels: float


def look(job: LookJob) -> Look:
    """Decode one file fully. A bad file answers its reason instead of raising."""
    try:
        refuse_own_picture(job.file)
        picture = read_image(job.file, max_megapixels=job.max_megapixels)
        with job.file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except ImageFileError as error:
        return Look(reason=error.reason)
    except OSError as error:
        return Look(reason=f"cannot be read: {error.strerror}")
    return Look(
        width_px=picture.width_px,
        height_px=picture.height_px,
        mode=picture.mode,
        format=picture.format,
        plain=picture.plain,
        bits=picture.bits,
        notes=picture.notes,
        sha256=sha256,
        prints=fingerprint(picture.rgb) if job.with_fingerprint else None,
    )


def convert(job: ConvertJob) -> None:
    """Write one file as an RGB PNG, whole or not at all."""
    rgb = read_image(job.source, max_megapixels=job.max_megapixels).rgb
    rgb.info.clear()  # the pixels are sRGB now: no profile, no orientation
    with replacing(job.target) as temporary:
        rgb.save(temporary, "PNG")


def in_processes(
    function: Callable[[_Job], _Answer], jobs: Sequence[_Job], *, workers: int, size_bytes: int
) -> Generator[_Answer, None, None]:
    """The answers in the order of the jobs; in this process where starting others costs more.

    Only a few jobs for each process are under way, so that answers which nobody takes do not
    fill the memory. Close the generator to stop early.
    workers: 0 takes one for each core. size_bytes: of all files together.
    Raises DataError when a process was killed from outside.
    """
    workers = min(core_count(workers), len(jobs))
    if workers <= 1 or size_bytes < _BYTES_WORTH_PROCESSES:
        yield from map(function, jobs)
        return
    context = multiprocessing.get_context("spawn")  # fork beside threads can hang
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_process)
    try:
        yield from _in_order(executor, function, jobs, ahead=4 * workers)
    except BrokenProcessPool as error:
        raise DataError(
            "A process that decodes images was killed, most likely because memory ran out;"
            " use fewer --workers or a lower --max-megapixels."
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _in_order(
    executor: ProcessPoolExecutor,
    function: Callable[[_Job], _Answer],
    jobs: Sequence[_Job],
    *,
    ahead: int,
) -> Iterator[_Answer]:
    waiting: deque[Future[list[_Answer]]] = deque()
    for start in range(0, len(jobs), _JOBS_AT_ONCE):
        with _without_main():
            group = jobs[start : start + _JOBS_AT_ONCE]
            waiting.append(executor.submit(_answer_each, function, group))
        if len(waiting) > ahead:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _answer_each(function: Callable[[_Job], _Answer], jobs: Sequence[_Job]) -> list[_Answer]:
    return [function(job) for job in jobs]


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the caller's script again.

    They need nothing of it, and a script without `if __name__ == "__main__"` would start over.
    """
    main = sys.modules["__main__"]
    names = ("__spec__", "__file__")
    saved = {name: getattr(main, name, None) for name in names}
    existed = {name for name in names if hasattr(main, name)}
    for name in names:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name in names:
            if name in existed:
                setattr(main, name, saved[name])
            else:
                delattr(main, name)


def _begin_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot stop us, and we would wait for its jobs for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
