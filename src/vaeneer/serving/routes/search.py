"""Routes that need the network for a picture: search and embed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, ValidationError

from vaeneer.library.library import Library
from vaeneer.library.search.query import Source, box_of, query_of
from vaeneer.library.search.search import search
from vaeneer.library.search.words import search_words
from vaeneer.serving import schemas
from vaeneer.serving.item_queries import query_timeout
from vaeneer.serving.models import ServedLibrary
from vaeneer.serving.problems import Json, Number, Problem, Whole, problem_response
from vaeneer.serving.schemas import API, thumbnail_address
from vaeneer.serving.state import AppState, State, TheLibrary
from vaeneer.serving.uploads import MOST_IMAGES, Upload, form_of, read_as_form, save_uploads
from vaeneer.settings import SearchSettings

router = APIRouter(prefix=API)
_LARGEST = 2**63 - 1
_AT_ONCE = 8  # images of one request that wait for the network together
_LISTS = frozenset({"item", "negative"})
Id = Annotated[Whole, Field(ge=0, le=_LARGEST)]


class SearchFields(BaseModel):
    """Fields of a search beside its pictures; in the query string or in the form."""

    model_config = {"extra": "forbid"}

    library: str | None = Field(None, max_length=255)
    item: list[Id] = Field(default_factory=list, max_length=32, description="Ids of query items.")
    negative: list[Id] = Field(
        default_factory=list, max_length=32, description="Ids of negative examples."
    )
    words: str | None = Field(
        None,
        max_length=200,
        description="Words in names, categories, tags and folders, instead of pictures and items.",
        examples=["mossy stone wall"],
    )
    box: str | None = Field(
        None,
        max_length=80,
        description="x,y,width,height in upright pixels of a single picture.",
        examples=["0,0,128,128"],
    )
    k: Whole = Field(10, ge=1, le=200, description="Max number of hits.")
    where: str | None = Field(
        None,
        max_length=4000,
        description="A condition on the items, as --where of the command line.",
        examples=["width >= 1024"],
    )
    category: str | None = Field(None, max_length=255)
    tag: str | None = Field(None, max_length=255)
    min_probability: Number = Field(0.0, ge=0, le=1)
    likely_threshold: Number = Field(
        0.5, ge=0, le=1, description="Min probability of a likely match; below, only similar."
    )
    exclude_duplicates: bool = False
    parts: bool = Field(False, description="Compare parts; hits have the place of their best.")
    exact_match: bool = Field(
        True, description="Prove which hits contain the pixels of the query, and where."
    )

    def settings(self) -> SearchSettings:
        """Those of `vaeneer.search`."""
        return SearchSettings(
            k=self.k,
            where=self.where or None,
            category=self.category or None,
            tag=self.tag or None,
            min_probability=self.min_probability,
            likely_threshold=self.likely_threshold,
            exclude_duplicates=self.exclude_duplicates,
            parts=self.parts,
            exact_match=self.exact_match,
        )


def _form_schema(fields: type[BaseModel] | None) -> dict[str, Any]:
    """How openapi.json describes a form with pictures."""
    file = {"type": "string", "format": "binary", "contentMediaType": "image/*"}
    images = {"type": "array", "items": file, "maxItems": MOST_IMAGES}
    properties: dict[str, Any] = {"image": images}
    if fields is not None:
        properties |= fields.model_json_schema()["properties"]
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"content": {"multipart/form-data": {"schema": schema}}}}


@router.get(
    "/search",
    summary="What looks like an item, or has some words",
    response_model=schemas.SearchAnswer,
)
async def search_by_item(house: State, asked: Annotated[SearchFields, Query()]) -> Response:
    """Search by items of the library, or by words, so that an answer has a link."""
    return await _searched(house, asked, [])


@router.post(
    "/search",
    summary="What looks like a picture",
    response_model=schemas.SearchAnswer,
    openapi_extra=_form_schema(SearchFields),
)
async def search_by_image(
    request: Request, house: State, asked: Annotated[SearchFields, Query()]
) -> Response:
    """Search by pictures, items or both; fields of the form count before those of the query."""
    form = await form_of(request)
    try:
        with read_as_form(form) as (uploads, fields):
            known = asked.model_dump(exclude_unset=True)
            said = {n: v if n in _LISTS else v[-1] for n, v in fields.items() if v != [""]}
            try:
                asked = SearchFields.model_validate(known | said)
            except ValidationError as error:
                return _invalid(request, error)
            return await _searched(house, asked, uploads)
    finally:
        await form.close()


@router.post(
    "/embed",
    summary="Vectors of pictures",
    response_model=schemas.EmbedAnswer,
    openapi_extra=_form_schema(None),
)
async def embed(request: Request, house: State, library: TheLibrary) -> Response:
    """The vectors that the library would give to pictures, each of length 1."""
    opened = library.ready()
    form = await form_of(request)
    try:
        with read_as_form(form) as (uploads, fields):
            if fields or not uploads:
                raise Problem(422, f"image: send 1 to {MOST_IMAGES} pictures, and nothing else.")
            turns = asyncio.Semaphore(_AT_ONCE)

            async def one(upload: Upload) -> list[float]:
                async with turns:
                    return await house.workroom.submit(_embedding(house, opened, upload))

            vectors = await asyncio.gather(*(one(upload) for upload in uploads))
    finally:
        await form.close()
    model = library.catalog.require_meta("model")
    return Json({"model": model, "dimensions": opened.embedder.dimensions, "vectors": vectors})


async def _searched(house: AppState, asked: SearchFields, uploads: list[Upload]) -> Response:
    library = house.library(asked.library)
    opened = library.ready()
    if asked.words and (uploads or asked.item or asked.negative or asked.box):
        raise Problem(422, "words: search by words or by pictures and items, not by both.")
    if not uploads and not asked.item and not asked.words:
        raise Problem(422, "image: send a picture, name an item, or give words.")
    answer = await house.workroom.submit(lambda: _search(house, library, opened, asked, uploads))
    return Json(answer)


def _search(
    house: AppState,
    library: ServedLibrary,
    opened: Library,
    asked: SearchFields,
    uploads: list[Upload],
) -> dict[str, Any]:
    """In a thread of the workroom: decode, wait for the network, look up."""
    settings, seconds = house.settings, house.settings.timeout_seconds
    box = None if asked.box is None else box_of(asked.box)
    by_items = [library.item(number) for number in asked.item]
    against = [library.item(number).id for number in asked.negative]
    with (
        save_uploads(uploads, settings.max_megapixels) as (paths, megapixels),
        query_timeout(library.catalog, seconds),
    ):
        if box is not None:
            sizes = [item.width_px * item.height_px / 1e6 for item in by_items]
            megapixels = max([megapixels, *sizes])
        sources: list[Source] = [*paths, *(item.id for item in by_items)]
        with house.pixels.taking(megapixels, seconds):
            if asked.words:
                report = search_words(opened, asked.words, settings=asked.settings())
            else:
                report = search(
                    opened, sources, box=box, negative=against, settings=asked.settings()
                )
        values = report.to_dict()
    values["query"]["images"] = [one.name for one in uploads] + [item.path for item in by_items]
    hashes = {item.id: item.sha256 for item in library.catalog.items(h.id for h in report.hits)}
    for hit in values["hits"]:
        sha256 = hashes.get(hit["id"], "")
        hit["thumbnail"] = thumbnail_address(library.name, hit["id"], sha256)
    return values


def _embedding(house: AppState, opened: Library, upload: Upload) -> Callable[[], list[float]]:
    settings = house.settings

    def work() -> list[float]:
        with save_uploads([upload], settings.max_megapixels) as (paths, megapixels):
            with house.pixels.taking(megapixels, settings.timeout_seconds):
                vector = query_of(opened, paths[0]).vector
            return [round(float(number), 7) for number in vector]

    return work


def _invalid(request: Request, error: ValidationError) -> Response:
    errors = [
        {"where": ".".join(str(part)[:60] for part in one["loc"]), "what": one["msg"]}
        for one in error.errors()[:10]
    ]
    detail = f"{errors[0]['where']}: {errors[0]['what']}"
    return problem_response(422, detail, request.url.path, errors=errors)
