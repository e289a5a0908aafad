"""SHA-256 of what vaeneer writes: a stamp in a file, SHA256SUMS of a folder, remembered sums.

A stamp is `vaeneer-sha256:` and 64 digits: the SHA-256 of the file with zeros for these digits. Any
file that holds text somewhere can have one: JSON, the metadata of Parquet and safetensors, EXIF.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeneer.files import atomic_write, read_json, write_bytes, write_json, write_text
from vaeneer.text import to_json

if TYPE_CHECKING:
    import pyarrow

STAMP_KEY = "checksum"
"""The name that a stamp has in JSON and metadata."""
_MARK = b"vaeneer-sha256:"
_DIGITS = 64
BLANK = _MARK.decode() + "0" * _DIGITS
"""What is written at first; `stamp` fills it in."""
SUMS = "SHA256SUMS"
CHECKED = "checked.json"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?([^/\\\0]+)")  # what sha256sum writes and reads


def stamp(path: Path, *, last: bool = False) -> None:
    """Fill in the stamp that stands blank in a file.

    last: the stamp is the last of its kind in the file, as in Parquet; otherwise the first.
    """
    at, _, actual = _stamps(path, last=last) or (-1, "", "")
    if at < 0:
        raise ValueError(f"{path} has no blank stamp")
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(actual.encode())


def is_whole(path: Path, *, last: bool = False) -> bool | None:
    """Whether a file is as it was stamped; None where it has no stamp. Raises OSError."""
    found = _stamps(path, last=last)
    return None if found is None else found[1] == found[2]


def stamped(data: bytes) -> bytes:
    """Bytes with their blank stamp filled in; as they are where they have none."""
    start = data.find(_MARK) + len(_MARK)
    if start < len(_MARK):
        return data
    digits = hashlib.sha256(data).hexdigest().encode()
    return data[:start] + digits + data[start + _DIGITS :]


def _stamps(path: Path, *, last: bool) -> tuple[int, str, str] | None:
    """Where the digits of a file's stamp begin, the digits, and those that it should have."""
    if not path.stat().st_size:
        return None
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = data.rfind(_MARK) if last else data.find(_MARK)
        start = found + len(_MARK)
        if found < 0 or start + _DIGITS > len(data):
            return None
        with memoryview(data) as view:
            digest = hashlib.sha256(view[:start])
            digest.update(b"0" * _DIGITS)
            digest.update(view[start + _DIGITS :])
        digits = data[start : start + _DIGITS].decode("ascii", "replace")
        return start, digits, digest.hexdigest()


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


def write_parquet(path: Path, table: pyarrow.Table, **options: Any) -> None:
    """Write a table with a stamp, whole or not at all; options as of `parquet.write_table`."""
    import pyarrow.parquet as parquet

    metadata = {**(table.schema.metadata or {}), STAMP_KEY: BLANK}
    with atomic_write(path, size_bytes=table.nbytes) as temporary:
        with temporary.open("wb") as stream:
            marked = table.replace_schema_metadata(metadata)
            parquet.write_table(marked, stream, write_page_checksum=True, **options)
        stamp(temporary, last=True)


def read_parquet(path: Path, **options: Any) -> pyarrow.Table:
    """Read a table; options are those of `pyarrow.parquet.ParquetFile`.

    Raises OSError or pyarrow.ArrowException where it is missing or damaged.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    if is_whole(path, last=True) is False:
        raise pyarrow.ArrowInvalid("its SHA-256 is not that of its content")
    options.setdefault("page_checksum_verification", True)
    with path.open("rb") as stream, parquet.ParquetFile(stream, **options) as file:
        table = file.read(use_threads=False)
    metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k != STAMP_KEY.encode()}
    return table.replace_schema_metadata(metadata or None)


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
