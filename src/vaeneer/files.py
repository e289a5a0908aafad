"""Files written whole or not at all: to a temporary name, fsync, rename."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeneer.errors import OutputExistsError, StorageError
from vaeneer.provenance import MARKER, marker_text, picture_options
from vaeneer.storage import FULL, storage_error
from vaeneer.text import encodable, is_utf8, to_json

if TYPE_CHECKING:
    from PIL import Image

_LONGEST_BYTES = 200  # of the 255 that most file systems allow
_TOKEN_CHARACTERS = 40  # each up to 4 bytes
_TEMPORARY = re.compile(r"\..{1,40}\.[0-9a-f]{12}\.part", re.DOTALL)  # as `_beside` names them
_TIDIED: set[Path] = set()


@contextmanager
def atomic_write(path: Path, *, size_bytes: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and takes that name.

    size_bytes: about what will be written, for the sentence of a full disk.
    On any exception the temporary file is removed and `path` stays as it was. Raises StorageError
    where the disk is the cause. What killed processes left beside `path` is removed.
    """
    reached = 0
    try:
        with _temporary(path, _new_file) as temporary:
            try:
                yield temporary
                _fsync(temporary)
                temporary.replace(path)
                _fsync(path.parent)
            finally:
                reached = _size_bytes(temporary)
                temporary.unlink(missing_ok=True)
    except Exception as error:
        _raise_explained(error, path, max(size_bytes, reached))
        raise


@contextmanager
def atomic_dir(path: Path, *, kind: str, size_bytes: int = 0) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`, marked; on success it takes that name.

    kind: what it is for, as in `mark_folder`. size_bytes and errors: as of `atomic_write`.
    The folder that was there is moved aside first and removed last, so that at every moment
    one whole folder exists, as `path` or as `path` + ".previous".
    """
    reached = 0
    previous = path.with_name(path.name + ".previous")
    try:
        with _temporary(path, _new_folder) as temporary:
            try:
                mark_folder(temporary, kind)
                yield temporary
                for file in temporary.rglob("*"):
                    _fsync(file)
                _fsync(temporary)
                if path.exists():
                    shutil.rmtree(previous, ignore_errors=True)
                    path.rename(previous)
                temporary.rename(path)
                _fsync(path.parent)
                shutil.rmtree(previous, ignore_errors=True)
            finally:
                reached = _size_bytes(temporary)
                shutil.rmtree(temporary, ignore_errors=True)
    except Exception as error:
        _raise_explained(error, path, max(size_bytes, reached))
        raise


def remove_leftovers(folder: Path) -> int:
    """Delete the temporary files and folders in a folder whose process was killed; how many.

    Those of a process that is still writing are locked, and stay.
    """
    removed = 0
    for entry in sorted(folder.glob(".*.part")) if folder.is_dir() else ():
        if _TEMPORARY.fullmatch(entry.name) and not entry.is_symlink():
            with suppress(OSError), _locked(entry) as alone:
                if alone and entry.is_dir():
                    shutil.rmtree(entry)
                elif alone:
                    entry.unlink()
                removed += bool(alone)
    return removed


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all, its line ends as they are."""
    write_bytes(path, encodable(text).encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes whole or not at all."""
    with atomic_write(path, size_bytes=len(data)) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, indented, whole or not at all."""
    write_text(path, to_json(value, indent=2) + "\n")


@contextmanager
def native_name(path: Path) -> Iterator[str]:
    """Yield a name of an existing file that libraries in C take: UTF-8, whatever its own is."""
    if is_utf8(str(path)):
        yield str(path)
        return
    with path.open("rb") as stream:
        yield f"/dev/fd/{stream.fileno()}"


def read_json(path: Path) -> Any:
    """The JSON value in a file. Raises OSError, or ValueError for anything that is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def save_picture(image: Image.Image, path: Path, file_format: str = "PNG", **options: Any) -> None:
    """Write a picture that vaeneer drew, whole or not at all; it names vaeneer as its software.

    file_format: PNG, JPEG or WEBP; options are those of PIL for it. What `prepare` converts and
    `synthesize` makes are surfaces, and are not written by this.
    """
    stream = io.BytesIO()  # Pillow writes JPEG to files without noticing a full disk
    image.save(stream, file_format, **options, **picture_options(file_format))
    write_bytes(path, stream.getvalue())


def mark_folder(path: Path, kind: str) -> None:
    """Mark a folder as made by vaeneer, so that no scan takes pictures in it for surfaces.

    kind: data set, run, model, library, cache, evaluation, similarity, ...
    """
    if not (path / MARKER).is_file():
        write_text(path / MARKER, marker_text(kind))


def holds_anything(path: Path) -> bool:
    """Whether anything but our mark lies in a folder."""
    return any(entry.name != MARKER for entry in path.iterdir())


def new_output_dir(
    path: Path, *, kind: str | None, overwrite: bool = False, inputs: Sequence[Path] = ()
) -> Path:
    """Make an output folder, refusing one that holds anything unless `overwrite` empties it.

    kind: what it is for, as in `mark_folder`; None for a folder of surfaces.
    Raises OutputExistsError when `path` is a file, or a folder with something in it; and whatever
    `overwrite` says, when that would delete one of `inputs`, the working or the home folder.
    """
    if path.exists() and not path.is_dir():
        raise OutputExistsError(f"{path} is a file; name a folder for the output.")
    remove_leftovers(path)
    if path.is_dir() and holds_anything(path):
        if not overwrite:
            raise OutputExistsError(
                f"{path} exists and is not empty; name another folder, or pass --overwrite."
            )
        for needed in (*inputs, Path.cwd(), Path.home()):
            if needed.resolve().is_relative_to(path.resolve()):
                raise OutputExistsError(
                    f"{path} cannot be replaced, since {needed} is in it; name another folder."
                )
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    if kind is not None:
        mark_folder(path, kind)
    return path


def short_name(name: str, longest_bytes: int = _LONGEST_BYTES) -> str:
    """A file name with room for an ending; one that is cut gets 8 hex digits of its SHA-256."""
    whole = os.fsencode(name)
    if len(whole) <= longest_bytes:
        return name
    start = whole[: longest_bytes - 9].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(whole).hexdigest()[:8]}"


@contextmanager
def _temporary(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A new file or folder beside `path`, locked, so that others know that it is in use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.absolute()
    if folder not in _TIDIED:  # once a process: a folder may hold very many files
        remove_leftovers(folder)
        _TIDIED.add(folder)
    while True:
        temporary = _beside(path)
        make(temporary)
        with _locked(temporary) as alone:
            if alone is not False and temporary.exists():  # else another process tidied just now
                yield temporary
                return


@contextmanager
def _locked(path: Path) -> Iterator[bool | None]:
    """Hold a file or folder for the block; False where another process does, None for no locks.

    The lock goes with the process, however that ends.
    """
    if sys.platform == "win32":  # where a file in use cannot be deleted
        yield None
        return
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    try:
        alone: bool | None = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        except OSError:  # a file system without locks
            alone = None
        yield alone
    finally:
        os.close(descriptor)


def _new_file(path: Path) -> None:
    path.touch(exist_ok=False)


def _new_folder(path: Path) -> None:
    path.mkdir()


def _size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 where it is gone."""
    with suppress(OSError):
        files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files)
    return 0


def _raise_explained(error: Exception, path: Path, size_bytes: int) -> None:
    """Raise StorageError for an error of the disk of `path`; return for any other."""
    about = error.filename if isinstance(error, OSError) else None
    if about is not None and not isinstance(error, StorageError):
        beside = Path(os.fsdecode(about)).absolute().is_relative_to(path.absolute().parent)
        if not beside and isinstance(error, OSError) and error.errno not in FULL:
            return  # such as a source that is copied
    elif isinstance(error, StorageError):
        if not any(_TEMPORARY.fullmatch(part) for part in Path(error.filename).parts):
            return
        error = OSError(error.errno, error.strerror)  # of a file in the temporary folder
    explained = storage_error(error, path, size_bytes=size_bytes)
    if explained is not None:
        raise explained from error


def _beside(path: Path) -> Path:
    """A name that nobody has, in the same folder, so that renaming is one step."""
    return path.with_name(f".{path.name[:_TOKEN_CHARACTERS]}.{secrets.token_hex(6)}.part")


def _fsync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
