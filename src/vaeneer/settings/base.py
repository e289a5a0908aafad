"""Ranges that stand beside the fields of settings, the one check of them, and shared fields."""

import dataclasses
import difflib
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from vaeneer.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Changed = TypeVar("Changed", bound="DataclassInstance")
Kind = TypeVar("Kind", bound="DataclassInstance")


@dataclass(frozen=True)
class Range:
    """Limits of a number, beside its type: `Annotated[int, Range(ge=1)]`.

    Not those of annotated-types: where pydantic is imported, cyclopts lets it check them, and the
    command line would refuse a value with another sentence than Python and HTTP.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


SEED = 0
LARGEST_SEED = 2**63 - 1
Count = Annotated[int, Range(ge=1)]
CountOrZero = Annotated[int, Range(ge=0)]
Seed = Annotated[int, Range(ge=0, le=LARGEST_SEED)]
Share = Annotated[float, Range(ge=0, le=1)]
Positive = Annotated[float, Range(gt=0)]
NotNegative = Annotated[float, Range(ge=0)]

_TYPES: dict[type, tuple[str, tuple[type, ...]]] = {
    bool: ("True or False", (bool,)),
    int: ("a whole number", (numbers.Integral,)),
    float: ("a number", (numbers.Real,)),
    str: ("a text", (str,)),
    Path: ("a path", (Path, str)),
    tuple: ("a list", (tuple, list)),
}
"""Type of a field -> how errors call it, and what is accepted for it."""
_ALIAS = "seed"  # of the choice `reference`, from older versions: accepted, and listed by no error


def check(name: str, value: object, hint: Any) -> None:
    """Raise SettingsError for a value of another type, not among the choices or out of range.

    hint: a type of `_TYPES`, None, a Literal, Annotated with a Range, or a union of these.
    """
    hints = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    fitting = [one for one in hints if _is_a(value, one)]
    if not fitting:
        *rest, last = [words for one in hints for words in _type_in_words(one)]
        allowed = f"{', '.join(rest)} or {last}" if rest else last
        raise SettingsError(f"{name} is {value!r}; use {allowed}.")
    if not any(_is_within(value, one) for one in fitting):
        raise SettingsError(f"{name} is {value}; use {range_in_words(fitting[0])}.")


def range_in_words(hint: Any) -> str:
    """The range of a type, "1 or more" or "0 to 1"; empty where it has none."""
    for part in get_args(hint):
        if isinstance(part, Range):
            if part.le is None and part.lt is None:
                return f"{part.ge} or more" if part.gt is None else f"more than {part.gt}"
            least = part.ge if part.gt is None else f"above {part.gt}"
            return f"{least} to {part.le if part.lt is None else f'below {part.lt}'}"
        if words := range_in_words(part):
            return words
    return ""


def _is_a(value: object, hint: Any) -> bool:
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    accepted = NoneType if kind is NoneType else _TYPES[get_origin(kind) or kind][1]
    return isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))


def _is_within(value: Any, hint: Any) -> bool:
    """Whether a value is in the range of its type; NaN is in none."""
    for part in get_args(hint) if get_origin(hint) is Annotated else ():
        if isinstance(part, Range):
            return (
                (part.ge is None or value >= part.ge)
                and (part.gt is None or value > part.gt)
                and (part.le is None or value <= part.le)
                and (part.lt is None or value < part.lt)
            )
    return True


def _type_in_words(hint: Any) -> list[str]:
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind) if choice != _ALIAS]
    return [] if kind is NoneType else [_TYPES[get_origin(kind) or kind][0]]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Settings whose fields are checked when they are made; their types must not be strings."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(field.name, getattr(self, field.name), field.type)


def own_fields_first(kind: type[Kind]) -> type[Kind]:
    """Let a dataclass list its own fields before those of its bases, as --help and docs do."""
    fields: dict[str, Any] = kind.__dataclass_fields__
    own = {name: fields[name] for name in kind.__annotations__}
    kind.__dataclass_fields__ = own | fields
    return kind


@dataclass(frozen=True, kw_only=True)
class DeviceSettings(Checked):
    """What a network computes on, and in what."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the network computes in; auto is bfloat16 where the hardware has it."""


@dataclass(frozen=True, kw_only=True)
class BatchSettings(DeviceSettings):
    """How images go through a network."""

    batch_size: Count = 16
    """Images or crops in one forward pass; changes the speed, not the results."""


@dataclass(frozen=True, kw_only=True)
class FolderSettings(Checked):
    """Which images of a folder are read, and where their decoded pixels are kept."""

    all_maps: bool = False
    """Also take normal maps, roughness and the like; by default colour maps only, as told by their
    names. A prepared data set is taken as it is."""

    cache: Path | None = None
    """Folder for the packs of decoded images; by default in the user's cache."""


@dataclass(frozen=True, kw_only=True)
class ScanSettings(Checked):
    """Which files of a raw folder are taken, and how many processes decode them."""

    exclude: tuple[str, ...] | None = None
    """Leave out paths below the folder that fit a pattern as in .gitignore, without case: wip/ or
    *.psd. Repeatable. By default as in the run before; --empty-exclude ends it."""

    include_previews: bool | None = None
    """Also take folders of thumbnails, and previews and much smaller copies beside their originals.
    By default as in the run before, at first not."""

    max_megapixels: Positive = 500.0
    """Images with more pixels are skipped before they are decoded (decompression bombs)."""

    workers: CountOrZero = 0
    """Processes that decode images; 0 takes one for each core."""


def with_changes(settings: Changed, changes: Mapping[str, Any]) -> Changed:
    """Settings with some fields changed. Raises SettingsError for a name that is no field."""
    names = [field.name for field in dataclasses.fields(settings)]
    for name in changes:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}."
            raise SettingsError(f"{name!r} is no setting of {type(settings).__name__}; {hint}")
    return dataclasses.replace(settings, **changes)
