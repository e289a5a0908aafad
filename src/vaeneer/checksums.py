"""SHA-256 of JSON files (stamps.py), of the files of a folder (SHA256SUMS), and remembered ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vaeneer.files import read_json, write_bytes, write_json, write_text
from vaeneer.stamps import BLANK, STAMP_KEY, is_whole, stamped
from vaeneer.text import to_json

SUMS = "SHA256SUMS"
CHECKED = "checked.json"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?([^/\\\0]+)")  # what sha256sum writes and reads


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_stamped_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object with its stamp, indented, whole or not at all."""
    whole = {STAMP_KEY: BLANK, **value}
    write_bytes(path, stamped((to_json(whole, indent=2) + "\n").encode()))


def read_stamped_json(path: Path, *, unstamped: bool = False) -> dict[str, Any]:
    """What `write_stamped_json` wrote, without the stamp.

    unstamped: read a file without a stamp, too. Raises OSError, or ValueError for a damaged file.
    """
    whole = is_whole(path)
    if whole is False or (whole is None and not unstamped):
        raise ValueError("its SHA-256 is not that of its content")
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    value.pop(STAMP_KEY, None)
    return value


def write_sums(folder: Path, names: Sequence[str]) -> None:
    """Write SHA256SUMS of those files that are in a folder."""
    lines = [f"{file_sha256(folder / n)}  {n}\n" for n in names if (folder / n).is_file()]
    write_text(folder / SUMS, "".join(lines))


def damaged_file(folder: Path, names: Sequence[str]) -> str | None:
    """The first of some files of a folder that is not as SHA256SUMS has it; None for none.

    A file that is not there, or not listed, is passed over: older versions list nothing.
    Raises OSError.
    """
    try:
        text = (folder / SUMS).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except ValueError:
        return SUMS
    lines = [line for line in text.splitlines() if line.strip()]
    matches = [_LINE.fullmatch(line) for line in lines]
    sums = {match[2]: match[1].lower() for match in matches if match}
    if not sums or len(sums) != len(lines):
        return SUMS
    for name in names:
        path = folder / name
        if name in sums and path.is_file() and file_sha256(path) != sums[name]:
            return name
    return None


class Remembered:
    """SHA-256 of large files of a folder, computed again when size, time or inode changed.

    They are remembered in checked.json, which may be deleted at any time.
    """

    def __init__(self, folder: Path, sha256_of: Callable[[Path], str] = file_sha256) -> None:
        """sha256_of: how the bytes of a file are hashed."""
        self._file = folder / CHECKED
        self._sha256_of = sha256_of

    def sha256(self, path: Path) -> str:
        """The SHA-256 of a file as it is, by its size, times and inode. Raises OSError."""
        known = self._known()
        facts = file_facts(path)
        entry = known.get(path.name)
        if isinstance(entry, dict) and entry.get("facts") == facts:
            sha256 = entry.get("sha256")
            if isinstance(sha256, str):
                return sha256
        return self.compute(path)

    def compute(self, path: Path) -> str:
        """As `sha256`, always from the bytes; remembered where the folder can be written to."""
        facts = file_facts(path)
        sha256 = self._sha256_of(path)
        if file_facts(path) == facts:
            with suppress(OSError):
                known = {n: e for n, e in self._known().items() if (self._file.parent / n).exists()}
                write_json(self._file, known | {path.name: {"facts": facts, "sha256": sha256}})
        return sha256

    def _known(self) -> dict[str, Any]:
        try:
            known = read_json(self._file)
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def file_facts(path: Path) -> list[int]:
    """Size, time of change of content and of metadata (ns), inode: others where a file changed."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
