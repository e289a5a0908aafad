"""Data sets: manifest.parquet, a row for each image file that `prepare` saw, and folders of images.

Training and measuring see a folder as its image files, each with its asset and category.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vaeneer.checksums import read_parquet, write_parquet
from vaeneer.data.filenames import group_names
from vaeneer.data.scan import scan_folder
from vaeneer.errors import DataError
from vaeneer.progress import Progress
from vaeneer.storage import storage_error
from vaeneer.text import to_json

if TYPE_CHECKING:
    import pyarrow

MANIFEST_NAME = "manifest.parquet"
FORMAT = 2
"""Raised when the meaning of a column changes; files are then read again by `prepare`."""
_READABLE = (1, FORMAT)

Status = Literal["kept", "map", "duplicate", "skipped"]
RGB = tuple[float, float, float]
Known = tuple[str, str | None]  # asset, category


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


def units(rows: Iterable[ManifestRow]) -> list[list[ManifestRow]]:
    """Kept and duplicate rows that must be on one side: same asset, same bytes or look-alikes."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    members = [row for row in rows if row.status in ("kept", "duplicate")]
    for row in members:
        names = (f"asset {row.asset}", f"file {row.duplicate_of or row.path}")
        for name in (*names, *([f"group {row.near_group}"] if row.near_group else [])):
            parent[root(name)] = root(names[0])
    parts: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in members:
        parts[root(f"asset {row.asset}")].append(row)
    return list(parts.values())


@dataclass(frozen=True)
class ImageItem:
    """One image file: where it is, and which others are the same surface."""

    path: Path
    name: str
    """Path below the folder, with forward slashes."""
    asset: str
    """Images of one asset, and near duplicates, are never compared as different."""
    category: str | None = None


@dataclass(frozen=True)
class ImageFolder:
    """The images below one folder, in the order of their names."""

    root: Path
    items: tuple[ImageItem, ...]
    other_maps: int = 0
    """Normal maps, roughness and the like that were left out."""

    def __len__(self) -> int:
        return len(self.items)

    def fingerprint(self) -> str:
        """SHA-256 over names and sizes: whether this is the data that a run was started on."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(f"{item.name}\0{item.path.stat().st_size}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class DataSet:
    """The two sides of a data set, prepared or in the reference layout."""

    train: ImageFolder
    valid: ImageFolder


def open_folder(
    path: Path | str, *, all_maps: bool = False, progress: Progress | None = None
) -> ImageFolder:
    """List the colour maps below `path`: any folder, or `train` or `valid` of a data set.

    Other maps are told by their names, as `index` does, and left out, which is said once; with
    `all_maps` they are taken. What `prepare` put into a data set is taken as it is. The asset of
    each comes from its manifest, else from the file name. Raises DataError when the folder is
    missing or holds no image.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; name a folder of images.")
    known = _manifest_rows(root)
    scan = scan_folder(root, originals=known)
    guesses = group_names([found.path for found in scan.images])
    files = [
        found
        for found in scan.images
        if all_maps or str(found.path) in known or guesses[found.path].is_item
    ]
    other_maps = len(scan.images) - len(files)
    items = tuple(
        ImageItem(
            found.file,
            str(found.path),
            *known.get(str(found.path), (guesses[found.path].asset, None)),
        )
        for found in files
    )
    if not items and other_maps:
        raise DataError(
            f"{root} holds no colour map, and {other_maps} other maps; --all-maps takes them."
        )
    if not items:
        counts = Counter(scan.others) + Counter({"side-cars": len(scan.sidecars)})
        listed = ", ".join(f"{n} {reason}" for reason, n in counts.most_common(4))
        raise DataError(f"{root} holds no image files ({listed or 'it is empty'}).")
    if other_maps and progress is not None:
        progress.say(f"left out {other_maps:,} other maps of {root}; --all-maps takes them")
    return ImageFolder(root, items, other_maps)


def open_data_set(
    path: Path | str, *, all_maps: bool = False, progress: Progress | None = None
) -> DataSet:
    """Open `path`/train and `path`/valid, whether `prepare` made them or someone else.

    all_maps, progress: as in `open_folder`. Raises DataError when either is missing or holds no
    image.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder; make a data set there with:"
            f" vaeneer prepare RAW --out {shlex.quote(str(root))}"
        )
    for side in ("train", "valid"):
        if not (root / side).is_dir():
            beside = root.absolute().with_name(f"{root.absolute().name}-data")  # never in it
            raise DataError(
                f"{root} has no folder {side!r}, so it is no data set; make one of its images with:"
                f" vaeneer prepare {shlex.quote(str(root))} --out {shlex.quote(str(beside))}"
            )
    train, valid = (
        open_folder(root / side, all_maps=all_maps, progress=progress)
        for side in ("train", "valid")
    )
    return DataSet(train, valid)


def _manifest_rows(root: Path) -> dict[str, Known]:
    """What `prepare` knows of the files below `root`, itself a data set or a side of one."""
    real = root.resolve()
    for data_set, prefix in ((real, ""), (real.parent, f"{real.name}/")):
        manifest = read_manifest(data_set)
        if manifest is not None:
            return {
                row.output.removeprefix(prefix): (part[0].asset, row.category)
                for part in units(manifest.rows)
                for row in part
                if row.output is not None and row.output.startswith(prefix)
            }
    return {}
