"""From the manifest to files: DATA/train/<asset>/<file> and DATA/valid/<asset>/<file>.

The source is never touched. An output may be a hard link to it, so an output is only ever removed
and made again, never written into.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from vaeneer.data.decoding import ConvertJob, convert, in_processes
from vaeneer.data.manifest import Manifest, ManifestRow
from vaeneer.data.splitting import SIDES
from vaeneer.errors import ImageFileError, StorageError
from vaeneer.files import remove_leftovers, replacing
from vaeneer.progress import Progress

_LONGEST_BYTES = 120  # leaves room for our endings below the 255 of most file systems
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


def asset_folder_name(asset: str) -> str:
    """One folder name for an asset key: readable, unique, the same on every run.

    '/' becomes '__', awkward characters '_'; a name that lost something gets 8 hex digits of the
    key's SHA-256.
    """
    joined = asset.replace("/", "__")
    name = _shortened(re.sub(r"[^\w.\-]+", "_", joined).strip("."))
    if name == joined and "__" not in asset and not _RESERVED.fullmatch(name):
        return name
    return f"{name}-{hashlib.sha256(asset.encode()).hexdigest()[:8]}"


def name_outputs(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Give each kept row its output path and whether that is a converted PNG."""
    taken: set[str] = set()
    named = []
    for row in rows:
        if row.status == "kept":
            source = PurePosixPath(row.path)
            folder = f"{row.split}/{asset_folder_name(row.asset)}"
            output = f"{folder}/{source.name if row.plain else _short_file(source.stem) + '.png'}"
            if output.lower() in taken:  # a.tga becomes a.png, but a.png is there
                digest = hashlib.sha256(row.path.encode()).hexdigest()[:8]
                longer = PurePosixPath(output)
                output = f"{folder}/{digest}-{_short_file(longer.stem)}{longer.suffix}"
            taken.add(output.lower())
            row = replace(row, output=output, converted=not row.plain)
        named.append(row)
    return named


def remove_stale(out: Path, earlier: Manifest, rows: Sequence[ManifestRow]) -> int:
    """Remove outputs of an earlier run that no row wants as they are; returns how many."""
    wanted = {_identity(row) for row in rows if row.output}
    removed = 0
    for row in earlier.rows:
        if row.output and _identity(row) not in wanted and _is_ours(row.output):
            file = out / row.output
            if file.is_file() or file.is_symlink():
                file.unlink()
                removed += 1
            with suppress(OSError):  # not empty, or gone
                file.parent.rmdir()
    return removed


def place(
    raw: Path,
    out: Path,
    rows: Sequence[ManifestRow],
    *,
    max_megapixels: float,
    workers: int,
    progress: Progress,
) -> None:
    """Make the outputs that are missing: hard link, else copy; PNG where a row is converted.

    Raises ImageFileError when a source changed or vanished since it was scanned.
    """
    for side in SIDES:
        (out / side).mkdir(parents=True, exist_ok=True)
        for folder in (out / side).iterdir():
            remove_leftovers(folder)
    missing = [row for row in rows if row.output and not (out / row.output).exists()]
    with progress.bar("placing images", total=len(missing), unit="images") as bar:
        for row in missing:
            if not row.converted and row.output:
                _link(raw / row.path, out / row.output)
                bar.advance()
        jobs = [
            ConvertJob(raw / row.path, out / row.output, max_megapixels)
            for row in missing
            if row.converted and row.output
        ]
        size_bytes = sum(row.size_bytes for row in missing if row.converted)
        for _ in in_processes(convert, jobs, workers=workers, size_bytes=size_bytes):
            bar.advance()


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()  # of a symbolic link, the file
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # another device, or a file system without links
        try:
            with replacing(target) as temporary:
                shutil.copyfile(source, temporary)
        except StorageError:
            raise
        except OSError as error:
            raise ImageFileError(source, f"cannot be copied to {target}: {error}") from error


def _identity(row: ManifestRow) -> tuple[str | None, str | None, bool]:
    return (row.output, row.sha256, row.converted)


def _is_ours(output: str) -> bool:
    """Whether a path from a manifest lies where outputs lie, whoever wrote that manifest."""
    parts = PurePosixPath(output).parts
    return len(parts) == 3 and parts[0] in SIDES and ".." not in parts


def _shortened(name: str) -> str:
    return name.encode()[:_LONGEST_BYTES].decode(errors="ignore")


def _short_file(stem: str) -> str:
    short = _shortened(stem)
    return short if short == stem else f"{short}-{hashlib.sha256(stem.encode()).hexdigest()[:8]}"
