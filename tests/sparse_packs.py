"""A pack of many images that takes no room on the disk; benchmarks/growth.py uses it too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from vaeneer.data.cache_files import default_cache, pack_name
from vaeneer.data.cache_index import PackLayout, empty_index, write_index
from vaeneer.data.dataset import ImageItem


class Items:
    """The items of a folder, made when they are asked for; all are one file."""

    def __init__(self, file: Path, count: int) -> None:
        self.file, self.count = file, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[ImageItem]:
        for number in range(self.count):
            asset = f"wood/wood_{number:06}"
            yield ImageItem(self.file, f"{asset}_diff.jpg", asset, "wood")


def sparse_pack(root: Path, count: int) -> Path:
    """A pack of `count` black images of 568 x 568 px that takes no room on the disk."""
    import pyarrow

    root.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "one.png")
    status = (root / "one.png").stat()
    layout, image_bytes, each = PackLayout(568), 3 * 568 * 568, np.ones(count, np.int64)
    columns: dict[str, object] = {
        "name": [f"wood/wood_{n:06}_diff.jpg" for n in range(count)],
        "sha256": [n.to_bytes(32, "little") for n in range(count)],
        "offset": image_bytes * np.arange(count),
        "reason": pyarrow.nulls(count, pyarrow.string()),
        "crc32": pyarrow.nulls(count, pyarrow.uint32()),
        "size_bytes": status.st_size * each,
        "mtime_ns": status.st_mtime_ns * each,
        **dict.fromkeys(("width_px", "height_px"), (1024 * each).astype(np.int32)),
        **dict.fromkeys(("stored_width_px", "stored_height_px"), (568 * each).astype(np.int32)),
        **dict.fromkeys(("red", "green", "blue"), np.zeros(count, np.float32)),
    }
    index = empty_index(layout)
    table = pyarrow.Table.from_pydict(columns, schema=index.table.schema)
    place = default_cache(root) / pack_name(root, layout)
    place.mkdir(parents=True)
    with (place / index.data_name).open("wb") as file:
        file.truncate(count * image_bytes)
    write_index(place, replace(index, table=table, data_bytes=count * image_bytes))
    return root
