"""Files written whole or not at all: to a temporary name, fsync, rename."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vaeneer.errors import OutputExistsError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and takes that name.

    On any exception the temporary file is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it takes that name.

    The folder that was there is moved aside first and removed last, so that at every moment
    one whole folder exists, as `path` or as `path` + ".previous".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    previous = path.with_name(path.name + ".previous")
    try:
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
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, indented, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def claim_folder(path: Path, *, overwrite: bool = False, inputs: Sequence[Path] = ()) -> Path:
    """Make an output folder, refusing one that holds anything unless `overwrite` empties it.

    Raises OutputExistsError when `path` is a file, or a folder with something in it; and whatever
    `overwrite` says, when that would delete one of `inputs`, the working or the home folder.
    """
    if path.exists() and not path.is_dir():
        raise OutputExistsError(f"{path} is a file; name a folder for the output.")
    if path.is_dir() and any(path.iterdir()):
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
    return path


def _beside(path: Path) -> Path:
    """A name that nobody has, in the same folder, so that renaming is one step."""
    return path.with_name(f".{path.name[:80]}.{secrets.token_hex(6)}.part")


def _fsync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
