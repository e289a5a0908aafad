"""Routes that need the network for a picture: search and embed."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from vaeneer.errors import ImageFileError, VaeneerError
from vaeneer.library.catalog import PixelBox
from vaeneer.library.search.query import Source, box_of, query_of
from vaeneer.library.search.search import Hit, SearchReport, search, search_words
from vaeneer.serving.background import megapixels_of
from vaeneer.serving.models import ServedLibrary
from vaeneer.serving.schemas import (
    API,
    ItemFilters,
    Number,
    Problem,
    Whole,
    answer,
    as_problem,
    thumbnail_address,
)
from vaeneer.serving.state import AppState, State, TheLibrary
from vaeneer.settings import SearchSettings

router = APIRouter(prefix=API)
_LARGEST = 2**63 - 1
_MAX_CONCURRENT_IMAGES = 8  # images of one request that wait for the network together
MAX_IMAGES = 32
_MAX_FIELDS = 64
_MAX_FIELD_BYTES = 16 * 1024
_MAX_NAME_CHARACTERS = 100
_LISTS = frozenset({"item", "negative"})
Id = Annotated[Whole, Field(ge=0, le=_LARGEST)]


@answer
class HitAnswer(Hit):
    """One item that a search found."""

    thumbnail: str


@answer
class QueryAnswer(SearchSettings):
    """The query of a search, with its settings."""

    library: str
    images: list[str]
    words: str | None
    box: PixelBox | None
    negative: list[str]
    compared: str

    def __post_init__(self) -> None:
        """The settings are checked already."""


@answer
class SearchAnswer:
    """What `vaeneer search --json` prints, with the address of a thumbnail for each hit."""

    query: QueryAnswer
    hits: list[HitAnswer]
    matches: dict[str, int]
    """Hits of each kind; empty without calibration."""
    gallery_size: int
    """Items that the probabilities were computed with."""
    parts_pending: int
    """Where parts are compared: items whose smallest parts are still to be indexed."""
    seconds: float


@answer
class EmbedAnswer:
    """Vectors of length 1, in the order of the images."""

    model: str
    dimensions: int
    vectors: list[list[float]]


@dataclass(frozen=True)
class Upload:
    """One file of a form."""

    name: str
    """What the client calls it: the last part, printable, not long; only ever shown."""
    stream: BinaryIO


@asynccontextmanager
async def read_form(
    request: Request,
) -> AsyncIterator[tuple[list[Upload], dict[str, list[str]]]]:
    """The files called `image` of the form that a request brings, and its other fields.

    Raises Problem 400 for a malformed form, 415 for what is none, 422 for other files.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise Problem(415, "Send multipart/form-data, with the picture as the file image.")
    try:
        form = await request.form(
            max_files=MAX_IMAGES, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES
        )
    except (MultiPartException, FormParserError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Problem(400, f"The form cannot be read: {reason or type(error).__name__}.") from None
    uploads: list[Upload] = []
    fields: dict[str, list[str]] = {}
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "image":
                    raise Problem(422, f"{name[:60]}: files are called image.")
                last = (value.filename or "").replace("\\", "/").rpartition("/")[2]
                shown = "".join(sign if sign.isprintable() else "?" for sign in last)
                shown = shown[:_MAX_NAME_CHARACTERS] or "image"
                uploads.append(Upload(shown, value.file))
            elif name == "image":
                raise Problem(422, "image: send a file, with a file name.")
            elif "\0" in value:
                raise Problem(422, f"{name[:60]}: a text has no NUL characters.")
            else:
                fields.setdefault(name, []).append(value)
        yield uploads, fields
    finally:
        await form.close()


@contextmanager
def save_uploads(
    uploads: Sequence[Upload], max_megapixels: float
) -> Iterator[tuple[list[Path], float]]:
    """Temporary files of what was sent, and the megapixels of the largest.

    An error that names such a file, in the block or here, becomes a Problem with the client's name
    of it. Nothing is decoded here.
    """
    with tempfile.TemporaryDirectory(prefix="vaeneer-") as folder:
        paths = [Path(folder) / f"image-{number}" for number in range(len(uploads))]
        largest = 0.0
        try:
            for path, upload in zip(paths, uploads, strict=True):
                upload.stream.seek(0)
                with path.open("wb") as target:
                    shutil.copyfileobj(upload.stream, target)
                found = megapixels_of(path)
                if found > max_megapixels:
                    over = f"{found:,.0f} megapixels, over {max_megapixels:g}"
                    raise ImageFileError(path, f"{over}; send a smaller picture")
                largest = max(largest, found)
            yield paths, largest
        except VaeneerError as error:
            text = str(error)
            for path, upload in zip(paths, uploads, strict=True):
                text = text.replace(str(path), upload.name)
            raise Problem(as_problem(error).status_code, text) from None


class SearchFields(ItemFilters, extra="forbid"):
    """Fields of a search beside its pictures; in the query string or in the form."""

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
        """The settings of `vaeneer.search`."""
        names = {one.name for one in fields(SearchSettings)}
        values: dict[str, Any] = self.model_dump(include=names)
        return SearchSettings(**values | {n: values[n] or None for n in ItemFilters.model_fields})


def _form_schema(fields: type[BaseModel] | None) -> dict[str, Any]:
    """Schema of a form with pictures."""
    file = {"type": "string", "format": "binary", "contentMediaType": "image/*"}
    images = {"type": "array", "items": file, "maxItems": MAX_IMAGES}
    properties: dict[str, Any] = {"image": images}
    if fields is not None:
        properties |= fields.model_json_schema()["properties"]
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"content": {"multipart/form-data": {"schema": schema}}}}


@router.get("/search", summary="What looks like an item, or has some words")
async def search_by_item(state: State, query: Annotated[SearchFields, Query()]) -> SearchAnswer:
    """Search by items of the library, or by words, so that an answer has a link."""
    return await _search(state, query, [])


@router.post(
    "/search", summary="What looks like a picture", openapi_extra=_form_schema(SearchFields)
)
async def search_by_image(
    request: Request, state: State, query: Annotated[SearchFields, Query()]
) -> SearchAnswer:
    """Search by pictures, items or both; fields of the form count before those of the query."""
    async with read_form(request) as (uploads, texts):
        own = {n: v if n in _LISTS else v[-1] for n, v in texts.items() if v != [""]}
        try:
            query = SearchFields.model_validate(query.model_dump(exclude_unset=True) | own)
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from None
        return await _search(state, query, uploads)


@router.post("/embed", summary="Vectors of pictures", openapi_extra=_form_schema(None))
async def embed(request: Request, state: State, library: TheLibrary) -> EmbedAnswer:
    """Vectors of pictures by the library's model, each of length 1."""
    opened, settings = library.ready(), state.settings
    turns = asyncio.Semaphore(_MAX_CONCURRENT_IMAGES)

    async def vector_of(upload: Upload) -> list[float]:
        def work() -> list[float]:
            with save_uploads([upload], settings.max_megapixels) as (paths, megapixels):
                with state.pixels.taking(megapixels, settings.timeout_seconds):
                    vector = query_of(opened, paths[0]).vector
                return [round(float(number), 7) for number in vector]

        async with turns:
            return await state.pool.submit(work)

    async with read_form(request) as (uploads, texts):
        if texts or not uploads:
            raise Problem(422, f"image: send 1 to {MAX_IMAGES} pictures, and nothing else.")
        vectors = await asyncio.gather(*(vector_of(upload) for upload in uploads))
    return EmbedAnswer(
        model=library.catalog.require_meta("model"),
        dimensions=opened.embedder.dimensions,
        vectors=vectors,
    )


async def _search(state: AppState, query: SearchFields, uploads: list[Upload]) -> SearchAnswer:
    library = state.library(query.library)
    opened = library.ready()
    if query.words and (uploads or query.item or query.negative or query.box):
        raise Problem(422, "words: search by words or by pictures and items, not by both.")
    if not uploads and not query.item and not query.words:
        raise Problem(422, "image: send a picture, name an item, or give words.")

    def work() -> SearchAnswer:
        seconds, max_megapixels = state.settings.timeout_seconds, state.settings.max_megapixels
        box = None if query.box is None else box_of(query.box)
        items = [library.item(number) for number in query.item]
        negative = [library.item(number).id for number in query.negative]
        with (
            save_uploads(uploads, max_megapixels) as (paths, megapixels),
            library.query_timeout(seconds),
        ):
            if box is not None:
                sizes = [item.width_px * item.height_px / 1e6 for item in items]
                megapixels = max([megapixels, *sizes])
            sources: list[Source] = [*paths, *(item.id for item in items)]
            with state.pixels.taking(megapixels, seconds):
                if query.words:
                    report = search_words(opened, query.words, settings=query.settings())
                else:
                    settings = query.settings()
                    report = search(opened, sources, box=box, negative=negative, settings=settings)
        names = [one.name for one in uploads] + [item.path for item in items]
        return _answer(library, report, names)

    return await state.pool.submit(work)


def _answer(library: ServedLibrary, report: SearchReport, images: list[str]) -> SearchAnswer:
    """A report with addresses of thumbnails. images: the client's names of the query images."""
    found = library.catalog.items(hit.id for hit in report.hits)
    hashes = {item.id: item.sha256 for item in found}
    return SearchAnswer(
        query=QueryAnswer(
            library=report.library,
            images=images,
            words=report.words,
            box=report.box,
            negative=report.negative,
            compared=report.compared,
            **vars(report.settings),
        ),
        hits=[
            HitAnswer(
                **vars(hit),
                thumbnail=thumbnail_address(library.name, hit.id, hashes.get(hit.id, "")),
            )
            for hit in report.hits
        ],
        matches=report.matches,
        gallery_size=report.gallery_size,
        parts_pending=report.parts_pending,
        seconds=report.seconds,
    )
