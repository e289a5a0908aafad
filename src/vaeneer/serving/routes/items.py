"""Routes that read the catalog: items, thumbnails, images, files that were left out."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import fields
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from PIL import Image
from pydantic import Field

from vaeneer.data.image_formats import MEDIA_TYPES
from vaeneer.data.images import read_rgb
from vaeneer.data.scan import NO_IMAGE
from vaeneer.data.sidecars import NOT_A_SIDECAR
from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Catalog, Item
from vaeneer.library.catalog_schema import query_words
from vaeneer.library.search.filters import (
    FLAGS,
    Condition,
    all_of,
    facts_condition,
    find_words,
)
from vaeneer.library.store import thumbnail_path
from vaeneer.serving.background import megapixels_of
from vaeneer.serving.models import ServedLibrary, StoredFile
from vaeneer.serving.schemas import (
    API,
    DatedFile,
    ItemFilters,
    Problem,
    Whole,
    answer,
    etag_of,
    picture_address,
    picture_responses,
    thumbnail_address,
    unchanged,
)
from vaeneer.serving.state import AppState, State, TheLibrary

router = APIRouter(prefix=API)
Sort = Literal["relevance", "path", "name", "size", "newest"]
_ORDERS: dict[Sort, str] = {
    "relevance": "path",
    "path": "path",
    "name": "ifnull(name, file) COLLATE NOCASE, path",
    "size": "width * height DESC, path",
    "newest": "mtime_ns DESC, path",
}
_FOR_EVER = "private, max-age=31536000, immutable"
_ONE_HOUR = "private, max-age=3600"
_MODES = frozenset({"1", "L", "P", "RGB"})  # not CMYK, which few show right, nor alpha
_QUALITY = 90
_JPEG_SIDE_PX = 65_500  # that libjpeg writes
_LARGEST = 2**63 - 1  # of SQLite's whole numbers
_KIND = "substr(reason, 1, instr(reason || ':', ':') - 1)"
ItemId = Annotated[Whole, Path(ge=0, le=_LARGEST, description="Id of an item.", examples=[1])]
Version = Annotated[str | None, Query(alias="v", max_length=64, description="Any; for caches.")]
Offset = Annotated[Whole, Query(ge=0, le=10**9)]
Limit = Annotated[Whole, Query(ge=1, le=500)]


@answer
class ItemAnswer:
    """One image of a library."""

    id: int
    path: str
    """Below the folder of the library's images."""
    file: str
    folder: str
    asset: str
    name: str | None
    category: str | None
    tags: tuple[str, ...]
    width_px: int
    height_px: int
    format: str
    mode: str
    size_bytes: int
    sha256: str
    thumbnail: str
    """Address of a WebP picture, long side up to 256 px."""
    original: str
    mean_rgb: tuple[float, ...]
    """Each 0 to 1."""
    offline: bool
    """Whether its folder was missing when it was last indexed."""

    @classmethod
    def of(cls, library: str, item: Item, **more: Any) -> Self:
        """The answer for an item. library: its name. more: fields beside those of the item."""
        folder, _, file = item.path.rpartition("/")
        known: dict[str, Any] = {one.name: getattr(item, one.name, "") for one in fields(cls)}
        known |= {"folder": folder, "file": file}
        known["mean_rgb"] = tuple(round(value, 4) for value in item.mean_rgb)
        known["thumbnail"] = thumbnail_address(library, item.id, item.sha256)
        known["original"] = picture_address(library, item.id, "image", item.sha256[:8])
        return cls(**known | more)


@answer
class ItemsAnswer:
    """One page of the items that meet the filters."""

    total: int
    all_words: int | None
    """Of these, items with all words of q; they are first."""
    offset: int
    limit: int
    items: list[ItemAnswer]


@answer
class MapFile:
    """Another map of an item's asset."""

    path: str
    kind: str
    picture: str
    """Address of a JPEG, long side up to 256 px; see max_px."""


@answer
class ItemDetails(ItemAnswer):
    """One image, with its other maps and its side-car."""

    absolute_path: str
    maps: list[MapFile]
    crops: int
    """Vectors of it, that of the whole image counted."""
    sidecar: str | None
    categories: list[str]
    missing: bool
    """Whether the file is not there now."""
    link: str | None
    """Target of a symbolic link, below the folder or absolute."""
    notes: tuple[str, ...]
    """What was ignored or repaired to read the file."""


@answer
class LeftOutFile:
    """A file that is not in a library."""

    path: str
    """Below the folder; bytes that are not UTF-8 as escapes."""
    reason: str
    """Text before a colon is the kind of reason."""


@answer
class LeftOutAnswer:
    """One page of the files that are not in a library."""

    counts: dict[str, int]
    """Reason to number of files, the most first."""
    total: int
    """Files that are listed, of the reason or of all."""
    offset: int
    limit: int
    files: list[LeftOutFile]


class ItemsQuery(ItemFilters):
    """Filters, order and position of a page of items."""

    q: str | None = Field(
        None,
        max_length=200,
        description="Words in name, category, tags or folders; items with all of them first.",
        examples=["wood"],
    )
    folder: str | None = Field(
        None, max_length=1000, description="Below this folder of the images."
    )
    min_side: Whole | None = Field(None, ge=0, le=10**6, description="Least short side, pixels.")
    sort: Sort = Field(
        "relevance", description="relevance: with q, the best match first; else as path."
    )
    offset: Whole = Field(0, ge=0, le=10**9)
    limit: Whole = Field(100, ge=1, le=500)

    def condition(self) -> Condition | None:
        """All filters but the words. Raises FilterError for `where`."""
        found = [facts_condition(self.where or None, {name: getattr(self, name) for name in FLAGS})]
        if self.folder:
            folder = self.folder.strip("/") + "/"
            found.append(Condition("substr(item_facts.path, 1, ?) = ?", (len(folder), folder)))
        if self.min_side is not None:
            sql = "min(item_facts.width, item_facts.height) >= ?"
            found.append(Condition(sql, (self.min_side,)))
        return all_of([one for one in found if one is not None])


@router.get("/items", summary="A page of items")
def items(library: TheLibrary, page: Annotated[ItemsQuery, Query()]) -> ItemsAnswer:
    """Items that meet all of the filters, a page of them."""
    catalog, where = library.catalog, page.condition()
    with library.query_timeout():
        if page.q is not None and page.q.strip():
            total, all_words, ids = _with_words(catalog, page, page.q, where)
        else:
            sql, values = ("1", ()) if where is None else (where.sql, where.values)
            counted = catalog.execute(f"SELECT count(*) FROM item_facts WHERE {sql}", values)
            total, all_words = int(counted.fetchone()[0]), None
            rows = catalog.execute(
                f"SELECT id FROM item_facts WHERE {sql} ORDER BY {_ORDERS[page.sort]}"
                " LIMIT ? OFFSET ?",
                [*values, page.limit, page.offset],
            )
            ids = [row[0] for row in rows]
    found = catalog.items(ids)
    return ItemsAnswer(
        total=total,
        all_words=all_words,
        offset=page.offset,
        limit=page.limit,
        items=[ItemAnswer.of(library.name, item) for item in found],
    )


@router.get("/items/{item}", summary="One item")
def item_details(library: TheLibrary, item: ItemId) -> ItemDetails:
    """An item with its file's place, the other maps beside it and what its side-car says."""
    found, catalog = library.item(item), library.catalog
    asset = (found.asset,)
    sidecar = catalog.execute("SELECT sidecar FROM assets WHERE asset = ?", asset).fetchone()
    said = catalog.execute("SELECT value FROM metadata WHERE asset = ? AND key = 'category'", asset)
    return ItemDetails.of(
        library.name,
        found,
        absolute_path=str(library.below_root(found.path)),
        maps=[
            MapFile(
                path=path,
                kind=kind,
                picture=picture_address(library.name, found.id, f"maps/{number}", version),
            )
            for number, (path, kind, version) in enumerate(_maps(library, found))
        ],
        crops=len(catalog.crops_of(found.id)),
        sidecar=sidecar[0] if sidecar else None,
        categories=[row[0] for row in said],
        missing=not library.has_file(found),
    )


@router.get("/left-out", summary="What is not in a library")
def left_out(
    library: TheLibrary,
    reason: Annotated[
        str | None, Query(max_length=1000, description="One of those that are counted.")
    ] = None,
    offset: Offset = 0,
    limit: Limit = 100,
) -> LeftOutAnswer:
    """Files of the folder that could not be read or were not looked at, with the reasons.

    First those that a user may miss, last what is no image.
    """
    where, values = ("1", []) if reason is None else (f"{_KIND} = ?", [reason])
    both = "(SELECT path, reason FROM failures UNION SELECT path, reason FROM left_out)"
    counted = library.catalog.execute(f"SELECT count(*) FROM {both} WHERE {where}", values)
    rows = library.catalog.execute(
        f"SELECT path, reason FROM {both} WHERE {where}"
        f" ORDER BY reason LIKE '{NO_IMAGE} (%' OR reason LIKE '{NOT_A_SIDECAR}%',"
        " path, reason LIMIT ? OFFSET ?",
        [*values, limit, offset],
    )
    return LeftOutAnswer(
        counts=left_out_counts(library.catalog),
        total=int(counted.fetchone()[0]),
        offset=offset,
        limit=limit,
        files=[LeftOutFile(path=path, reason=why) for path, why in rows],
    )


@router.get(
    "/items/{item}/thumbnail",
    summary="A small picture of an item",
    response_class=Response,
    responses=picture_responses("image/webp"),
)
def thumbnail(
    request: Request, library: TheLibrary, item: ItemId, version: Version = None
) -> Response:
    """WebP, long side up to 256 px; the address changes with the content."""
    found = library.item(item)
    headers = {"ETag": f'"{found.sha256}"', "Cache-Control": _FOR_EVER}
    if (answer := unchanged(request, headers)) is not None:
        return answer
    try:
        picture = thumbnail_path(library.folder, found.sha256).read_bytes()
    except OSError:
        raise Problem(404, "The thumbnail is gone; run vaeneer index again.") from None
    return Response(picture, headers=headers, media_type="image/webp")


def _maps(library: ServedLibrary, item: Item) -> list[tuple[str, str, str]]:
    """Path, kind and version of each other map of an item's asset, by path."""
    rows = library.catalog.execute(
        "SELECT path, kind, mtime_ns, size_bytes FROM maps WHERE asset = ? ORDER BY path",
        (item.asset,),
    )
    return [(path, kind, f"{time_ns:x}-{size:x}") for path, kind, time_ns, size in rows]


def _file_of_item(library: TheLibrary, item: ItemId) -> StoredFile:
    """The file of an item, with its media type where browsers show it. Raises Problem 404."""
    found = library.item(item)
    media_type = MEDIA_TYPES.get(found.format) if found.mode in _MODES else None
    return library.file(found.path, offline=found.offline, media_type=media_type)


def _file_of_map(
    library: TheLibrary,
    item: ItemId,
    number: Annotated[Whole, Path(ge=0, le=10**6, description="Place in `maps`, from 0.")],
) -> StoredFile:
    """A map of an item by its number. Raises Problem 404."""
    found = library.item(item)
    maps = _maps(library, found)
    if number >= len(maps):
        raise Problem(404, f"Item {item} has {len(maps)} other maps; number counts from 0.")
    return library.file(maps[number][0], offline=found.offline)


@router.get(
    "/items/{item}/image",
    summary="The picture of an item",
    response_class=Response,
    responses=picture_responses("image/*"),
)
async def image(
    request: Request,
    state: State,
    file: Annotated[StoredFile, Depends(_file_of_item)],
    max_px: Annotated[
        Whole | None, Query(ge=16, le=4096, description="Longest side; without it, as it is.")
    ] = None,
    version: Version = None,
) -> Response:
    """The file itself where browsers show it, else a JPEG made of it."""
    return await _picture(request, state, file, max_px)


@router.get(
    "/items/{item}/maps/{number}",
    summary="A picture of another map of an item's asset",
    response_class=Response,
    responses=picture_responses("image/jpeg"),
)
async def map_picture(
    request: Request,
    state: State,
    file: Annotated[StoredFile, Depends(_file_of_map)],
    max_px: Annotated[Whole, Query(ge=16, le=4096, description="Longest side.")] = 256,
    version: Version = None,
) -> Response:
    """A JPEG made of the file: a height of 16 bits as grey, a packed map in its own colours."""
    return await _picture(request, state, file, max_px)


async def _picture(
    request: Request, state: AppState, file: StoredFile, max_px: int | None
) -> Response:
    headers = {"ETag": etag_of(file.facts, max_px), "Cache-Control": _ONE_HOUR}
    if (answer := unchanged(request, headers)) is not None:
        return answer
    if file.media_type is not None and max_px is None:
        return DatedFile(
            file.path, headers=headers, media_type=file.media_type, stat_result=file.facts
        )

    def work() -> bytes:
        settings = state.settings
        try:
            megapixels = min(megapixels_of(file.path), settings.max_megapixels)
            with state.pixels.taking(megapixels, settings.timeout_seconds):
                picture = read_rgb(
                    file.path, max_megapixels=settings.max_megapixels, at_least_px=max_px
                )
        except ImageFileError as error:
            raise Problem(422, f"{file.name}: {error.reason}") from None
        longest = min(max_px or _JPEG_SIDE_PX, _JPEG_SIDE_PX)
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=_QUALITY, subsampling=0)
        return stream.getvalue()

    return Response(await state.pool.submit(work), headers=headers, media_type="image/jpeg")


def _with_words(
    catalog: Catalog, page: ItemsQuery, text: str, where: Condition | None
) -> tuple[int, int, list[int]]:
    """Number of items with some of the words and with all of them, and the ids of the page."""
    matches = find_words(catalog, text, where)
    ids = [one.item for one in matches]
    if page.sort != "relevance":
        known = set(ids)
        rows = catalog.execute(f"SELECT id FROM item_facts ORDER BY {_ORDERS[page.sort]}")
        ids = [row[0] for row in rows if row[0] in known]
    count = len(query_words(text)) or 1
    with_all = sum(one.words == count for one in matches)
    return len(ids), with_all, ids[page.offset : page.offset + page.limit]


def left_out_counts(catalog: Catalog) -> dict[str, int]:
    """Reason -> number of files that are not in the library, the most first."""
    rows = catalog.execute(f"SELECT {_KIND}, count(*) FROM failures GROUP BY 1")
    found = Counter(dict(rows.fetchall())) + Counter(catalog.left_out())
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))
