"""What indexing writes into the catalog, each call one transaction: all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.scanning import FoundFile
from vaeneer.errors import is_limit, is_transient
from vaeneer.library.catalog import ALWAYS, LIMITS, WHOLE, Catalog, PixelBox
from vaeneer.library.inventory import Changes, Listing
from vaeneer.library.looking import Seen

CropRow = tuple[Any, ...]
"""scale, x, y, width, height, vector."""
GENERATION = """INSERT INTO state VALUES ('generation', '1')
    ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"""
_ITEM = """INSERT INTO items
    (path, asset, size_bytes, mtime_ns, sha256, width_px, height_px, mode, format, bits, notes,
     red, green, blue, phashes, thumb)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (path) DO UPDATE SET asset = excluded.asset, size_bytes = excluded.size_bytes,
    mtime_ns = excluded.mtime_ns, sha256 = excluded.sha256, width_px = excluded.width_px,
    height_px = excluded.height_px, mode = excluded.mode, format = excluded.format,
    bits = excluded.bits, notes = excluded.notes, offline = 0,
    red = excluded.red, green = excluded.green, blue = excluded.blue, phashes = excluded.phashes,
    thumb = excluded.thumb, pixels = NULL, alpha = NULL, frames = NULL, embedded = 0"""


@dataclass(frozen=True)
class Embedded:
    """The vectors of one item: of the whole, and of its parts."""

    path: str
    whole: NDArray[np.float32]
    boxes: list[tuple[int, PixelBox]]
    """Scale and place of each part."""
    parts: NDArray[np.float32]


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
        catalog.keep_state("rules", json.dumps(asdict(listing.rules)))
        _record_links(connection, listing)
        listed = [(path,) for path in (*listing.files, *changes.offline_failures)]
        connection.execute("CREATE TEMP TABLE listed (path TEXT PRIMARY KEY)")
        connection.executemany("INSERT INTO listed VALUES (?)", listed)
        connection.execute("DELETE FROM failures WHERE path NOT IN (SELECT path FROM listed)")
        connection.execute("DROP TABLE listed")


def record_limits(catalog: Catalog, limits: str) -> None:
    """Have files that earlier limits refused read again, where the limits are others now."""
    if catalog.state("limits") != limits:
        with catalog.writing() as connection:
            retry = (ALWAYS, LIMITS)
            connection.execute("UPDATE failures SET passing = ? WHERE passing = ?", retry)
            catalog.keep_state("limits", limits)


def record_seen(catalog: Catalog, seen: Sequence[tuple[FoundFile, str, Seen]]) -> None:
    """Keep what decoding told of some files (with their assets): items to embed, or failures."""
    with catalog.writing() as connection:
        for found, asset, answer in seen:
            path = found.path.as_posix()
            known = connection.execute("SELECT id, embedded FROM items WHERE path = ?", (path,))
            _drop_vectors(connection, known.fetchone(), failed=answer.reason is not None)
            if answer.reason is not None:
                retry = ALWAYS if is_transient(answer.reason) else is_limit(answer.reason) * LIMITS
                row = (path, found.size_bytes, found.mtime_ns, answer.reason, retry)
                connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)", row)
                continue
            assert answer.prints is not None
            connection.execute("DELETE FROM failures WHERE path = ?", (path,))
            facts = (answer.sha256, answer.width_px, answer.height_px, answer.mode, answer.format)
            prints = (*answer.mean_rgb, answer.prints.hashes, answer.prints.thumb)
            file = (path, asset, found.size_bytes, found.mtime_ns)
            depth = (answer.bits, json.dumps(answer.notes))
            connection.execute(_ITEM, (*file, *facts, *depth, *prints))
            link = (found.link, found.file_id, path)
            connection.execute("UPDATE items SET link = ?, file_id = ? WHERE path = ?", link)


def record_embedded(catalog: Catalog, embedded: Iterable[Embedded]) -> None:
    """Keep the vectors of some items; from now on they are found."""
    with catalog.writing() as connection:
        for one in embedded:
            (item,) = connection.execute(
                "SELECT id FROM items WHERE path = ?", (one.path,)
            ).fetchone()
            connection.execute("DELETE FROM crops WHERE item = ?", (item,))
            size = connection.execute(
                "SELECT width_px, height_px FROM items WHERE id = ?", (item,)
            ).fetchone()
            crops = [(WHOLE, 0, 0, *size, _half(one.whole))]
            for (scale, box), vector in zip(one.boxes, one.parts, strict=True):
                crops.append((scale, *box, _half(vector)))
            write_crops(connection, item, crops)
        connection.execute(GENERATION)


def copy_vectors(catalog: Catalog, paths: Sequence[str]) -> set[str]:
    """Give items the vectors of others with the same bytes; returns the paths that got them."""
    copied: set[str] = set()
    with catalog.writing() as connection:
        for path in paths:
            pair = connection.execute(
                "SELECT new.id, old.id FROM items AS new JOIN items AS old"
                " ON old.sha256 = new.sha256 AND old.embedded AND old.id <> new.id"
                " WHERE new.path = ? ORDER BY old.id LIMIT 1",
                (path,),
            ).fetchone()
            if pair is None:
                continue
            connection.execute("DELETE FROM crops WHERE item = ?", pair[:1])
            write_crops(connection, pair[0], crops_of(connection, pair[1]))
            connection.execute(
                "UPDATE items SET (pixels, alpha, frames) ="
                " (SELECT pixels, alpha, frames FROM items WHERE id = ?) WHERE id = ?",
                pair[::-1],
            )
            copied.add(path)
        if copied:
            connection.execute(GENERATION)
    return copied


def crops_of(connection: sqlite3.Connection, item: int) -> list[CropRow]:
    """Scale, box and vector of each crop of an item, in their order."""
    sql = "SELECT scale, x, y, width, height, vector FROM crops WHERE item = ? ORDER BY id"
    return connection.execute(sql, (item,)).fetchall()


def write_crops(connection: sqlite3.Connection, item: int, crops: Sequence[CropRow]) -> None:
    """Give an item its crops, with a checksum of each vector and of them all; it is embedded."""
    connection.executemany(
        "INSERT INTO crops (item, scale, x, y, width, height, vector, checksum)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(item, *crop, zlib.crc32(crop[-1])) for crop in crops],
    )
    (sha256,) = connection.execute("SELECT sha256 FROM items WHERE id = ?", (item,)).fetchone()
    checksum = item_checksum(connection, sha256, crops)
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


def _drop_vectors(
    connection: sqlite3.Connection, known: tuple[int, int] | None, *, failed: bool
) -> None:
    """Of a file that changed: what was known of it is no longer so."""
    if known is None:
        return
    connection.execute("DELETE FROM crops WHERE item = ?", known[:1])
    if failed:
        connection.execute("DELETE FROM items WHERE id = ?", known[:1])
    if known[1]:
        connection.execute(GENERATION)


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
    """Assets of the folder as it is, and those of offline items as they were."""
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
