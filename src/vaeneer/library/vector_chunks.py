"""Vectors kept while they are computed, so that a run that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.loader import chunks
from vaeneer.errors import OutputExistsError
from vaeneer.files import read_json, replacing, write_json
from vaeneer.progress import Progress
from vaeneer.text import to_json

Floats = NDArray[np.float32]
CHUNK_IMAGES = 64
"""Images whose vectors are kept together: at most so many are computed again after a kill."""
_DIGEST_BYTES = 32
_JOB, _LOCK = "job.json", "lock"


@dataclass(frozen=True)
class Partial:
    """The folder beside an output that holds what is finished of it."""

    folder: Path
    progress: Progress

    def cache(self, home: Path | None) -> Path:
        """Where this output alone may keep decoded images: in `home`, or until it is written."""
        return home / self.folder.name if home else self.folder / "decoded"

    def start(self, job: Mapping[str, object]) -> None:
        """Drop what another job has left here.

        job: all that the vectors and their order depend on; its JSON is compared.
        """
        wanted = json.loads(to_json(job))
        before = _known_job(self.folder / _JOB)
        if before == wanted:
            return
        if before is not None:
            self.progress.say(f"{self.folder} is of another job; its vectors are computed again")
        for file in self.folder.glob("*.npy"):
            file.unlink()
        write_json(self.folder / _JOB, wanted)

    def compute(self, count: int, vectors_of: Callable[[range], Floats]) -> tuple[Floats, int]:
        """Vectors (count, D) float32 of images 0 .. count - 1, and how many were known already.

        vectors_of: computes those of some images, one row for each.
        """
        parts, known = [], 0
        with self.progress.bar("embedding", total=count, unit="images") as bar:
            for number, group in enumerate(chunks(count, CHUNK_IMAGES)):
                file = self.folder / f"{number:06d}.npy"
                part = _read(file, len(group))
                if part is None:
                    part = vectors_of(group)
                    with replacing(file) as temporary, temporary.open("wb") as stream:
                        stream.write(_packed(part))
                else:
                    known += len(group)
                parts.append(part)
                bar.advance(len(group))
        return np.concatenate(parts), known

    def remove(self) -> None:
        """Delete the folder: the output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def partial_beside(out: Path, progress: Progress) -> Iterator[Partial]:
    """OUT.partial/, held by this process alone.

    Raises OutputExistsError where another process is writing the same output.
    """
    from filelock import FileLock, Timeout

    folder = out.with_name(f"{out.name}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputExistsError(
            f"{out} is being written by another process; wait for it, or name another file."
        ) from None
    try:
        yield Partial(folder, progress)
    finally:
        lock.release()
        if folder.is_dir() and {file.name for file in folder.iterdir()} <= {_JOB, _LOCK}:
            shutil.rmtree(folder, ignore_errors=True)


def _known_job(file: Path) -> object:
    try:
        return read_json(file)
    except (OSError, ValueError):
        return None


def _packed(part: Floats) -> bytes:
    """A chunk as a file: that of NumPy, and the SHA-256 of it."""
    stream = io.BytesIO()
    np.save(stream, part, allow_pickle=False)
    return stream.getvalue() + hashlib.sha256(stream.getvalue()).digest()


def _read(file: Path, count: int) -> Floats | None:
    """The vectors in a file of a chunk; None where it is missing or damaged."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    packed, sha256 = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(packed).digest() != sha256:
        return None
    found = np.load(io.BytesIO(packed), allow_pickle=False)
    return np.asarray(found, np.float32) if len(found) == count else None
