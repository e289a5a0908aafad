"""Routes that read the catalog: libraries, items, thumbnails, images."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from vaeneer.errors import ImageFileError, LibraryUnavailableError
from vaeneer.library.catalog import Catalog, Item
from vaeneer.library.store import thumbnail_path
from vaeneer.model.bundled_models import bundled_names
from vaeneer.serving import schemas
from vaeneer.serving.item_queries import (
    Page,
    Sort,
    counts,
    items_of,
    left_out_counts,
    left_out_files,
)
from vaeneer.serving.models import ServedLibrary
from vaeneer.serving.problems import Json, Problem, Whole
from vaeneer.serving.schemas import API, image_address, map_address, thumbnail_address
from vaeneer.serving.state import State, TheLibrary
from vaeneer.serving.uploads import DatedFile, as_jpeg, megapixels_of, shown_as

router = APIRouter(prefix=API)
_FOR_EVER = "private, max-age=31536000, immutable"
_LARGEST = 2**63 - 1  # of SQLite's whole numbers
ItemId = Annotated[Whole, Path(ge=0, le=_LARGEST, description="Id of an item.", examples=[1])]
Text = Annotated[str | None, Query(max_length=255)]
_NO_FIGURES: dict[str, Any] = {
    **dict.fromkeys(("items", "assets", "dimensions", "revision", "left_out", "parts_pending"), 0),
    **dict.fromkeys(("model", "parts", "root_name"), ""),
    **{name: {} for name in ("categories", "tags", "formats")},
}


@router.get("", summary="What is served", response_model=schemas.Start)
def start(house: State) -> Response:
    """Names of the libraries and runs, and of the models that can draw."""
    return Json(
        {
            "name": "vaeneer",
            "version": version("vaeneer"),
            "libraries": list(house.libraries),
            "runs": list(house.served.runs()),
            "models": bundled_names(),
        }
    )


@router.get("/libraries", summary="The libraries", response_model=schemas.LibrariesAnswer)
def libraries(house: State) -> Response:
    """What each library holds, counted, and whether it can be searched yet."""
    return Json({"libraries": [_library(one) for one in house.libraries.values()]})


@router.get("/items", summary="A page of items", response_model=schemas.ItemsAnswer)
def items(
    library: TheLibrary,
    q: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Words in name, category, tags or folders; items with all of them first.",
            examples=["wood"],
        ),
    ] = None,
    category: Text = None,
    tag: Text = None,
    folder: Annotated[
        str | None, Query(max_length=1000, description="Below this folder of the images.")
    ] = None,
    where: Annotated[
        str | None,
        Query(
            max_length=4000, description="As search --where: category = 'wood' and width >= 1024"
        ),
    ] = None,
    min_side: Annotated[
        Whole | None, Query(ge=0, le=10**6, description="Least short side, pixels.")
    ] = None,
    sort: Annotated[
        Sort, Query(description="relevance: with q, the best match first; else as path.")
    ] = "relevance",
    offset: Annotated[Whole, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[Whole, Query(ge=1, le=500)] = 100,
) -> Response:
    """Items that meet all of the filters, a page of them."""
    page = Page(
        q=q,
        category=category,
        tag=tag,
        folder=folder,
        where=where,
        min_side=min_side,
        sort=sort,
        offset=offset,
        limit=limit,
    )
    found = items_of(library.catalog, page)
    shown = [_item(library.name, item) for item in found.items]
    counts = {"total": found.total, "all_words": found.all_words}
    return Json({**counts, "offset": offset, "limit": limit, "items": shown})


@router.get("/items/{item}", summary="One item", response_model=schemas.ItemDetails)
def item_details(library: TheLibrary, item: ItemId) -> Response:
    """An item with its file's place, the other maps beside it and what its side-car says."""
    found = library.item(item)
    catalog = library.catalog
    asset = (found.asset,)
    sidecar = catalog.execute("SELECT sidecar FROM assets WHERE asset = ?", asset).fetchone()
    said = catalog.execute("SELECT value FROM metadata WHERE asset = ? AND key = 'category'", asset)
    return Json(
        _item(library.name, found)
        | {
            "absolute_path": str(library.path(found)),
            "maps": [
                {
                    "path": path,
                    "kind": kind,
                    "picture": map_address(library.name, found.id, number, version),
                }
                for number, (path, kind, version) in enumerate(_maps(library, found))
            ],
            "crops": len(catalog.crops_of(found.id)),
            "sidecar": sidecar[0] if sidecar else None,
            "categories": [row[0] for row in said],
            "missing": not library.has_file(found),
            "link": found.link,
            "notes": found.notes,
        }
    )


@router.get("/left-out", summary="What is not in a library", response_model=schemas.LeftOutAnswer)
def left_out(
    library: TheLibrary,
    reason: Annotated[
        str | None,
        Query(max_length=1000, description="One of those that are counted."),
    ] = None,
    offset: Annotated[Whole, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[Whole, Query(ge=1, le=500)] = 100,
) -> Response:
    """Files of the folder that could not be read or were not looked at, with the reasons."""
    total, files = left_out_files(library.catalog, reason, offset=offset, limit=limit)
    return Json(
        {
            "counts": left_out_counts(library.catalog),
            "total": total,
            "offset": offset,
            "limit": limit,
            "files": [{"path": path, "reason": why} for path, why in files],
        }
    )


@router.get(
    "/items/{item}/thumbnail",
    summary="A small picture of an item",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}}, 304: {"description": "Known already."}},
)
def thumbnail(
    request: Request,
    library: TheLibrary,
    item: ItemId,
    v: Annotated[str | None, Query(max_length=64, description="Any; for caches.")] = None,
) -> Response:
    """WebP, long side up to 256 px; the address changes with the content."""
    found = library.item(item)
    headers = {"ETag": f'"{found.sha256}"', "Cache-Control": _FOR_EVER}
    if _is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        picture = thumbnail_path(library.folder, found.sha256).read_bytes()
    except OSError:
        raise Problem(404, "The thumbnail is gone; run vaeneer index again.") from None
    return Response(picture, headers=headers, media_type="image/webp")


@router.get(
    "/items/{item}/image",
    summary="The picture of an item",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "Known already."},
    },
)
async def image(
    request: Request,
    house: State,
    library: TheLibrary,
    item: ItemId,
    max_px: Annotated[
        Whole | None, Query(ge=16, le=4096, description="Longest side; without it, as it is.")
    ] = None,
    v: Annotated[str | None, Query(max_length=64, description="Any; for caches.")] = None,
) -> Response:
    """The file itself where browsers show it, else a JPEG made of it."""
    found, path, facts = await run_in_threadpool(_found, library, item)
    tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}-{max_px or 0}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
    if _is_known(request, tag):
        return Response(status_code=304, headers=headers)
    kind = shown_as(found)
    if kind is not None and max_px is None:
        return DatedFile(path, headers=headers, media_type=kind, stat_result=facts)
    made = await house.workroom.submit(lambda: _made(house, found.path, path, max_px))
    return Response(made, headers=headers, media_type="image/jpeg")


@router.get(
    "/items/{item}/maps/{number}",
    summary="A picture of another map of an item's asset",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "Known already."},
    },
)
async def map_picture(
    request: Request,
    house: State,
    library: TheLibrary,
    item: ItemId,
    number: Annotated[Whole, Path(ge=0, le=10**6, description="Place in `maps`, from 0.")],
    max_px: Annotated[Whole, Query(ge=16, le=4096, description="Longest side.")] = 256,
    v: Annotated[str | None, Query(max_length=64, description="Any; for caches.")] = None,
) -> Response:
    """A JPEG made of the file: a height of 16 bits as grey, a packed map in its own colours."""
    found, path, facts = await run_in_threadpool(_found_map, library, item, number)
    tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}-{max_px}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
    if _is_known(request, tag):
        return Response(status_code=304, headers=headers)
    made = await house.workroom.submit(lambda: _made(house, found, path, max_px))
    return Response(made, headers=headers, media_type="image/jpeg")


def _maps(library: ServedLibrary, item: Item) -> list[tuple[str, str, str]]:
    """Path, kind and version of each other map of an item's asset, by path."""
    rows = library.catalog.execute(
        "SELECT path, kind, mtime_ns, size_bytes FROM maps WHERE asset = ? ORDER BY path",
        (item.asset,),
    )
    return [(path, kind, f"{time_ns:x}-{size:x}") for path, kind, time_ns, size in rows]


def _found_map(
    library: ServedLibrary, item: int, number: int
) -> tuple[str, FilePath, os.stat_result]:
    """A map of an item by its number, its file and its facts. Raises Problem 404."""
    found = library.item(item)
    maps = _maps(library, found)
    if number >= len(maps):
        raise Problem(404, f"Item {item} has {len(maps)} other maps; number counts from 0.")
    path = library.below_root(maps[number][0])
    return maps[number][0], path, _facts_of(path, offline=found.offline)


def _made(house: State, name: str, path: FilePath, max_px: int | None) -> bytes:
    settings = house.settings
    try:
        size = min(megapixels_of(path), settings.max_megapixels)
        with house.pixels.taking(size, settings.timeout_seconds):
            return as_jpeg(path, max_px, settings.max_megapixels)
    except ImageFileError as error:
        raise Problem(422, f"{name}: {error.reason}") from None


def _found(library: ServedLibrary, number: int) -> tuple[Item, FilePath, os.stat_result]:
    """An item, its file, and what the system says of that. Raises Problem 404."""
    item = library.item(number)
    path = library.path(item)
    return item, path, _facts_of(path, offline=item.offline)


def _facts_of(path: FilePath, *, offline: bool) -> os.stat_result:
    """What the system says of a file that can be read. Raises Problem 404."""
    try:
        facts = path.stat()
    except OSError:
        what = "offline: its folder is not there now" if offline else "gone"
        raise Problem(404, f"The file is {what}; run vaeneer index again.") from None
    if not stat.S_ISREG(facts.st_mode):  # a named pipe would block for ever
        raise Problem(404, "There is no file any more, but something else of its name.")
    if not os.access(path, os.R_OK):
        raise Problem(404, "The file may not be read by the server; check its permissions.")
    return facts


def _library(library: ServedLibrary) -> dict[str, Any]:
    """One library; without figures, but with the reason, where its folder is gone."""
    try:
        with suppress(HTTPException):  # loading, or cannot be loaded: the state says so
            library.ready()
        figures = _figures(library.catalog)
    except LibraryUnavailableError:
        figures = _NO_FIGURES
    return {
        "name": library.name,
        **figures,
        "calibrated": library.calibrated,
        "state": library.state,
        "reason": library.reason,
    }


def _figures(catalog: Catalog) -> dict[str, Any]:
    items, assets = catalog.execute(
        "SELECT count(*), count(DISTINCT asset) FROM item_facts"
    ).fetchone()
    return {
        "items": items,
        "assets": assets,
        "model": FilePath(catalog.require_meta("model")).name,
        "dimensions": catalog.dimensions,
        "parts": catalog.require_meta("parts"),
        "revision": catalog.generation,
        "left_out": sum(left_out_counts(catalog).values()),
        "parts_pending": catalog.parts_pending,
        "root_name": catalog.root.name,
        **counts(catalog),
    }


def _item(library: str, item: Item) -> dict[str, Any]:
    folder, _, file = item.path.rpartition("/")
    return {
        "id": item.id,
        "path": item.path,
        "file": file,
        "folder": folder,
        "asset": item.asset,
        "name": item.name,
        "category": item.category,
        "tags": item.tags,
        "width_px": item.width_px,
        "height_px": item.height_px,
        "format": item.format,
        "mode": item.mode,
        "size_bytes": item.size_bytes,
        "sha256": item.sha256,
        "thumbnail": thumbnail_address(library, item.id, item.sha256),
        "original": image_address(library, item),
        "mean_rgb": [round(value, 4) for value in item.mean_rgb],
        "offline": item.offline,
    }


def _is_known(request: Request, tag: str) -> bool:
    asked = request.headers.get("if-none-match", "")
    known = {one.strip().removeprefix("W/") for one in asked.split(",")}
    return tag in known or "*" in known
