"""The addresses of an item's pictures, as the page and clients are told them."""

from __future__ import annotations

from urllib.parse import urlencode

from vaeneer.library.catalog import Item

API = "/api/v1"
_VERSION_CHARACTERS = 8


def thumbnail_address(library: str, item: int, sha256: str) -> str:
    """Changes with the content, so that it may be cached for ever."""
    return _address(library, item, "thumbnail", sha256)


def image_address(library: str, item: Item) -> str:
    """Where the picture itself is."""
    return _address(library, item.id, "image", item.sha256)


def map_address(library: str, item: int, number: int, version: str) -> str:
    """Where a picture of another map of an item's asset is; version: changes with the file."""
    query = urlencode({"library": library, "v": version})
    return f"{API}/items/{item}/maps/{number}?{query}"


def _address(library: str, item: int, what: str, sha256: str) -> str:
    query = urlencode({"library": library, "v": sha256[:_VERSION_CHARACTERS]})
    return f"{API}/items/{item}/{what}?{query}"
