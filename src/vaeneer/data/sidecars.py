"""Side-car JSON: what a library says about an asset, beside its images.

Read are the habits of Quixel Megascans, Poly Haven, ambientCG, BlenderKit, Eagle, ExifTool and
Google Takeout: fields by their names in any case, one asset or several, nested or not.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from vaeneer.data.image_formats import IMAGE_SUFFIXES
from vaeneer.text import clean_text

BROKEN, NOT_A_SIDECAR = "broken JSON", "not a side-car"
_LIMIT_BYTES = 16 * 2**20
_MAX_CHARACTERS = 200  # of a name, tag, category or id
_MAX_WORDS = 1000
_MAX_DIGITS = 40
_DEEPEST = 8
# fmt: off
# What kind of asset it is, not what it is made of; Quixel's first category is one of these.
_ASSET_TYPES = frozenset((
    "surface", "surfaces", "surface_scans", "3d", "3d_assets", "3dplant", "3d_plants", "atlas",
    "atlases", "decal", "decals", "brush", "brushes", "texture", "textures", "material",
    "materials", "pbr", "image", "images", "photo", "photos",
))
# The names of our fields in files, without case and signs; the first that says something counts.
_FIELDS = {
    "asset_id": ("id", "assetid", "assetbaseid", "uid", "uuid", "slug"),
    "name": ("name", "displayname", "assetname", "title"),
    "categories": (
        "categories", "assetcategories", "category", "displaycategory", "assetcategory",
    ),
    "tags": ("tags", "tag", "keywords", "keyword", "semantictags", "labels", "subject"),
    "file": ("file", "filename", "sourcefile", "image", "imagefile", "path"),
}
_WRAPPERS = frozenset((
    "asset", "data", "metadata", "meta", "info", "item", "material", "texture", "result",
    "attributes", "properties", "details", "assets", "foundassets", "items", "results", "images",
    "textures", "materials", "entries", "photos", "mediaitems",
))
_WORD_KEYS = ("name", "tag", "title", "label", "value", "slug")
_NAMES_OF_OTHERS = frozenset((
    "package.json", "package-lock.json", "composer.json", "tsconfig.json", "jsconfig.json",
    "settings.json", "launch.json", "tasks.json",
))
_KEYS_OF_OTHERS = frozenset((
    "dependencies", "devdependencies", "lockfileversion", "compileroptions", "annotations",
    "geometries", "scenes", "nodes", "bufferviews",
))
# What vaeneer itself writes.
_OUR_KEYS = (
    {"vaeneerversion"}, {"modelfingerprint"}, {"raw", "exactduplicates"}, {"library", "vectors"},
    {"query", "hits"},
)
# fmt: on


@dataclass(frozen=True)
class Sidecar:
    """What one JSON file says about one asset; everything but `path` may be missing."""

    path: PurePosixPath
    """Relative to the raw folder."""

    asset_id: str | None = None
    name: str | None = None
    categories: tuple[str, ...] = ()
    """As in the file, widest first: surface, brick, rough."""

    tags: tuple[str, ...] = ()

    file: str | None = None
    """The image that the entry names, as in the file."""

    warning: str | None = None
    """Why the file was not understood; words before the colon are the same for all of a kind."""

    @property
    def category(self) -> str | None:
        """The widest category that names a material: brick, of (surface, brick, rough)."""
        for category in self.categories:
            if category.lower().replace(" ", "_") not in _ASSET_TYPES:
                return category
        return None


def read_sidecar(raw: Path, relative_path: PurePosixPath) -> tuple[Sidecar, ...]:
    """Read the entries of one file, in UTF-8, UTF-16, Windows-1252 or Latin-1. Never raises.

    A file that is not understood has one entry, with a `warning`.
    """
    try:
        status = (raw / relative_path).stat()
        if not stat.S_ISREG(status.st_mode):
            return (Sidecar(relative_path, warning="cannot be read: it is not a file"),)
        size_bytes = status.st_size
        if size_bytes > _LIMIT_BYTES:
            reason = f"too large for a side-car: {size_bytes / 2**20:,.0f} MiB, at most 16 are read"
            return (Sidecar(relative_path, warning=reason),)
        value = _decode((raw / relative_path).read_bytes())
    except OSError as error:
        return (Sidecar(relative_path, warning=f"cannot be read: {error.strerror}"),)
    except RecursionError:
        return (Sidecar(relative_path, warning=f"{BROKEN}: nested too deeply"),)
    except ValueError as error:
        return (Sidecar(relative_path, warning=f"{BROKEN}: {clean_text(str(error))}"),)
    foreign = _foreign(relative_path, value)
    entries = [] if foreign else list(_entries(value))
    described = [
        replace(entry, path=relative_path)
        for entry in entries
        if entry.name or entry.categories or entry.tags
    ]
    if not described:
        reason = foreign or "it has no name, category or tag"
        return (Sidecar(relative_path, warning=f"{NOT_A_SIDECAR}: {reason}"),)
    return tuple(described)


def _decode(data: bytes) -> Any:
    try:
        return _parse(data)  # finds UTF-8, its BOM and UTF-16 by itself
    except UnicodeDecodeError:
        try:
            return _parse(data.decode("cp1252"))
        except UnicodeDecodeError:
            return _parse(data.decode("latin-1"))


def _parse(data: bytes | str) -> Any:
    return json.loads(data, parse_int=_whole_number, parse_constant=lambda _: None)


def _whole_number(digits: str) -> int | None:
    """A number, or None for one of so many digits that it counts nothing."""
    return int(digits) if len(digits) <= _MAX_DIGITS else None


def _foreign(path: PurePosixPath, value: Any) -> str | None:
    """Why a file is certainly no side-car, whatever its fields are called."""
    keys = {_folded(key) for key in value} if isinstance(value, dict) else set()
    if path.name.lower() in _NAMES_OF_OTHERS or keys & _KEYS_OF_OTHERS:
        return "it belongs to other software"
    if any(ours <= keys for ours in _OUR_KEYS):
        return "vaeneer wrote it"
    return None


def _entries(value: Any, depth: int = 0) -> Iterator[Sidecar]:
    """The assets that a JSON value describes: itself, those in a list, or those wrapped in it."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for one in value:
            if isinstance(one, dict | list):
                yield from _entries(one, depth + 1)
        return
    if not isinstance(value, dict):
        return
    entry = _entry(value)
    if entry.categories or entry.tags:
        yield entry
        return
    wrapped = list(_wrapped(value, depth))
    if len(wrapped) == 1:
        yield _filled(wrapped[0], entry)
    elif wrapped:
        yield from wrapped
    else:
        yield entry


def _wrapped(value: Mapping[str, Any], depth: int) -> Iterator[Sidecar]:
    """Assets in `{"data": {...}}`, `{"assets": [...]}` and `{"id": {...}, "id": {...}}`."""
    below = {key: one for key, one in value.items() if isinstance(one, dict | list)}
    wrappers = {key: one for key, one in below.items() if _folded(key) in _WRAPPERS}
    keyed = not wrappers and len(below) == len(value) > 1
    for key, one in (wrappers or (below if len(below) == len(value) else {})).items():
        for entry in _entries(one, depth + 1):
            if entry.categories or entry.tags:
                yield _filled(entry, Sidecar(entry.path, asset_id=_text(key))) if keyed else entry


def _filled(entry: Sidecar, other: Sidecar) -> Sidecar:
    """An entry with what only the other one says."""
    return replace(
        entry,
        asset_id=entry.asset_id or other.asset_id,
        name=entry.name or other.name,
        categories=entry.categories or other.categories,
        tags=entry.tags or other.tags,
        file=entry.file or other.file,
    )


def merged(entries: Iterable[Sidecar]) -> Sidecar:
    """The first entry, with what only later ones say."""
    first, *others = entries
    for other in others:
        first = _filled(first, other)
    return first


def _entry(value: Mapping[str, Any]) -> Sidecar:
    """The fields of one object."""
    fields: dict[str, Any] = {}
    for key, one in value.items():
        fields.setdefault(_folded(key), one)
    semantic = fields.get("semantictags")
    name = _first_text(fields, "name")
    if name is None and isinstance(semantic, dict):
        name = _text(semantic.get("name"))
    file = _first_text(fields, "file")
    if name is not None and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
        file = file or name  # Takeout's title: the name of the file, words are in the description
        name = _first_line(fields.get("description")) or name
    return Sidecar(
        PurePosixPath(),
        asset_id=_first_text(fields, "asset_id"),
        name=name,
        categories=_first_words(fields, "categories"),
        tags=_first_words(fields, "tags"),
        file=file,
    )


def _folded(key: str) -> str:
    """A key without case, signs and the group that ExifTool puts before it (XMP:Subject)."""
    return re.sub(r"[^a-z0-9]", "", key[-100:].rsplit(":", 1)[-1].lower())


def _first_text(fields: Mapping[str, Any], field: str) -> str | None:
    texts = (_text(fields.get(key)) for key in _FIELDS[field])
    return next((text for text in texts if text), None)


def _first_words(fields: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """The words of the first field of that meaning which has some."""
    separators = r"[,;|\n#]" if field == "tags" else r"[,;|\n/\\>›»]"
    for key in _FIELDS[field]:
        value = fields.get(key)
        if key == "semantictags" and isinstance(value, dict):  # asset_type and others say no tag
            value = {name: below for name, below in value.items() if isinstance(below, list | dict)}
        if isinstance(value, str):
            words: Iterable[str | None] = (
                _text(part) for part in re.split(separators, value[: 100 * _MAX_CHARACTERS])
            )
        else:
            words = _words(value, one=field == "categories")
        distinct = dict.fromkeys(word for word in words if word)
        if distinct:
            return tuple(distinct)[:_MAX_WORDS]
    return ()


def _words(value: Any, depth: int = 0, *, one: bool = True) -> Iterator[str | None]:
    """Words of a list, of objects with a name, of lists by topic or of nested keys.

    one: whether an object with a name is one word, rather than words by topic.
    """
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                yield from _words(item, depth + 1)
            else:
                yield _text(item)
    elif isinstance(value, dict):
        name = next((text for key in _WORD_KEYS if (text := _text(value.get(key)))), None)
        if one and name:
            yield name
            return
        for key, below in value.items():
            if isinstance(below, dict):
                yield _text(key)
                yield from _words(below, depth + 1, one=False)
            elif isinstance(below, list):
                yield from _words(below, depth + 1)
            elif isinstance(below, str):
                yield _text(below)
            elif isinstance(below, int | float) and below > 0:
                yield _text(key)  # {"red": 0.9}, {"red": true}


def _first_line(value: Any) -> str | None:
    lines = value.strip().splitlines() if isinstance(value, str) else []
    return _text(lines[0]) if lines else None


def _text(value: Any) -> str | None:
    """Clean text of at most 200 characters; whole numbers as text; None for anything else."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**_MAX_DIGITS else ""
    if not isinstance(value, str):
        return None
    return clean_text(clean_text(value[: 2 * _MAX_CHARACTERS])[:_MAX_CHARACTERS]) or None
