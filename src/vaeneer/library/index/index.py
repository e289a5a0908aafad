"""index(): a folder of images becomes a library that can be searched, and stays one.

The catalog is the truth and is written a few images at a time, so that whatever ends a run, the
next one goes on; the files of faiss, library.json and errors.csv follow from it (finalize.py).
"""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeneer.data.exclusion import Exclusion, remedy
from vaeneer.data.scan import FoundFile
from vaeneer.errors import DataError, LibraryError, OutputExistsError, SettingsError
from vaeneer.files import holds_anything, mark_folder, write_text
from vaeneer.library.catalog import NAME as CATALOG
from vaeneer.library.catalog import Catalog
from vaeneer.library.catalog_file import read_seal
from vaeneer.library.index.changes import Changes, Listing, changes_since, list_folder, rules_of
from vaeneer.library.index.finalize import finish
from vaeneer.library.index.writer import record_changes, record_limits
from vaeneer.library.library_folders import default_library, libraries_without_folder
from vaeneer.library.repair import (
    add_checksums,
    drop_damaged_vectors,
    set_damaged_aside,
    settle_identity,
)
from vaeneer.library.store import (
    MODEL_FOLDER,
    changing,
    ensure_model,
    missing_thumbnails,
    remove_library_leftovers,
)
from vaeneer.progress import Progress, Silent
from vaeneer.provenance import CACHE_TAG
from vaeneer.settings import IndexSettings

if TYPE_CHECKING:
    from vaeneer.model.embedder import Embedder


_MOST_QUARTERED = 2_000  # images: some ten minutes on two cores
_OF_A_ROOT = ("items", "failures", "maps")  # tables of the catalog
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# A vaeneer library; no image of it is data.\n"


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """A library after a run over its folder."""

    library: str
    folder: str
    model: str
    images: int
    """Items that can be found."""
    assets: int
    added: int
    changed: int
    """Files with other bytes than before."""
    moved: int
    """Files found at another path, with the bytes of an item."""
    removed: int
    unchanged: int
    offline: int
    """Items whose folder is not there now: they stay, with thumbnail and vectors."""
    offline_folders: dict[str, int]
    """Folder that is missing, empty or cannot be listed -> number of its items."""
    skipped: dict[str, str]
    """Files that could not be read, with the reason; also in errors.csv."""
    left_out: dict[str, int]
    """Reason -> number of files that were not looked at; errors.csv has those that are pictures."""
    noted: int
    """Images that were read without a damaged or unusual part of their file; in errors.csv."""
    vectors: int
    """Of whole images and of their parts."""
    dimensions: int
    parts_added: int
    """Images whose smallest parts were embedded in this run, those of an earlier run included."""
    parts_pending: int
    """Images whose smallest parts are still to be embedded: a run was stopped, or a file cannot be
    read now."""
    index: str
    """How parts are searched: exact or ivf."""
    images_per_second: float | None
    """Of images decoded and embedded in this run, small parts excluded; None without any."""
    searchable_seconds: float
    """Until all images could be searched."""
    seconds: float
    """The whole run, with the smallest parts."""

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def index(
    folder: Path | str,
    *,
    library: Path | str | None = None,
    model: Path | str | None = None,
    settings: IndexSettings | None = None,
    folder_moved: bool = False,
    forget_missing: bool = False,
    progress: Progress | None = None,
) -> IndexReport:
    """Make or bring up to date the library of a folder; only new and changed files are decoded.

    library: None is the default place, a folder in the user's data folder that `find_library`
    finds by `folder`. model: a bundled model's name, a model folder or a run; None is the library's
    own, and surface-base for a new library. folder_moved: the images of the library lie in `folder`
    now. forget_missing: items whose folders are offline leave the library, too. Bad files are
    skipped and listed in errors.csv.
    Raises LibraryError when the library is in use, of another folder, of another model or inside
    the folder, DataError when nothing can be indexed.
    """
    settings, progress, started = (
        settings or IndexSettings(),
        progress or Silent(),
        time.monotonic(),
    )
    Exclusion(settings.exclude or ())  # refuses a pattern that cannot be read
    root, target = _checked_folders(Path(folder), None if library is None else Path(library))
    if library is None:
        _refuse_unnamed_library(root, target, moved=folder_moved)
        progress.say(f"Library {target}")
    target.mkdir(parents=True, exist_ok=True)
    with changing(target):
        remove_library_leftovers(target)
        set_damaged_aside(target, progress)
        sealed = read_seal(target) is not None
        catalog = Catalog.create(target)
        try:
            settle_identity(catalog, target)
            if not sealed:  # a run was killed, or it is of an older version
                drop_damaged_vectors(catalog, progress)
            _check_root(catalog, target, root, moved=folder_moved)
            _refuse_other_parts(catalog, target, settings)
            ensure_model(catalog, target, model)
            if not (target / CACHE_TAG).is_file():  # so that `prepare` and others pass it by
                write_text(target / CACHE_TAG, _TAG)
            mark_folder(target, "library")
            rules, notices = rules_of(catalog, settings.exclude, settings.include_previews)
            for line in notices:
                progress.say(line)
            record_limits(catalog, f"{settings.min_side_px} {settings.max_megapixels:g}")
            listing = list_folder(root, target, rules)
            changes = changes_since(catalog, listing, root, forget_missing=forget_missing)
            return _indexed(catalog, target, root, listing, changes, settings, progress, started)
        finally:
            catalog.close()


def _indexed(
    catalog: Catalog,
    library: Path,
    root: Path,
    listing: Listing,
    changes: Changes,
    settings: IndexSettings,
    progress: Progress,
    started: float,
) -> IndexReport:
    """Record what changed, embed, finish."""
    for line in listing.warnings:
        progress.say(line)
    _refuse_missing_drive(catalog, library, root, listing)
    record_changes(catalog, listing, changes)
    begun = time.monotonic()
    embedder = _embed(catalog, library, listing, changes, settings, progress)
    spent = time.monotonic() - begun
    failures = dict(catalog.execute("SELECT path, reason FROM failures ORDER BY path").fetchall())
    add_checksums(catalog)
    facts = finish(catalog, library, progress)
    _refuse_nothing_indexed(root, listing, facts["items"], failures)
    searchable, pending = time.monotonic() - started, catalog.parts_pending
    if waiting := _waiting_for_parts(catalog, listing):
        _embed_quarters(catalog, library, waiting, embedder, settings, progress)
        facts = finish(catalog, library, progress)
    done = [path for path in changes.fresh if path not in failures]
    return IndexReport(
        library=str(library),
        folder=str(root),
        model=catalog.require_meta("model"),
        images=facts["items"],
        assets=facts["assets"],
        added=len([path for path in done if path not in changes.changed]),
        changed=len([path for path in done if path in changes.changed]),
        moved=changes.moved,
        removed=len(changes.gone),
        unchanged=changes.unchanged,
        offline=facts["offline"],
        offline_folders=dict(sorted(Counter(changes.offline.values()).items())),
        skipped=failures,
        left_out=listing.others,
        noted=facts["noted"],
        vectors=facts["wholes"]["vectors"] + facts["parts"]["vectors"],
        dimensions=facts["dimensions"],
        index=facts["parts"]["kind"],
        parts_added=pending - catalog.parts_pending,
        parts_pending=catalog.parts_pending,
        images_per_second=len(changes.fresh) / spent if changes.fresh else None,
        searchable_seconds=searchable,
        seconds=time.monotonic() - started,
    )


def _embed(
    catalog: Catalog,
    library: Path,
    listing: Listing,
    changes: Changes,
    settings: IndexSettings,
    progress: Progress,
) -> Embedder | None:
    """Decode and embed what is fresh; PyTorch is not imported where nothing is.

    Returns the network, where it was loaded.
    """
    lost = _without_thumbnail(catalog, library, listing, changes)
    if not changes.fresh and not lost and catalog.get_meta("dimensions"):
        return None
    from vaeneer.library.index.embed_files import embed_items, restore_thumbnails

    embedder = _load(library, settings)
    catalog.set_meta("dimensions", str(embedder.dimensions))
    if catalog.get_meta("parts") is None:
        catalog.set_meta("parts", _parts(settings, len(listing.files)))
    assets = {row.path: row.asset for row in listing.rows}
    try:
        embed_items(catalog, library, changes.fresh, assets, embedder, settings, progress)
    except KeyboardInterrupt:
        progress.say(f"Stopped. What is indexed stays in {library}; the same command goes on.")
        raise
    restore_thumbnails(library, lost, settings, progress)
    return embedder


def _embed_quarters(
    catalog: Catalog,
    library: Path,
    files: list[FoundFile],
    embedder: Embedder | None,
    settings: IndexSettings,
    progress: Progress,
) -> None:
    """Embed the smallest parts of images, which can be searched already."""
    from vaeneer.library.index.embed_files import embed_quarters

    progress.say(
        f"All images of {library} can be searched now; the small parts of {len(files):,} images"
        " follow, for search by a box. Ctrl-C stops that; the same command goes on later."
    )
    try:
        embed_quarters(catalog, files, embedder or _load(library, settings), settings, progress)
    except KeyboardInterrupt:
        progress.say(
            f"Stopped. All images can be searched; the small parts of"
            f" {catalog.parts_pending:,} images are missing. The same command adds them."
        )
        raise


def _load(library: Path, settings: IndexSettings) -> Embedder:
    from vaeneer.model.embedder import Embedder

    return Embedder(
        library / MODEL_FOLDER,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
    )


def _waiting_for_parts(catalog: Catalog, listing: Listing) -> list[FoundFile]:
    """Files whose items wait for their smallest parts, one for each content."""
    rows = catalog.execute(
        "SELECT path, sha256 FROM items WHERE embedded AND pending ORDER BY path DESC"
    )
    files = {sha256: listing.files[path] for path, sha256 in rows if path in listing.files}
    return sorted(files.values(), key=lambda found: found.path)


def _refuse_other_parts(catalog: Catalog, library: Path, settings: IndexSettings) -> None:
    """Raise LibraryError where a library has other parts than those that are wanted."""
    existing = catalog.get_meta("parts")
    if existing is not None and settings.parts not in ("auto", existing):
        raise LibraryError(
            f"{library} was made with --parts {existing}, and a library keeps its parts;"
            f" for --parts {settings.parts} name another folder with --library."
        )


def _parts(settings: IndexSettings, images: int) -> str:
    """Which parts a new library has; it keeps them for good."""
    if settings.parts != "auto":
        return settings.parts
    return "quarters" if images <= _MOST_QUARTERED else "halves"


def _without_thumbnail(
    catalog: Catalog, library: Path, listing: Listing, changes: Changes
) -> list[FoundFile]:
    """Files that are indexed, and whose thumbnail somebody deleted."""
    rows = catalog.execute("SELECT path, lower(hex(sha256)) FROM items WHERE embedded").fetchall()
    since_ns = int(catalog.get_meta("finished_ns") or 0)
    lost = missing_thumbnails(library, {sha256 for _, sha256 in rows}, since_ns=since_ns)
    known = listing.files
    return [known[p] for p, sha in rows if sha in lost and p in known and p not in changes.fresh]


def _check_root(catalog: Catalog, library: Path, root: Path, *, moved: bool) -> None:
    known = catalog.get_meta("root")
    rows = sum(catalog.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in _OF_A_ROOT)
    if known is None or moved or not rows:  # a first run on a wrong folder binds nothing
        catalog.set_meta("root", str(root))
    elif Path(known) != root:
        raise LibraryError(
            f"{library} is the library of {known}, not of {root}; name another --library, or pass"
            " --folder-moved where its images lie there now."
        )


def _refuse_unnamed_library(root: Path, library: Path, *, moved: bool) -> None:
    if moved and not (library / CATALOG).is_file():
        found = [shlex.quote(str(one)) for one in libraries_without_folder()]
        one_of = (
            f", one of {', '.join(found)}" if len(found) > 1 else "".join(f", {o}" for o in found)
        )
        raise SettingsError(
            f"--folder-moved needs --library: the library whose images lie in {root} now{one_of}."
        )


def _checked_folders(folder: Path, named: Path | None) -> tuple[Path, Path]:
    """Folder and library, resolved. Raises DataError, LibraryError or OutputExistsError."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {what}; name the folder of your images.")
    try:
        library = default_library(folder) if named is None else named
        root, target = folder.resolve(), library.resolve()
        if target.is_symlink():
            raise RuntimeError("a link that leads nowhere or to itself")
    except (OSError, RuntimeError) as error:
        raise LibraryError(
            f"{named or folder} cannot be opened ({error}); name another one."
        ) from error
    if target != root and _is_inside(root, target):
        raise LibraryError(f"{library} holds the images themselves; {_outside(root, named)}.")
    if _is_inside(target, root) and (target == root or not (target / CATALOG).is_file()):
        where = "is" if target == root else f"is inside {folder},"
        raise LibraryError(f"{library} {where} the folder of the images; {_outside(root, named)}.")
    strange = library.is_dir() and holds_anything(library) and not (library / CATALOG).is_file()
    if library.is_file() or (strange and not (library / ".lock").is_file()):
        raise OutputExistsError(f"{library} holds something else; name another --library.")
    return root, target


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or below it, under whatever names and mounts."""
    if path.is_relative_to(folder):
        return True
    there = folder.stat() if folder.is_dir() else None
    return there is not None and any(
        one.is_dir() and os.path.samestat(one.stat(), there) for one in (path, *path.parents)
    )


def _outside(root: Path, named: Path | None) -> str:
    """The remedy for a library that is in the folder of its images, or around it."""
    default = default_library(root)
    if named is None or _is_inside(default, root):
        return "name a folder outside of it with --library"
    return f"leave --library out (the library is then {default}), or name a folder outside of it"


def _refuse_missing_drive(catalog: Catalog, library: Path, root: Path, listing: Listing) -> None:
    (items,) = catalog.execute("SELECT count(*) FROM items").fetchone()
    if items and not listing.files:
        ways = f", or {remedy(listing.others)}" if listing.others else ""
        raise DataError(
            f"{root} holds no image ({_listed(listing)}), and its library {items:,}; is a drive"
            f" missing? Nothing was changed; delete {library} where it is no longer needed{ways}."
        )


def _refuse_nothing_indexed(
    root: Path, listing: Listing, items: int, failures: dict[str, str]
) -> None:
    if items:
        return
    raise DataError(
        f"{root} holds no usable image ({_listed(listing, failures)}); {remedy(listing.others)}."
    )


def _listed(listing: Listing, failures: Mapping[str, str] | None = None) -> str:
    """The most frequent reasons, with their numbers."""
    reasons = Counter(reason.split(":")[0] for reason in (failures or {}).values())
    maps = len(listing.rows) - len(listing.files)
    reasons += Counter(listing.others) + Counter({"other maps": maps} if maps else {})
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
    return listed or "it is empty"
