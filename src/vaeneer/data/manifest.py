"""manifest.parquet: one row for each image file that `prepare` saw, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vaeneer.checksums import read_parquet, write_parquet
from vaeneer.errors import DataError
from vaeneer.storage import storage_error
from vaeneer.text import to_json

if TYPE_CHECKING:
    import pyarrow

MANIFEST_NAME = "manifest.parquet"
FORMAT = 2
"""Raised when the meaning of a column changes; files are then read again by `prepare`."""
_READABLE = (1, FORMAT)

Status = Literal["kept", "map", "duplicate", "skipped"]


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """One scanned image file. None (null in the file) where something is unknown."""

    path: str
    """Relative to the raw folder, with forward slashes."""

    asset: str
    """Asset key: folder and name without map, resolution, format, tile and copy tokens, in NFC."""

    kind: str
    """Map kind: color, normal, displacement, roughness, ao, ..., preview."""

    status: Status
    """kept: an image of its asset; map: only listed; duplicate: bytes of a kept one; skipped."""

    reason: str | None = None
    """Why the file was skipped, or why a map is only listed."""

    duplicate_of: str | None = None
    """Path of the kept file with the same bytes."""

    near_group: str | None = None
    """Equal for near duplicates: the path of the first of them."""

    split: str | None = None
    """train or valid, for kept files."""

    width_px: int | None = None
    """Upright width."""

    height_px: int | None = None
    """Upright height."""

    mode: str | None = None
    """Pillow's pixel mode of the file: RGB, L, I;16, CMYK, ..."""

    format: str | None = None
    """Pillow's name of the file format, by content."""

    plain: bool | None = None
    """Whether a browser and Pillow show this file as vaeneer reads it."""

    bits: int | None = None
    """Bits of each channel in the file: 1 to 64."""

    notes: tuple[str, ...] = ()
    """What was ignored or mended to read the file, a short sentence each."""

    link: str | None = None
    """Target of a symbolic link: below the raw folder, or absolute; null for other files."""

    size_bytes: int
    """Size of the source file."""

    mtime_ns: int
    """Modification time of the source file, ns since 1970."""

    sha256: str | None = None
    """Of the source file's bytes, hexadecimal."""

    phashes: bytes | None = None
    """64 bytes: perceptual hash (64 bit) in 8 orientations, upright first; colour files only."""

    thumb: bytes | None = None
    """192 bytes: 8 x 8 RGB thumbnail, row by row; colour files only."""

    output: str | None = None
    """Relative to the data set, with forward slashes; for kept files."""

    converted: bool = False
    """Whether the output is a PNG made from the source; otherwise it is the same file."""

    name: str | None = None
    """From the side-car."""

    category: str | None = None
    """From the side-car, else of the deepest folder that tells materials apart, else null."""

    categories: tuple[str, ...] = ()
    """From the side-car, widest first."""

    tags: tuple[str, ...] = ()
    """From the side-car."""

    asset_id: str | None = None
    """From the side-car."""

    sidecar: str | None = None
    """Path of the side-car JSON, relative to the raw folder."""


@dataclass(frozen=True)
class Manifest:
    """The rows in the order of their paths, and how they were made."""

    rows: tuple[ManifestRow, ...]

    info: dict[str, Any]
    """format, version, raw (folder), settings (the fields of PrepareSettings)."""

    def by_output(self) -> dict[str, ManifestRow]:
        """The kept rows by their path in the data set: `train/brick_wall/brick_wall_diff.jpg`."""
        return {row.output: row for row in self.rows if row.output is not None}


def read_manifest(folder: Path | str) -> Manifest | None:
    """Read the manifest of a data set; None where the folder has none.

    Raises DataError when the file is damaged or was written in another format.
    """
    import pyarrow

    path = Path(folder) / MANIFEST_NAME
    if not path.is_file():
        return None
    try:
        table = read_parquet(path)
        info = json.loads(table.schema.metadata[b"vaeneer"])
        if info["format"] not in _READABLE:
            raise ValueError(f"format {info['format']}, expected {FORMAT}")
        rows = tuple(_row(values) for values in table.to_pylist())
    except (
        pyarrow.ArrowException,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        raise storage_error(error, path, verb="read") or DataError(
            f"{path} cannot be read ({error}); prepare the data set again with --overwrite."
        ) from error
    return Manifest(rows, info)


def write_manifest(folder: Path, rows: Sequence[ManifestRow], info: dict[str, Any]) -> Path:
    """Write the manifest of a data set, whole or not at all; `info` must fit into JSON."""
    import pyarrow

    metadata = {"vaeneer": to_json({"format": FORMAT, **info})}
    schema = _schema().with_metadata(metadata)
    table = pyarrow.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    path = folder / MANIFEST_NAME
    write_parquet(path, table, compression="zstd")
    return path


def _row(values: dict[str, Any]) -> ManifestRow:
    lists = {name: tuple(values.get(name) or ()) for name in ("categories", "tags", "notes")}
    return ManifestRow(**(values | lists))


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    text, words = pa.string(), pa.list_(pa.string())
    columns = [
        pa.field("path", text, nullable=False),
        pa.field("asset", text, nullable=False),
        pa.field("kind", text, nullable=False),
        pa.field("status", text, nullable=False),
        pa.field("reason", text),
        pa.field("duplicate_of", text),
        pa.field("near_group", text),
        pa.field("split", text),
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        pa.field("mode", text),
        pa.field("format", text),
        pa.field("plain", pa.bool_()),
        pa.field("bits", pa.int32()),
        pa.field("notes", words),
        pa.field("link", text),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("sha256", text),
        pa.field("phashes", pa.binary(64)),
        pa.field("thumb", pa.binary(192)),
        pa.field("output", text),
        pa.field("converted", pa.bool_(), nullable=False),
        pa.field("name", text),
        pa.field("category", text),
        pa.field("categories", words),
        pa.field("tags", words),
        pa.field("asset_id", text),
        pa.field("sidecar", text),
    ]
    return pa.schema(columns)
