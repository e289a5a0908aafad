"""Decode files in worker processes: pixels, thumbnails, hashes, PNGs. No PyTorch in here."""

from __future__ import annotations

import hashlib
import io
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

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.checksums import BLANK, stamped
from vaeneer.data.cache_index import PackLayout
from vaeneer.data.images import Picture, read_image, resize_rgb
from vaeneer.data.perceptual_hash import Fingerprint, fingerprint
from vaeneer.errors import DataError, ImageFileError
from vaeneer.files import atomic_write
from vaeneer.provenance import refuse_own_picture
from vaeneer.workers import core_count

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")
# Starting a process costs about as much as decoding this much.
_BYTES_WORTH_PROCESSES = 24 * 2**20
_JOBS_AT_ONCE = 4  # sent to a process together
SOURCE_SIDE_PX = 568
"""Short side of what crops are cut from, that of data/tiles.py."""
THUMB_PX = 256
_THUMB_QUALITY = 82
_DESCRIPTION_TAG = 0x010E  # of EXIF


@dataclass(frozen=True)
class InspectJob:
    """One image file to decode."""

    file: Path
    max_megapixels: float
    with_fingerprint: bool


@dataclass(frozen=True)
class Inspected:
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


def inspect(job: InspectJob) -> Inspected:
    """Decode one file fully. A bad file answers its reason instead of raising."""
    try:
        refuse_own_picture(job.file)
        picture = read_image(job.file, max_megapixels=job.max_megapixels)
        with job.file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except ImageFileError as error:
        return Inspected(reason=error.reason)
    except OSError as error:
        return Inspected(reason=f"cannot be read: {error.strerror}")
    return Inspected(
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
    with atomic_write(job.target) as temporary:
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


@dataclass(frozen=True)
class ReduceJob:
    """One image file to decode and make smaller."""

    path: Path
    layout: PackLayout


@dataclass(frozen=True)
class Reduced:
    """What became of it: pixels, or a reason."""

    sha256: bytes = b""
    reason: str | None = None
    size_px: tuple[int, int] = (0, 0)
    """Upright width and height in the file."""
    stored_px: tuple[int, int] = (0, 0)
    mean_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pixels: bytes = b""


def reduce_image(job: ReduceJob) -> Reduced:
    """Decode one file and make it as small as the layout says. A bad file answers its reason."""
    sha256 = b""
    try:
        sha256 = sha256_of(job.path)  # first: a file that changes now must not look known later
        pixels, size_px = shrunk_pixels(job.path, job.layout)
    except ImageFileError as error:
        return Reduced(sha256, error.reason)
    except OSError as error:
        return Reduced(sha256, f"cannot be read: {error.strerror}")
    height, width = pixels.shape[:2]
    red, green, blue = (  # ten times quicker than a mean over both axes
        float(pixels[:, :, channel].sum(dtype=np.int64)) / (255 * height * width)
        for channel in range(3)
    )
    return Reduced(sha256, None, size_px, (width, height), (red, green, blue), pixels.tobytes())


def shrunk_pixels(path: Path, layout: PackLayout) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The (h, w, 3) uint8 pixels that a pack keeps, and width and height of the whole image."""
    draft_px = None if layout.square else layout.side_px
    picture = read_image(path, at_least_px=draft_px)
    full = picture.width_px, picture.height_px
    if layout.square:
        return resize_rgb(picture.rgb, layout.side_px), full
    size = layout.stored_size(*full)
    return np.asarray(picture.rgb.resize(size, Image.Resampling.HAMMING)), full


def sha256_of(path: Path) -> bytes:
    """The 32 bytes of a file's SHA-256. Raises ImageFileError for what is no file, and OSError."""
    if not path.is_file():  # a named pipe would block for ever
        raise ImageFileError(path, "not a file" if path.exists() else "no such file")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


@dataclass(frozen=True)
class LibraryJob:
    """One image file to decode."""

    path: Path
    max_megapixels: float
    min_side_px: int


@dataclass(frozen=True)
class LibraryImage:
    """What is kept of one image file; of a bad one the reason."""

    reason: str | None = None
    sha256: bytes = b""
    width_px: int = 0
    height_px: int = 0
    mode: str = ""
    format: str = ""
    bits: int = 8
    notes: tuple[str, ...] = ()
    mean_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)
    prints: Fingerprint | None = None
    thumb: bytes = b""
    """A WebP file, long side up to 256 px."""
    shape: tuple[int, int] = (0, 0)
    """Height and width of `pixels`."""
    pixels: bytes = b""
    """(height, width, 3) uint8, short side up to 568 px."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """The pixels as an array (height, width, 3) uint8."""
        return np.frombuffer(self.pixels, np.uint8).reshape(*self.shape, 3)


def decode_for_library(job: LibraryJob) -> LibraryImage:
    """Decode one file. A bad file answers its reason instead of raising."""
    try:
        sha256 = sha256_of(job.path)  # first: a file that changes now must not look known later
        refuse_own_picture(job.path)
        picture = read_image(
            job.path, max_megapixels=job.max_megapixels, at_least_px=SOURCE_SIDE_PX
        )
    except ImageFileError as error:
        return LibraryImage(error.reason)
    except OSError as error:
        return LibraryImage(f"cannot be read: {error.strerror}")
    size = picture.width_px, picture.height_px
    if min(size) < job.min_side_px:
        return LibraryImage(f"too small: {size[0]} x {size[1]} px, under {job.min_side_px} px")
    return _seen(picture, sha256)


def _seen(picture: Picture, sha256: bytes) -> LibraryImage:
    size = PackLayout(SOURCE_SIDE_PX).stored_size(picture.width_px, picture.height_px)
    small = picture.rgb.resize(size, Image.Resampling.HAMMING)
    pixels = np.asarray(small)
    red, green, blue = (float(pixels[:, :, channel].mean()) / 255 for channel in range(3))
    return LibraryImage(
        sha256=sha256,
        width_px=picture.width_px,
        height_px=picture.height_px,
        mode=picture.mode,
        format=picture.format,
        bits=picture.bits,
        notes=picture.notes,
        mean_rgb=(red, green, blue),
        prints=fingerprint(picture.rgb),
        thumb=_thumbnail(small),
        shape=(pixels.shape[0], pixels.shape[1]),
        pixels=pixels.tobytes(),
    )


def _thumbnail(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[_DESCRIPTION_TAG] = BLANK
    small.save(stream, "WEBP", quality=_THUMB_QUALITY, exif=exif)
    return stamped(stream.getvalue())
