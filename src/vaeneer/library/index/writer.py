"""What indexing writes into the catalog, each call one transaction: all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.categories import folder_levels
from vaeneer.data.decode_worker import DecodedImage
from vaeneer.data.scan import FoundFile
from vaeneer.errors import is_limit, is_transient
from vaeneer.library.catalog import ALWAYS, LIMITS, WHOLE, Catalog, PixelBox
from vaeneer.library.catalog_schema import refresh_words
from vaeneer.library.index.changes import Changes, Listing

CropRow = tuple[Any, ...]
"""scale, x, y, width, height, vector."""
_COUNT = """INSERT INTO state VALUES ('{}', '1')
    ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"""
GENERATION = _COUNT.format("generation")
_SMALL_PARTS = _COUNT.format("generation_of_small_parts")
_ITEM = """INSERT INTO items
    (path, asset, size_bytes, mtime_ns, sha256, width_px, height_px, mode, format, bits, notes,
     red, green, blue, phashes, thumb, link, file_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (path) DO UPDATE SET asset = excluded.asset, size_bytes = excluded.size_bytes,
    mtime_ns = excluded.mtime_ns, sha256 = excluded.sha256, width_px = excluded.width_px,
    height_px = excluded.height_px, mode = excluded.mode, format = excluded.format,
    bits = excluded.bits, notes = excluded.notes, offline = 0,
    red = excluded.red, green = excluded.green, blue = excluded.blue, phashes = excluded.phashes,
    thumb = excluded.thumb, link = excluded.link, file_id = excluded.file_id"""
_UNREADABLE_NOW = ("cannot be read", "no such file")
"""Reasons that say nothing of the file's content: what is in the library of it stays."""


@dataclass(frozen=True)
class ImageVectors:
    """The vectors of one image: of the whole, and of its parts."""

    crops: Sequence[CropRow]
    """Of the whole, scale 0, and of the parts; vectors of D float16."""
    digests: tuple[bytes | None, bytes | None, bytes | None] = (None, None, None)
    """Of pixels, alpha and frames, where they were computed for an equal file."""
    pending: bool = False
    """Whether the smallest parts are still to come (record_parts)."""

    @classmethod
    def of(
        cls,
        size_px: tuple[int, int],
        whole: NDArray[np.float32],
        boxes: Sequence[tuple[int, PixelBox]],
        parts: NDArray[np.float32],
        *,
        pending: bool = False,
    ) -> ImageVectors:
        """Vectors (D,) of an image of `size_px` (width, height), and (n, D) of its parts.

        boxes: scale and place of each part. pending: whether smaller parts are to come.
        """
        crops = [(WHOLE, 0, 0, *size_px, _half(whole)), *crop_rows(boxes, parts)]
        return cls(crops, pending=pending)


def crop_rows(boxes: Sequence[tuple[int, PixelBox]], vectors: NDArray[np.float32]) -> list[CropRow]:
    """Rows of parts: scale and place of each, and vectors (n, D)."""
    return [(s, *box, _half(one)) for (s, box), one in zip(boxes, vectors, strict=True)]


def record_changes(catalog: Catalog, listing: Listing, changes: Changes) -> None:
    """Bring moved, touched and gone files up to date, and all that is said of assets and maps."""
    with catalog.writing() as connection:
        if changes.gone:
            ids = [(one,) for one in changes.gone]
            connection.executemany("DELETE FROM items WHERE id = ?", ids)
            connection.execute(GENERATION)
        connection.executemany(
            "UPDATE items SET path = ?, size_bytes = ?, mtime_ns = ? WHERE id = ?",
            [
                (f.path.as_posix(), f.size_bytes, f.mtime_ns, one)
                for one, f in changes.known.items()
            ],
        )
        _record_offline(connection, changes)
        _record_assets(connection, listing)
        _record_left_out(connection, listing)
        catalog.set_meta("rules", json.dumps(asdict(listing.rules)))
        _record_links(connection, listing)
        listed = [(path,) for path in (*listing.files, *changes.offline_failures)]
        connection.execute("CREATE TEMP TABLE listed (path TEXT PRIMARY KEY)")
        connection.executemany("INSERT INTO listed VALUES (?)", listed)
        connection.execute("DELETE FROM failures WHERE path NOT IN (SELECT path FROM listed)")
        connection.execute("DROP TABLE listed")
        connection.execute("DELETE FROM failures WHERE path IN (SELECT path FROM items)")
        if refresh_words(connection):  # names, categories and tags are on maps and pages
            connection.execute(GENERATION)


def record_limits(catalog: Catalog, limits: str) -> None:
    """Have files that earlier limits refused read again, where the limits are others now."""
    if catalog.get_meta("limits") != limits:
        with catalog.writing() as connection:
            retry = (ALWAYS, LIMITS)
            connection.execute("UPDATE failures SET passing = ? WHERE passing = ?", retry)
            catalog.set_meta("limits", limits)


def record_images(
    catalog: Catalog,
    seen: Sequence[tuple[FoundFile, str, DecodedImage]],
    vectors: Mapping[str, ImageVectors],
) -> None:
    """Record some files (with their assets), each with its vectors, or the reason of its failure.

    vectors: by the path of each file that is good. What an item had before is replaced in the same
    transaction, so that until then a changed file is found as it was; so is one that cannot be
    read now.
    """
    changed = bool(vectors)
    with catalog.writing() as connection:
        for found, asset, answer in seen:
            if answer.reason is None:
                _record_item(connection, found, asset, answer)
                path = found.path.as_posix()
                _record_vectors(connection, path, vectors[path])
            else:
                changed |= _record_failure(connection, found, answer.reason)
        refresh_words(connection, [found.path.as_posix() for found, _, _ in seen])
        if changed:
            connection.execute(GENERATION)


def record_parts(catalog: Catalog, parts: Mapping[bytes, Sequence[CropRow]]) -> None:
    """Give items that wait for them their smallest parts, by the SHA-256 of their files."""
    with catalog.writing() as connection:
        for sha256, crops in parts.items():
            waiting = "SELECT id FROM items WHERE sha256 = ? AND embedded AND pending"
            for (item,) in connection.execute(waiting, (sha256,)).fetchall():
                write_crops(connection, item, crops)
                connection.execute("UPDATE items SET pending = 0 WHERE id = ?", (item,))
        connection.execute(GENERATION)
        connection.execute(_SMALL_PARTS)


def vectors_of_equal_files(
    catalog: Catalog, sha256s: Mapping[str, bytes]
) -> dict[str, ImageVectors]:
    """Vectors of paths whose very bytes an item has; sha256s: of each path, its hash."""
    equal: dict[str, ImageVectors] = {}
    with catalog.connection() as connection:
        for path, sha256 in sha256s.items():
            item = connection.execute(
                "SELECT id, pending, pixels, alpha, frames FROM items WHERE sha256 = ? AND embedded"
                " ORDER BY id LIMIT 1",
                (sha256,),
            ).fetchone()
            if item is not None:
                crops = crops_of(connection, item[0])
                equal[path] = ImageVectors(crops, digests=item[2:], pending=bool(item[1]))
    return equal


def crops_of(connection: sqlite3.Connection, item: int) -> list[CropRow]:
    """Scale, box and vector of each crop of an item, in their order."""
    sql = "SELECT scale, x, y, width, height, vector FROM crops WHERE item = ? ORDER BY id"
    return connection.execute(sql, (item,)).fetchall()


def write_crops(connection: sqlite3.Connection, item: int, crops: Sequence[CropRow]) -> None:
    """Add crops to an item, with a checksum of each vector and of all it has; it is embedded."""
    connection.executemany(
        "INSERT INTO crops (item, scale, x, y, width, height, vector, checksum)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(item, *crop, zlib.crc32(crop[-1])) for crop in crops],
    )
    (sha256,) = connection.execute("SELECT sha256 FROM items WHERE id = ?", (item,)).fetchone()
    checksum = item_checksum(connection, sha256, crops_of(connection, item))
    sql = "UPDATE items SET embedded = 1, checksum = ? WHERE id = ?"
    connection.execute(sql, (checksum, item))


def item_checksum(connection: sqlite3.Connection, sha256: bytes, crops: Sequence[CropRow]) -> bytes:
    """SHA-256 over the model, the content of a file and its crops: one vouches for the others."""
    digest = hashlib.sha256()
    for key in ("model_fingerprint", "parts"):
        row = connection.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        digest.update(f"{row and row[0]}\0".encode())
    digest.update(sha256)
    for *place, vector in crops:
        digest.update(f"{place}".encode())
        digest.update(vector)
    return digest.digest()


def _record_item(
    connection: sqlite3.Connection, found: FoundFile, asset: str, answer: DecodedImage
) -> None:
    assert answer.prints is not None
    path = found.path.as_posix()
    connection.execute("DELETE FROM failures WHERE path = ?", (path,))
    facts = (answer.sha256, answer.width_px, answer.height_px, answer.mode, answer.format)
    prints = (*answer.mean_rgb, answer.prints.hashes, answer.prints.thumb)
    file = (path, asset, found.size_bytes, found.mtime_ns)
    depth = (answer.bits, json.dumps(answer.notes))
    connection.execute(_ITEM, (*file, *facts, *depth, *prints, found.link, found.file_id))


def _record_vectors(connection: sqlite3.Connection, path: str, vectors: ImageVectors) -> None:
    (item,) = connection.execute("SELECT id FROM items WHERE path = ?", (path,)).fetchone()
    connection.execute("DELETE FROM crops WHERE item = ?", (item,))
    write_crops(connection, item, vectors.crops)
    sql = "UPDATE items SET pixels = ?, alpha = ?, frames = ?, pending = ? WHERE id = ?"
    connection.execute(sql, (*vectors.digests, vectors.pending, item))


def _record_failure(connection: sqlite3.Connection, found: FoundFile, reason: str) -> bool:
    """Whether an item went with it: one whose file holds no image now."""
    path = found.path.as_posix()
    retry = ALWAYS if is_transient(reason) else is_limit(reason) * LIMITS
    row = (path, found.size_bytes, found.mtime_ns, reason, retry)
    connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)", row)
    if reason.startswith(_UNREADABLE_NOW):
        return False
    return connection.execute("DELETE FROM items WHERE path = ?", (path,)).rowcount > 0


def _record_offline(connection: sqlite3.Connection, changes: Changes) -> None:
    """Which items lie in folders that are not there, now."""
    before = {one for (one,) in connection.execute("SELECT id FROM items WHERE offline")}
    changed = before ^ set(changes.offline)
    connection.executemany(
        "UPDATE items SET offline = ? WHERE id = ?",
        [(one in changes.offline, one) for one in changed],
    )
    if changed:
        connection.execute(GENERATION)


def _record_assets(connection: sqlite3.Connection, listing: Listing) -> None:
    """Assets of the folder as it is, and those of offline items as they were.

    A new generation where sets are others: which of two copies to keep follows from them.
    """
    before = _sets(connection)
    assets = {row.asset: row for row in listing.rows}
    offline = "SELECT asset FROM items WHERE offline"
    kept = {asset for (asset,) in connection.execute(offline)} & assets.keys()
    for table in ("assets", "metadata", "maps"):
        connection.execute(f"DELETE FROM {table} WHERE asset NOT IN ({offline})")
        connection.executemany(f"DELETE FROM {table} WHERE asset = ?", [(asset,) for asset in kept])
    connection.executemany(
        "INSERT INTO assets VALUES (?, ?, ?, ?, ?)",
        [(r.asset, r.name, r.category, r.asset_id, r.sidecar) for r in assets.values()],
    )
    words = {(r.asset, "tag", tag) for r in assets.values() for tag in r.tags}
    words |= {(r.asset, "tag", name) for r in listing.rows for name in folder_levels(r.path)}
    words |= {(r.asset, "category", word) for r in assets.values() for word in r.categories}
    connection.executemany("INSERT INTO metadata VALUES (?, ?, ?)", sorted(words))
    connection.executemany(
        "INSERT OR REPLACE INTO maps VALUES (?, ?, ?, ?, ?)",
        [
            (row.path, row.asset, row.kind, row.size_bytes, row.mtime_ns)
            for row in listing.rows
            if row.path not in listing.files
        ],
    )
    connection.executemany(
        "UPDATE items SET asset = ? WHERE path = ? AND asset <> ?",
        [(row.asset, row.path, row.asset) for row in listing.rows if row.path in listing.files],
    )
    if before != _sets(connection):
        connection.execute(GENERATION)


def _sets(connection: sqlite3.Connection) -> list[set[tuple[Any, ...]]]:
    """Maps, and the assets of items with a side-car."""
    queries = (
        "SELECT path, asset, kind, size_bytes FROM maps",
        "SELECT asset FROM assets WHERE sidecar NOT NULL",
    )
    return [set(connection.execute(sql)) for sql in queries]


def _record_left_out(connection: sqlite3.Connection, listing: Listing) -> None:
    connection.execute("DELETE FROM left_out")
    connection.executemany("INSERT OR REPLACE INTO left_out VALUES (?, ?)", listing.left_out)
    counts = ("left_out", json.dumps(listing.others))
    connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", counts)


def _record_links(connection: sqlite3.Connection, listing: Listing) -> None:
    """Which items are links, or names of one file, now; offline ones stay as they were."""
    before = (
        "SELECT path, link, file_id FROM items"
        " WHERE NOT offline AND (link NOT NULL OR file_id NOT NULL)"
    )
    known = {path: (link, file_id) for path, link, file_id in connection.execute(before)}
    now = {
        path: (found.link, found.file_id)
        for path, found in listing.files.items()
        if found.link is not None or found.file_id is not None
    }
    changed = [path for path in known | now if known.get(path) != now.get(path)]
    updated = connection.executemany(
        "UPDATE items SET link = ?, file_id = ? WHERE path = ?",
        [(*now.get(path, (None, None)), path) for path in changed],
    )
    if updated.rowcount > 0:  # of those, some are items
        connection.execute(GENERATION)


def _half(vector: NDArray[np.float32]) -> bytes:
    return vector.astype(np.float16).tobytes()
