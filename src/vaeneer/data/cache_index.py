"""index.parquet of a pack: which image lies where in the pack's file of pixels."""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from numpy.typing import NDArray

from vaeneer.checksums import file_facts, read_parquet, write_parquet
from vaeneer.errors import SettingsError
from vaeneer.files import read_json, write_json
from vaeneer.workers import core_count

if TYPE_CHECKING:
    import pyarrow


INDEX_NAME = "index.parquet"
CHECKED_NAME = "checked.json"
FORMAT = 2
"""Raised when a column, or the pixels that are made of an image, change; packs are rebuilt."""
_WITHOUT_CRC = 1  # the format before it had crc32; its pixels are as good


@dataclass(frozen=True)
class PackLayout:
    """How images are kept.

    `side_px` is the short side (aspect kept, never enlarged) or, with `square`, the whole image
    resized to side x side as `resize_rgb` does (the pixels that evaluate measures).
    """

    side_px: int
    square: bool = False

    def __post_init__(self) -> None:
        if self.side_px < 1:
            raise SettingsError(f"the side of a pack is {self.side_px} px; use 1 or more.")

    @property
    def tag(self) -> str:
        """A name for files: `568px`, or `254px-square`."""
        return f"{self.side_px}px-square" if self.square else f"{self.side_px}px"

    def stored_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Width and height in pixels that an image of this upright size has in the pack."""
        if self.square:
            return self.side_px, self.side_px
        short = min(width_px, height_px)
        if short <= self.side_px:
            return width_px, height_px
        scale = self.side_px / short
        return round(width_px * scale), round(height_px * scale)


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """One image file. None (null in the file) for what an unreadable file does not have."""

    name: str
    """Path below the folder, with forward slashes."""

    size_bytes: int
    """Size of the file."""

    mtime_ns: int
    """Modification time of the file, ns since 1970."""

    sha256: bytes
    """32 bytes: of the file's bytes."""

    width_px: int | None = None
    """Upright width of the image in the file."""

    height_px: int | None = None
    """Upright height of the image in the file."""

    stored_width_px: int | None = None
    """Width in the pack."""

    stored_height_px: int | None = None
    """Height in the pack."""

    offset: int | None = None
    """Where in the file of pixels the image's first byte is."""

    red: float | None = None
    """Mean of the stored pixels, 0 to 1."""

    green: float | None = None
    """Mean of the stored pixels, 0 to 1."""

    blue: float | None = None
    """Mean of the stored pixels, 0 to 1."""

    reason: str | None = None
    """Why the file cannot be read as an image; it is not tried again until it changes."""

    crc32: int | None = None
    """CRC-32 of the pixels in the pack; null where an older vaeneer wrote them."""


@dataclass(frozen=True)
class PackIndex:
    """The rows of a pack, and the file of pixels that they speak of."""

    layout: PackLayout
    table: pyarrow.Table
    """The columns of IndexRow, in any order of the rows."""
    data_bytes: int = 0
    """Bytes of the data file that are written and synced; what lies behind them is garbage."""
    data_name: str = field(default_factory=lambda: f"pixels-{secrets.token_hex(4)}.bin")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> NDArray[Any]:
        """One column of numbers; 0 where it is null."""
        import pyarrow.compute as compute

        return np.asarray(compute.fill_null(self.table[name], 0).to_numpy())

    def image_bytes(self) -> NDArray[np.int64]:
        """The size of each row's pixels; 0 for unreadable files."""
        height, width = self.column("stored_height_px"), self.column("stored_width_px")
        return np.asarray(3 * height.astype(np.int64) * width)

    def live_bytes(self) -> int:
        """How much of the data file the rows use. Files with equal bytes share their pixels."""
        sizes = self.image_bytes()
        readable = sizes > 0
        _, first = np.unique(self.column("offset")[readable], return_index=True)
        return int(sizes[readable][first].sum())

    def with_rows(self, rows: Sequence[IndexRow], *, data_bytes: int) -> PackIndex:
        """The index with more rows, after the data file has grown to `data_bytes`."""
        import pyarrow

        more = pyarrow.Table.from_pylist([asdict(row) for row in rows], schema=_schema())
        table = pyarrow.concat_tables([self.table, more])
        return replace(self, table=table, data_bytes=data_bytes)

    def with_files(
        self,
        keep: NDArray[np.bool_],
        *,
        rows: Sequence[int],
        names: Sequence[str],
        mtimes: NDArray[np.int64],
    ) -> PackIndex:
        """The kept rows, and each of `rows` once more for a file of another name and time."""
        import pyarrow

        columns = self.table.take(pyarrow.array(rows, pyarrow.int64())).to_pydict()
        columns |= {"name": names, "mtime_ns": mtimes}
        more = pyarrow.Table.from_pydict(columns, schema=_schema())
        kept = self.table.filter(pyarrow.array(keep))
        return replace(self, table=pyarrow.concat_tables([kept, more]))

    def moved(
        self, starts: NDArray[np.int64], targets: NDArray[np.int64], *, data_bytes: int
    ) -> PackIndex:
        """The rows with those offsets that were `starts` (sorted) replaced by `targets`."""
        import pyarrow

        readable = self.image_bytes() > 0
        places = np.searchsorted(starts, self.column("offset")[readable])
        offsets = np.zeros(len(self), np.int64)
        offsets[readable] = targets[places]
        column = pyarrow.array(offsets, mask=~readable)
        number = self.table.schema.get_field_index("offset")
        table = self.table.set_column(number, _schema().field(number), column)
        return replace(self, table=table, data_bytes=data_bytes)


def empty_index(layout: PackLayout) -> PackIndex:
    """An index without rows, for a new data file."""
    return PackIndex(layout, _schema().empty_table())


def read_index(folder: Path, layout: PackLayout) -> PackIndex | None:
    """The index in the folder of a pack; None where it is missing, damaged or of another layout.

    None too where the data file is shorter than the index says, as after a crash of the disk.
    """
    import pyarrow
    import pyarrow.compute as compute

    try:
        table = read_parquet(folder / INDEX_NAME)
        info = json.loads(table.schema.metadata[b"vaeneer"])
        if info["format"] == _WITHOUT_CRC:
            table = table.append_column("crc32", pyarrow.nulls(len(table), pyarrow.uint32()))
            info["format"] = FORMAT
        if info.pop("pillow") != PIL.__version__:  # another Pillow may read what this one did not
            table = table.filter(compute.is_null(table["reason"]))
        index = PackIndex(layout, table, info["data_bytes"], info["data"])
        if info != _info(index) or not table.schema.equals(_schema()):
            return None
        return index if _is_whole(folder, index) else None
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def whole_index(folder: Path, layout: PackLayout) -> PackIndex | None:
    """As `read_index`, without the rows whose pixels are damaged: those are decoded again.

    The pixels are read once; then their file is trusted as long as it does not change.
    """
    index = read_index(folder, layout)
    if index is None or is_checked(folder, index):
        return index
    damaged = damaged_rows(folder, index)
    if damaged.any():
        import pyarrow

        return replace(index, table=index.table.filter(pyarrow.array(~damaged)))
    note_checked(folder, index)
    return index


def damaged_rows(folder: Path, index: PackIndex) -> NDArray[np.bool_]:
    """Which rows have pixels of another CRC-32 than they were written with."""
    import pyarrow.compute as compute

    damaged = np.zeros(len(index), bool)
    rows = np.flatnonzero(
        np.asarray(compute.is_valid(index.table["crc32"])) & (index.image_bytes() > 0)
    )
    if not len(rows):
        return damaged
    pixels = np.memmap(folder / index.data_name, np.uint8, "r")
    starts, sizes, sums = index.column("offset"), index.image_bytes(), index.column("crc32")

    def is_damaged(row: int) -> bool:
        start, wanted = int(starts[row]), int(sums[row])
        return wanted != zlib.crc32(pixels[start : start + int(sizes[row])].data)

    with ThreadPoolExecutor(core_count()) as pool:  # zlib lets go of the interpreter's lock
        damaged[rows] = list(pool.map(is_damaged, rows))
    return damaged


def note_checked(folder: Path, index: PackIndex) -> None:
    """Remember that the pixels are whole, as long as their file does not change."""
    with suppress(OSError):
        facts = file_facts(folder / index.data_name)
        write_json(folder / CHECKED_NAME, {"data": index.data_name, "facts": facts})


def is_checked(folder: Path, index: PackIndex) -> bool:
    """Whether the pixels were whole, and their file has not changed since."""
    try:
        known = read_json(folder / CHECKED_NAME)
        return bool(
            known == {"data": index.data_name, "facts": file_facts(folder / index.data_name)}
        )
    except (OSError, ValueError):
        return False


def write_index(folder: Path, index: PackIndex) -> None:
    """Write the index whole or not at all; the bytes it names must be on the disk by now."""
    metadata = {"vaeneer": json.dumps({**_info(index), "pillow": PIL.__version__})}
    write_parquet(
        folder / INDEX_NAME,
        index.table.replace_schema_metadata(metadata),
        compression="zstd",
    )


def _info(index: PackIndex) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "layout": asdict(index.layout),
        "data": index.data_name,
        "data_bytes": index.data_bytes,
    }


def _is_whole(folder: Path, index: PackIndex) -> bool:
    """Whether the data file has all bytes that the index names."""
    if index.data_name != Path(index.data_name).name:
        return False
    on_disk = (folder / index.data_name).stat().st_size
    ends = index.column("offset") + index.image_bytes()
    inside = index.column("offset").min(initial=0) >= 0 and ends.max(initial=0) <= index.data_bytes
    return bool(inside and on_disk >= index.data_bytes)


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    columns = [
        pa.field("name", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("sha256", pa.binary(32), nullable=False),
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        pa.field("stored_width_px", pa.int32()),
        pa.field("stored_height_px", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("red", pa.float32()),
        pa.field("green", pa.float32()),
        pa.field("blue", pa.float32()),
        pa.field("reason", pa.string()),
        pa.field("crc32", pa.uint32()),
    ]
    return pa.schema(columns)
