"""A stamp: `vaeneer-sha256:` and 64 digits in a file, the SHA-256 of it with zeros for the digits.

Any file that holds text somewhere can have one: JSON, the metadata of Parquet and safetensors,
EXIF in a picture.
"""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

STAMP_KEY = "checksum"
"""The name that a stamp has in JSON and metadata."""
_MARK = b"vaeneer-sha256:"
_DIGITS = 64
BLANK = _MARK.decode() + "0" * _DIGITS
"""What is written at first; `stamp` fills it in."""


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
