"""Decode files in worker processes: pixels, thumbnails, hashes, PNGs. No PyTorch in here."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import sys
import threading
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
from vaeneer.errors import DataError, ImageFileError, is_transient
from vaeneer.files import atomic_write
from vaeneer.provenance import refuse_own_picture
from vaeneer.workers import core_count, submit_ahead

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")
# Starting a process costs about as much as decoding this much.
_BYTES_WORTH_PROCESSES = 24 * 2**20
_JOBS_AT_ONCE = 4  # sent to a process together
SOURCE_SIDE_PX = 568
"""Short side to which images are decoded: its half is about as large as the network's input."""
THUMB_PX = 256
_THUMB_QUALITY = 82
_DESCRIPTION_TAG = 0x010E  # of EXIF


@dataclass(frozen=True)
class DecodeJob:
    """One image file to decode, and what to return of it beside its hash and facts."""

    path: Path
    max_megapixels: float = 500.0
    min_side_px: int = 1
    """Smaller images are refused."""
    own_pictures: bool = False
    """Whether pictures that vaeneer made are images too."""
    fingerprint: bool = False
    layout: PackLayout | None = None
    """The pixels to return; a JPEG is decoded only as large as they need to be."""
    thumbnail: bool = False
    """A WebP file of the pixels, long side up to 256 px."""
    png: Path | None = None
    """Where to write the image as an RGB PNG."""


@dataclass(frozen=True)
class DecodedImage:
    """Facts, hashes and pixels of one image file; of a bad one the reason."""

    reason: str | None = None
    sha256: bytes = b""
    """Of the file; empty where it cannot be read."""
    width_px: int = 0
    height_px: int = 0
    """Upright size of the image in the file."""
    mode: str = ""
    format: str = ""
    plain: bool = False
    bits: int = 8
    notes: tuple[str, ...] = ()
    prints: Fingerprint | None = None
    mean_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Mean of the pixels, channels in [0, 1]."""
    shape: tuple[int, int] = (0, 0)
    """Height and width of `pixels`."""
    pixels: bytes = b""
    """(height, width, 3) uint8."""
    thumb: bytes = b""

    @property
    def image(self) -> NDArray[np.uint8]:
        """The pixels as an array (height, width, 3) uint8."""
        return np.frombuffer(self.pixels, np.uint8).reshape(*self.shape, 3)

    @property
    def retryable(self) -> bool:
        """Whether the file may be readable next time though it did not change."""
        return self.reason is not None and is_transient(self.reason)


def decode_image(job: DecodeJob) -> DecodedImage:
    """Decode one file. A bad file answers its reason instead of raising.

    Raises StorageError where the PNG cannot be written.
    """
    sha256 = b""
    try:
        sha256 = sha256_of(job.path)  # first: a file that changes now must not look known later
        if not job.own_pictures:
            refuse_own_picture(job.path)
        picture = _read(job.path, job.layout, job.max_megapixels)
    except ImageFileError as error:
        return DecodedImage(error.reason, sha256)
    except OSError as error:
        return DecodedImage(f"cannot be read: {error.strerror}", sha256)
    width_px, height_px = picture.width_px, picture.height_px
    if min(width_px, height_px) < job.min_side_px:
        reason = f"too small: {width_px} x {height_px} px, under {job.min_side_px} px"
        return DecodedImage(reason, sha256)
    if job.png is not None:
        picture.rgb.info.clear()  # the pixels are sRGB now: no profile, no orientation
        with atomic_write(job.png) as temporary:
            picture.rgb.save(temporary, "PNG")
    prints = fingerprint(picture.rgb) if job.fingerprint else None
    small = (
        _reduced(picture, job.layout) if job.layout is not None else np.empty((0, 0, 3), np.uint8)
    )
    height, width = small.shape[:2]
    red, green, blue = (  # ten times quicker than a mean over both axes
        float(small[:, :, channel].sum(dtype=np.int64)) / max(1, height * width) / 255
        for channel in range(3)
    )
    return DecodedImage(
        sha256=sha256,
        width_px=width_px,
        height_px=height_px,
        mode=picture.mode,
        format=picture.format,
        plain=picture.plain,
        bits=picture.bits,
        notes=picture.notes,
        prints=prints,
        mean_rgb=(red, green, blue),
        shape=(height, width),
        pixels=small.tobytes(),
        thumb=_thumbnail(Image.fromarray(small)) if job.thumbnail else b"",
    )


def reduced_pixels(path: Path, layout: PackLayout) -> NDArray[np.uint8]:
    """The (h, w, 3) uint8 pixels of a file that a pack of this layout keeps.

    Raises ImageFileError as `read_image` does.
    """
    return _reduced(_read(path, layout), layout)


def _read(path: Path, layout: PackLayout | None, max_megapixels: float = 500.0) -> Picture:
    at_least_px = None if layout is None or layout.square else layout.side_px
    return read_image(path, max_megapixels=max_megapixels, at_least_px=at_least_px)


def _reduced(picture: Picture, layout: PackLayout) -> NDArray[np.uint8]:
    if layout.square:
        return resize_rgb(picture.rgb, layout.side_px)
    size = layout.stored_size(picture.width_px, picture.height_px)
    return np.asarray(picture.rgb.resize(size, Image.Resampling.HAMMING))


def _thumbnail(image: Image.Image) -> bytes:
    image.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[_DESCRIPTION_TAG] = BLANK
    image.save(stream, "WEBP", quality=_THUMB_QUALITY, exif=exif)
    return stamped(stream.getvalue())


def sha256_of(path: Path) -> bytes:
    """The 32 bytes of a file's SHA-256. Raises ImageFileError for what is no file, and OSError."""
    if not path.is_file():  # a named pipe would block for ever
        raise ImageFileError(path, "not a file" if path.exists() else "no such file")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


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

    def submit(start: int) -> Future[list[_Answer]]:
        with _without_main():
            return executor.submit(_answer_each, function, jobs[start : start + _JOBS_AT_ONCE])

    try:
        starts = range(0, len(jobs), _JOBS_AT_ONCE)
        for group in submit_ahead(submit, starts, ahead=4 * workers):
            yield from group.result()
    except BrokenProcessPool as error:
        raise DataError(
            "A process that decodes images was killed, most likely because memory ran out;"
            " use fewer --workers or a lower --max-megapixels."
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _answer_each(function: Callable[[_Job], _Answer], jobs: Sequence[_Job]) -> list[_Answer]:
    return [function(job) for job in jobs]


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the caller's script again.

    They need nothing of it, and a script without `if __name__ == "__main__"` would start over.
    """
    main = sys.modules["__main__"]
    names = ("__spec__", "__file__")
    saved = {name: getattr(main, name) for name in names if hasattr(main, name)}
    for name in names:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name in names:
            if name in saved:
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
