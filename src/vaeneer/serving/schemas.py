"""What the API answers, field by field: these classes are the description in openapi.json.

A report of the library is answered as it is, or with the addresses of thumbnails added to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, Self, TypeVar, dataclass_transform
from urllib.parse import urlencode

from fastapi.responses import JSONResponse
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
)
from pydantic_core import PydanticCustomError

from vaeneer.library.catalog import Item, PixelBox
from vaeneer.library.duplicates.report import (
    DuplicateGroup,
    DuplicateItem,
    DuplicatesReport,
    Mark,
)
from vaeneer.library.search.search import Hit
from vaeneer.settings import SearchSettings
from vaeneer.text import to_json
from vaeneer.training.run_folder import RunState

API = "/api/v1"
_T = TypeVar("_T")
VERSION_CHARACTERS = 8
"""Of a SHA-256 in an address."""
_WHOLE = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _whole(value: object) -> object:
    """Refuse what Python takes for a number and people do not: 1_0, +1, other digits, spaces."""
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise PydanticCustomError("whole_number", "Write a whole number in digits, such as 12.")
    return value


def _number(value: object) -> object:
    """As `_whole`, of a number with a fraction."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise PydanticCustomError("number", "Write a number in digits, such as 0.5.")
    return value


def _text(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("text", "A text has no NUL characters.")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number."""
Number = Annotated[float, BeforeValidator(_number)]
"""A number with a fraction."""
Text = Annotated[str, AfterValidator(_text)]
"""A text of a body; those of addresses are checked by the middleware."""
LibraryName = Annotated[Text, Field(max_length=255)]
FolderState = Literal["new", "indexing", "stopping", "stopped", "ready", "failed"]
JsonObject = dict[str, JsonValue]
"""What a file of a run holds."""


class Json(JSONResponse):
    """JSON that every client takes, whatever is in a path: see `vaeneer.text.to_json`."""

    def render(self, content: Any) -> bytes:
        """The body of the answer, in UTF-8."""
        return to_json(content, compact=True).encode()


def _inherit_descriptions(schema: dict[str, Any], kind: type) -> None:
    """Describe inherited fields as their own class does: pydantic reads one class alone."""
    for base in kind.__mro__[1:]:
        if is_dataclass(base):
            described = TypeAdapter(base).json_schema()["properties"]
            for name, own in schema["properties"].items():
                if "description" in described.get(name, {}):
                    own.setdefault("description", described[name]["description"])


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def answer(kind: type[_T]) -> type[_T]:
    """Make a class a frozen dataclass whose docstrings of fields are in openapi.json."""
    kind.__pydantic_config__ = ConfigDict(  # type: ignore[attr-defined]
        use_attribute_docstrings=True,
        json_schema_extra=_inherit_descriptions,
        json_schema_serialization_defaults_required=True,
    )
    return dataclass(frozen=True, kw_only=True)(kind)


@answer
class ProblemAnswer:
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(examples=["The library oak has no item 7."])]
    """One sentence: what is wrong, and what to do about it."""
    instance: str
    errors: list[dict[str, str]] | None = None


@answer
class StateAnswer:
    """One word."""

    state: str


@answer
class Start:
    """What a server has."""

    name: str
    version: str
    libraries: list[str]
    runs: list[str]
    models: list[str]
    """Models that sample knows by name."""


@answer
class LibraryAnswer:
    """One library; without figures where its folder is gone."""

    name: str
    items: int = 0
    assets: int = 0
    model: str = ""
    dimensions: int = 0
    parts: str = ""
    """The smallest parts that are searched: none, halves, quarters."""
    calibrated: bool
    """Whether hits have a probability."""
    revision: int = 0
    """Counts up when vectors, names or tags change."""
    left_out: int = 0
    """Files of the folder that are not in it; GET /left-out."""
    parts_pending: int = 0
    """Items whose smallest parts are still to be indexed."""
    root_name: str = ""
    """Name of the folder of the images."""
    categories: dict[str, int] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    state: Literal["loading", "ready", "failed"]
    reason: str
    """Why it failed; empty otherwise."""


@answer
class LibrariesAnswer:
    """All libraries."""

    libraries: list[LibraryAnswer]


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
        """An item of the library of a name. more: the fields that the item has not."""
        folder, _, file = item.path.rpartition("/")
        known: dict[str, Any] = {one.name: getattr(item, one.name, "") for one in fields(cls)}
        known |= {"folder": folder, "file": file}
        known["mean_rgb"] = tuple(round(value, 4) for value in item.mean_rgb)
        known["thumbnail"] = thumbnail_address(library, item.id, item.sha256)
        version = item.sha256[:VERSION_CHARACTERS]
        known["original"] = picture_address(library, item.id, "image", version)
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
    """One image, and what is known beside it."""

    absolute_path: str
    maps: list[MapFile]
    crops: int
    """Vectors of it, that of the whole image counted."""
    sidecar: str | None
    categories: list[str]
    missing: bool
    """Whether the file is not there now."""
    link: str | None
    """What a symbolic link leads to, below the folder or not."""
    notes: tuple[str, ...]
    """What was ignored or mended to read the file."""


@answer
class LeftOutFile:
    """A file that is not in a library."""

    path: str
    """Below the folder; bytes that are not UTF-8 as escapes."""
    reason: str
    """The words before a colon are those of all of its kind."""


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


@answer
class HitAnswer(Hit):
    """One item that a search found."""

    thumbnail: str


@answer
class QueryAnswer(SearchSettings):
    """What was searched for, and how."""

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


@answer
class FolderAnswer:
    """A folder of images that can be indexed."""

    name: str
    """Of the folder, and of its library."""
    folder: str
    library: str
    """Where the library is, or will be."""
    state: FolderState
    searchable: bool
    """Whether its library is served."""
    stage: str = ""
    """waiting, listing, images (whole ones), parts (small ones), ...; empty where nothing is under
    way."""
    done: int = 0
    """Of the stage."""
    total: int = 0
    """Of the stage; 0 where it has no number."""
    seconds_left: float | None = None
    """Of the stage."""
    reason: str
    """Why it failed; empty otherwise."""


@answer
class IndexingAnswer:
    """All folders that can be indexed."""

    folders: list[FolderAnswer]


@answer
class Computing:
    """The answer is not there yet; ask again after Retry-After seconds."""

    state: Literal["computing"] = "computing"
    stage: str
    progress: float
    """Of the stage, 0 to 1."""


@answer
class DuplicateItemAnswer(DuplicateItem):
    """One file of a group of duplicates."""

    thumbnail: str


@answer
class DuplicateGroupAnswer(DuplicateGroup):
    """Files that are copies of each other."""

    items: list[DuplicateItemAnswer]  # type: ignore[assignment]
    """The one to keep first."""


@answer
class DuplicatesAnswer(DuplicatesReport):
    """What `vaeneer duplicates --json` prints, for one page of groups."""

    groups: list[DuplicateGroupAnswer]  # type: ignore[assignment]
    """Those of the page; the surest of each kind first."""


@answer
class DecisionsAnswer(DuplicatesAnswer):
    """The same, with a person's decisions."""

    marks: dict[str, Mark]
    """Those of the request whose files are still copies of each other."""


@answer
class MapAnswer:
    """A place for each item, in columns of equal length."""

    ids: list[int]
    x: list[float]
    y: list[float]
    clusters: list[int]
    """-1 is alone."""
    categories: list[int]
    """Places in category_names."""
    cluster_names: dict[str, str]
    category_names: list[str]


@answer
class PicturesAnswer:
    """Pictures as data: addresses, PNG."""

    images: list[str]


@answer
class ReconstructAnswer:
    """A picture and what the network makes of it, as data: addresses."""

    original: str
    reconstruction: str
    psnr_db: float | None
    """Peak signal-to-noise ratio; None where equal."""


@answer
class InterpolateAnswer(PicturesAnswer):
    """Decoded pictures from one item to another."""

    t: list[float]


@answer
class RunSummary:
    """One training run."""

    name: str
    epochs: int
    """Epochs done."""
    planned_epochs: int | None
    state: RunState
    """training while a process trains it, stopped when none does before the last epoch, else
    finished."""
    started: str | None
    updated: float | None
    """When the last epoch was written, seconds of Unix."""
    architecture: str | None
    valid_nats_per_image: float | None


@answer
class RunsAnswer:
    """All runs."""

    runs: list[RunSummary]


@answer
class RunAnswer(RunSummary):
    """One run: its settings, what it was made of, its best model, its pictures."""

    config: JsonObject
    facts: JsonObject
    card: JsonObject | None
    pictures: list[str]
    checkpoints: list[int]
    """Epochs whose models were kept."""
    similarity: JsonObject | None
    """similarity.json, where it was measured."""


@answer
class MetricsAnswer:
    """Lines of metrics.jsonl, one for each epoch."""

    lines: list[JsonObject]
    epochs: int
    state: RunState


def picture_address(library: str, item: int, what: str, version: str) -> str:
    """Address of a picture of an item; version: changes with it, so that it may be cached."""
    return f"{API}/items/{item}/{what}?{urlencode({'library': library, 'v': version})}"


def thumbnail_address(library: str, item: int, sha256: str) -> str:
    """Address of an item's thumbnail."""
    return picture_address(library, item, "thumbnail", sha256[:VERSION_CHARACTERS])
