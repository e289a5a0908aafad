"""Side-car JSON: what a library says about an asset, beside its images.

Read is the schema of Quixel Megascans (id, name, categories, tags, semanticTags, assetCategories).
Any other JSON is linked by its path only; a broken one too, with a warning.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vaeneer.data.naming import name_parts

_LIMIT_BYTES = 16 * 2**20
# Quixel's first category says what kind of asset it is, not what it is made of.
_ASSET_TYPES = frozenset({"surface", "surfaces", "3d", "3dplant", "atlas", "decal", "brush"})


@dataclass(frozen=True)
class Sidecar:
    """One JSON file beside images; everything but `path` may be missing."""

    path: PurePosixPath
    """Relative to the raw folder."""

    asset_id: str | None = None
    name: str | None = None
    categories: tuple[str, ...] = ()
    """As in the file, widest first: surface, brick, rough."""

    tags: tuple[str, ...] = ()

    warning: str | None = None
    """Why the file could not be read."""

    @property
    def category(self) -> str | None:
        """The widest category that names a material: brick, of (surface, brick, rough)."""
        for category in self.categories:
            if category.lower() not in _ASSET_TYPES:
                return category
        return None


def read_sidecar(raw: Path, relative_path: PurePosixPath) -> Sidecar:
    """Read one side-car in UTF-8 (with or without BOM), UTF-16 or Latin-1. Never raises."""
    try:
        if (raw / relative_path).stat().st_size > _LIMIT_BYTES:
            return Sidecar(relative_path, warning="larger than 16 MiB, not read")
        value = _decode((raw / relative_path).read_bytes())
    except OSError as error:
        return Sidecar(relative_path, warning=f"cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return Sidecar(relative_path, warning=f"broken JSON: {error}")
    return _megascans(relative_path, value)


def match_sidecars(
    sidecars: Iterable[Sidecar], asset_folders: Mapping[str, PurePosixPath]
) -> dict[str, Sidecar]:
    """Which side-car belongs to which asset: same name, same id, or alone with it in a folder.

    `asset_folders`: asset key -> folder of its files, relative to the raw folder.
    """
    by_key: dict[str, Sidecar] = {}
    by_id: dict[str, Sidecar] = {}
    in_folder: dict[PurePosixPath, list[Sidecar]] = defaultdict(list)
    for sidecar in sidecars:
        by_key.setdefault(name_parts(sidecar.path)[0], sidecar)
        if sidecar.asset_id:
            by_id.setdefault(sidecar.asset_id.lower(), sidecar)
        in_folder[sidecar.path.parent].append(sidecar)
    assets_in = defaultdict(list)
    for key, folder in asset_folders.items():
        assets_in[folder].append(key)
    matched: dict[str, Sidecar] = {}
    for key, folder in asset_folders.items():
        alone = len(in_folder[folder]) == 1 and len(assets_in[folder]) == 1
        found = by_key.get(key) or _by_id(by_id, key) or (in_folder[folder][0] if alone else None)
        if found is not None:
            matched[key] = found
    return matched


def _by_id(by_id: Mapping[str, Sidecar], key: str) -> Sidecar | None:
    """By the asset's own name, or a Quixel id at the start or end of it (Brick_Wall_vlklbci)."""
    name = key.rsplit("/", 1)[-1].lower()
    parts = name.split("_")
    for candidate in (name, parts[0], parts[-1]):
        if candidate in by_id:
            return by_id[candidate]
    return None


def _decode(data: bytes) -> Any:
    try:
        return json.loads(data)  # finds UTF-8, its BOM and UTF-16 by itself
    except UnicodeDecodeError:
        return json.loads(data.decode("latin-1"))


def _megascans(path: PurePosixPath, value: Any) -> Sidecar:
    """The fields of the Megascans schema; only the path where the file has another schema."""
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return Sidecar(path)
    semantic, nested = value.get("semanticTags"), value.get("assetCategories")
    tags = _strings(value.get("tags")) or _flat(semantic)
    categories = _strings(value.get("categories")) or _flat(nested)
    if not tags and not categories:
        return Sidecar(path)
    name = value.get("name")
    if not isinstance(name, str) and isinstance(semantic, dict):
        name = semantic.get("name")
    return Sidecar(path, value["id"], name if isinstance(name, str) else None, categories, tags)


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(item for item in value if isinstance(item, str))


def _flat(value: Any) -> tuple[str, ...]:
    """The words of semanticTags (lists by topic) or the keys of assetCategories (nested)."""
    if not isinstance(value, dict):
        return ()
    words: list[str] = []
    for key, below in value.items():
        if isinstance(below, dict):
            words += [key, *_flat(below)]
        elif key != "name":
            words += _strings(below)
    return tuple(dict.fromkeys(words))
