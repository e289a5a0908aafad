"""What the API answers, field by field: these classes are the description in openapi.json."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from vaeneer.library.catalog import Item
from vaeneer.library.duplicates.verify import Kind
from vaeneer.serving.problems import Number, Text, Whole
from vaeneer.training.run_folder import RunState

_LONGEST_PATH = 4096
API = "/api/v1"
_VERSION_CHARACTERS = 8


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "The library oak has no item 7.",
                    "instance": "/api/v1/items/7",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str = Field(description="One sentence: what is wrong, and what to do about it.")
    instance: str
    errors: list[dict[str, str]] | None = None


class Start(BaseModel):
    """What a server has."""

    name: str
    version: str
    libraries: list[str]
    runs: list[str]
    models: list[str] = Field(description="Models that sample knows by name.")


class LibraryAnswer(BaseModel):
    """One library."""

    name: str
    items: int
    assets: int
    model: str
    dimensions: int
    parts: str = Field(description="The smallest parts that are searched: none, halves, quarters.")
    calibrated: bool = Field(description="Whether hits have a probability.")
    revision: int = Field(description="Counts up when vectors, names or tags change.")
    left_out: int = Field(description="Files of the folder that are not in it; GET /left-out.")
    parts_pending: int = Field(description="Items whose smallest parts are still to be indexed.")
    root_name: str = Field(description="Name of the folder of the images.")
    categories: dict[str, int]
    tags: dict[str, int]
    formats: dict[str, int]
    state: Literal["loading", "ready", "failed"]
    reason: str = Field(description="Why it failed; empty otherwise.")


class LibrariesAnswer(BaseModel):
    """All libraries."""

    libraries: list[LibraryAnswer]


class ItemAnswer(BaseModel):
    """One image of a library."""

    id: int
    path: str = Field(description="Below the folder of the library's images.")
    file: str
    folder: str
    asset: str
    name: str | None
    category: str | None
    tags: list[str]
    width_px: int
    height_px: int
    format: str
    mode: str
    size_bytes: int
    sha256: str
    thumbnail: str = Field(description="Address of a WebP picture, long side up to 256 px.")
    original: str
    mean_rgb: list[float] = Field(description="Each 0 to 1.")
    offline: bool = Field(description="Whether its folder was missing when it was last indexed.")


class ItemsAnswer(BaseModel):
    """One page of the items that meet the filters."""

    total: int
    all_words: int | None = Field(
        description="Of these, items with all words of q; they are first."
    )
    offset: int
    limit: int
    items: list[ItemAnswer]


class MapFile(BaseModel):
    """Another map of an item's asset."""

    path: str
    kind: str
    picture: str = Field(description="Address of a JPEG, long side up to 256 px; see max_px.")


class ItemDetails(ItemAnswer):
    """One image, and what is known beside it."""

    absolute_path: str
    maps: list[MapFile]
    crops: int = Field(description="Vectors of it, that of the whole image counted.")
    sidecar: str | None
    categories: list[str]
    missing: bool = Field(description="Whether the file is not there now.")
    link: str | None = Field(description="What a symbolic link leads to, below the folder or not.")
    notes: list[str] = Field(description="What was ignored or mended to read the file.")


class LeftOutFile(BaseModel):
    """A file that is not in a library."""

    path: str = Field(description="Below the folder; bytes that are not UTF-8 as escapes.")
    reason: str = Field(description="The words before a colon are those of all of its kind.")


class LeftOutAnswer(BaseModel):
    """One page of the files that are not in a library."""

    counts: dict[str, int] = Field(description="Reason to number of files, the most first.")
    total: int = Field(description="Files that are listed, of the reason or of all.")
    offset: int
    limit: int
    files: list[LeftOutFile]


class HitAnswer(BaseModel):
    """One item that a search found."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 12,
                    "path": "/scans/wood/oak_floor.jpg",
                    "asset": "wood/oak_floor",
                    "score": 0.913,
                    "probability": 0.98,
                    "match": "likely",
                    "box": [128, 0, 256, 256],
                    "placed": "part",
                    "name": "Oak floor",
                    "category": "wood",
                    "width_px": 1024,
                    "height_px": 1024,
                    "missing": False,
                    "offline": False,
                    "thumbnail": "/api/v1/items/12/thumbnail?library=oak&v=8a34e997",
                }
            ]
        }
    )

    id: int
    path: str
    asset: str
    score: float = Field(
        description="Cosine, -1 to 1; by words, how many it has plus their relevance, 0 to 1."
    )
    probability: float | None
    match: Literal["exact", "likely", "similar"] | None = Field(
        description="exact: pixels proved; likely: probability from likely_threshold; else similar."
    )
    box: list[int] | None = Field(description="x, y, width, height in upright pixels of the file.")
    placed: Literal["pixels", "part"] | None
    name: str | None
    category: str | None
    width_px: int
    height_px: int
    missing: bool = Field(description="Whether the file is not there now.")
    offline: bool = Field(
        description="Whether its folder was not there when the library was last indexed."
    )
    thumbnail: str


class SearchAnswer(BaseModel):
    """What `vaeneer search --json` prints, with the address of a thumbnail for each hit."""

    query: dict[str, Any]
    hits: list[HitAnswer]
    matches: dict[str, int] = Field(description="Hits of each kind; empty without calibration.")
    gallery_size: int = Field(description="Items that the probabilities were computed with.")
    parts_pending: int = Field(
        description="Where parts are compared: items whose smallest parts are still to be indexed."
    )
    seconds: float


class EmbedAnswer(BaseModel):
    """Vectors of length 1, in the order of the images."""

    model: str
    dimensions: int
    vectors: list[list[float]]


class FolderAnswer(BaseModel):
    """A folder of images that can be indexed."""

    name: str = Field(description="Of the folder, and of its library.")
    folder: str
    library: str = Field(description="Where the library is, or will be.")
    state: Literal["new", "indexing", "stopping", "stopped", "ready", "failed"]
    searchable: bool = Field(description="Whether its library is served.")
    stage: str = Field(
        description="waiting, listing, images (whole ones), parts (small ones), ...; empty where"
        " nothing is under way."
    )
    done: int = Field(description="Of the stage.")
    total: int = Field(description="Of the stage; 0 where it has no number.")
    seconds_left: float | None = Field(description="Of the stage.")
    reason: str = Field(description="Why it failed; empty otherwise.")


class IndexingAnswer(BaseModel):
    """All folders that can be indexed."""

    folders: list[FolderAnswer]


class IndexRequest(BaseModel):
    """Which folder to index."""

    model_config = ConfigDict(extra="forbid")

    library: Text = Field(max_length=255, description="Name of a folder in GET /indexing.")


class Computing(BaseModel):
    """The answer is not there yet; ask again after Retry-After seconds."""

    state: Literal["computing"]
    stage: str
    progress: float = Field(description="Of the stage, 0 to 1.")


class DuplicateMark(BaseModel):
    """Decision of a person about one file."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["keep", "redundant"]
    keep_path: Text = Field(
        max_length=_LONGEST_PATH,
        description="The file that stands for it; of the file to keep, its own path.",
    )


class CsvRequest(BaseModel):
    """Decisions, by the paths of the files as in `GET /duplicates`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"marks": {}}]})

    library: Text | None = Field(None, max_length=255)
    marks: dict[Text, DuplicateMark] = {}


class DecisionsRequest(CsvRequest):
    """Decisions, and which page of groups to answer."""

    page: Whole = Field(1, ge=1, le=10**6)
    page_size: Whole = Field(50, ge=1, le=200)
    kind: Kind | None = None


class DuplicatesAnswer(BaseModel):
    """What `vaeneer duplicates --json` prints, for one page of groups."""

    library: str
    root: str = Field(description="Folder of the images; paths are below it.")
    groups: list[dict[str, Any]]
    page: int
    pages: int
    total_groups: int
    groups_by_kind: dict[str, int]
    images: int
    redundant_files: int
    redundant_bytes: int
    threshold: float
    skipped: dict[str, str]
    seconds: float


class DecisionsAnswer(DuplicatesAnswer):
    """The same, with a person's decisions."""

    marks: dict[str, DuplicateMark] = Field(
        description="Those of the request whose files are still copies of each other."
    )


class MapAnswer(BaseModel):
    """A place for each item, in columns of equal length."""

    ids: list[int]
    x: list[float]
    y: list[float]
    clusters: list[int] = Field(description="-1 is alone.")
    categories: list[int] = Field(description="Places in category_names.")
    cluster_names: dict[str, str]
    category_names: list[str]


class PicturesAnswer(BaseModel):
    """Pictures as data: addresses, PNG."""

    images: list[str]


class ReconstructAnswer(BaseModel):
    """A picture and what the network makes of it, as data: addresses."""

    original: str
    reconstruction: str
    psnr_db: float | None = Field(description="Peak signal-to-noise ratio; None where equal.")


class InterpolateAnswer(BaseModel):
    """Decoded pictures from one item to another."""

    images: list[str]
    t: list[float]


class RunSummary(BaseModel):
    """One training run."""

    name: str
    epochs: int = Field(description="Epochs done.")
    planned_epochs: int | None
    state: RunState = Field(
        description="training while a process trains it, stopped when none does before the last"
        " epoch, else finished."
    )
    started: str | None
    updated: float | None = Field(description="When the last epoch was written, seconds of Unix.")
    architecture: str | None
    valid_nats_per_image: float | None


class RunsAnswer(BaseModel):
    """All runs."""

    runs: list[RunSummary]


class RunAnswer(RunSummary):
    """One run: its settings, what it was made of, its best model, its pictures."""

    config: dict[str, Any]
    facts: dict[str, Any]
    card: dict[str, Any] | None
    pictures: list[str]
    checkpoints: list[int] = Field(description="Epochs whose models were kept.")
    similarity: dict[str, Any] | None = Field(description="similarity.json, where it was measured.")


class MetricsAnswer(BaseModel):
    """Lines of metrics.jsonl, one for each epoch."""

    lines: list[dict[str, Any]]
    epochs: int
    state: RunState


class LoginRequest(BaseModel):
    """What logs the page in."""

    token: str = Field(max_length=4096)


class SampleRequest(BaseModel):
    """Pictures to draw from the prior."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"count": 4, "model": "surface-base"}]}
    )

    count: Whole = Field(16, ge=1, le=64)
    seed: Whole = Field(0, ge=0, le=2**63 - 1)
    temperature: Number = Field(1.0, ge=0, le=3, description="Scale of the latents.")
    library: Text | None = Field(None, max_length=255, description="Whose network draws.")
    model: Text | None = Field(
        None, max_length=255, description="A bundled model, or a run, instead of a library."
    )
    epoch: Whole | None = Field(
        None, ge=1, le=10**6, description="Of a run: the model that it kept after this epoch."
    )


class StateAnswer(BaseModel):
    """One word."""

    state: str


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
