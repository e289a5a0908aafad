"""index(): a folder of images becomes a library that can be searched, and stays one.

The catalog is the truth and is written a few images at a time, so that whatever ends a run, the
next one resumes it; the files of faiss, library.json and errors.csv follow from it (`finish`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vaeneer.checksums import write_stamped_json
from vaeneer.data.exclusion import Exclusion, remedy
from vaeneer.data.scan import FoundFile
from vaeneer.errors import DataError, LibraryError
from vaeneer.files import mark_folder, write_text
from vaeneer.library.catalog import Catalog
from vaeneer.library.catalog_file import FACTS, read_seal
from vaeneer.library.index.changes import Changes, Listing, changes_since, list_folder, rules_of
from vaeneer.library.index.writer import record_changes, record_limits
from vaeneer.library.library_folders import folders_to_index
from vaeneer.library.repair import (
    add_checksums,
    damaged_derived_files,
    drop_damaged_vectors,
    set_damaged_aside,
    settle_identity,
)
from vaeneer.library.store import (
    FORMAT,
    changing,
    ensure_model,
    missing_thumbnails,
    read_facts,
    remove_library_leftovers,
    remove_thumbnails,
)
from vaeneer.library.vector_index import PARTS, WHOLES, is_as_written, synced
from vaeneer.progress import Progress, Silent
from vaeneer.provenance import CACHE_TAG
from vaeneer.settings import IndexSettings
from vaeneer.text import to_csv

ERRORS = "errors.csv"
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
    started = time.monotonic()
    settings, progress = settings or IndexSettings(), progress or Silent()
    Exclusion(settings.exclude or ())  # refuses a pattern that cannot be read
    root, target = folders_to_index(folder, library, moved=folder_moved)
    if library is None:
        progress.say(f"Library {target}")
    with _writable(target, root, model, settings, progress, moved=folder_moved) as catalog:
        listing, changes = _scan(catalog, target, root, settings, progress, forget_missing)
        record_changes(catalog, listing, changes)
        begun, embedder, fresh = time.monotonic(), None, list(changes.fresh.values())
        lost = _without_thumbnail(catalog, target, listing, changes)
        if fresh or lost or not catalog.get_meta("dimensions"):
            from vaeneer.library.index.embed_files import embed_files  # with PyTorch: a second

            embedder = embed_files(catalog, target, listing, fresh, lost, settings, progress)
        embedding_seconds = time.monotonic() - begun
        add_checksums(catalog)
        facts = finish(catalog, target, progress)
        _refuse_nothing_indexed(catalog, root, listing)
        searchable_seconds, pending = time.monotonic() - started, catalog.parts_pending
        if waiting := _waiting_for_parts(catalog, listing):
            from vaeneer.library.index.embed_files import embed_quarters

            embed_quarters(catalog, target, waiting, embedder, settings, progress)
            facts = finish(catalog, target, progress)
        return _report(
            catalog,
            target,
            listing,
            changes,
            facts,
            parts_added=pending - catalog.parts_pending,
            embedding_seconds=embedding_seconds,
            searchable_seconds=searchable_seconds,
            seconds=time.monotonic() - started,
        )


@contextmanager
def _writable(
    library: Path,
    root: Path,
    model: Path | str | None,
    settings: IndexSettings,
    progress: Progress,
    *,
    moved: bool,
) -> Iterator[Catalog]:
    """The catalog of a library, locked, repaired, and of this root, model and these parts."""
    library.mkdir(parents=True, exist_ok=True)
    with changing(library):
        remove_library_leftovers(library)
        set_damaged_aside(library, progress)
        sealed = read_seal(library) is not None
        catalog = Catalog.create(library)
        try:
            settle_identity(catalog, library)
            if not sealed:  # a run was killed, or it is of an older version
                drop_damaged_vectors(catalog, progress)
            _check_root(catalog, library, root, moved=moved)
            existing = catalog.get_meta("parts")
            if existing is not None and settings.parts not in ("auto", existing):
                raise LibraryError(
                    f"{library} was made with --parts {existing}, and a library keeps its parts;"
                    f" for --parts {settings.parts} name another folder with --library."
                )
            ensure_model(catalog, library, model)
            if not (library / CACHE_TAG).is_file():  # so that `prepare` and others pass it by
                write_text(library / CACHE_TAG, _TAG)
            mark_folder(library, "library")
            yield catalog
        finally:
            catalog.close()


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


def _scan(
    catalog: Catalog,
    library: Path,
    root: Path,
    settings: IndexSettings,
    progress: Progress,
    forget_missing: bool,
) -> tuple[Listing, Changes]:
    """List the folder and compare it with the catalog. Raises DataError for a missing drive."""
    rules, notices = rules_of(catalog, settings.exclude, settings.include_previews)
    for line in notices:
        progress.say(line)
    record_limits(catalog, f"{settings.min_side_px} {settings.max_megapixels:g}")
    listing = list_folder(root, library, rules)
    changes = changes_since(catalog, listing, root, forget_missing=forget_missing)
    for line in listing.warnings:
        progress.say(line)
    (items,) = catalog.execute("SELECT count(*) FROM items").fetchone()
    if items and not listing.files:
        ways = f", or {remedy(listing.others)}" if listing.others else ""
        raise DataError(
            f"{root} holds no image ({_listed(listing)}), and its library {items:,}; is a drive"
            f" missing? Nothing was changed; delete {library} where it is no longer needed{ways}."
        )
    return listing, changes


def _without_thumbnail(
    catalog: Catalog, library: Path, listing: Listing, changes: Changes
) -> list[FoundFile]:
    """Files that are indexed, and whose thumbnail somebody deleted."""
    rows = catalog.execute("SELECT path, lower(hex(sha256)) FROM items WHERE embedded").fetchall()
    since_ns = int(catalog.get_meta("finished_ns") or 0)
    lost = missing_thumbnails(library, {sha256 for _, sha256 in rows}, since_ns=since_ns)
    files = listing.files
    return [files[p] for p, sha in rows if sha in lost and p in files and p not in changes.fresh]


def _waiting_for_parts(catalog: Catalog, listing: Listing) -> list[FoundFile]:
    """Files whose items wait for their smallest parts, one for each content."""
    rows = catalog.execute(
        "SELECT path, sha256 FROM items WHERE embedded AND pending ORDER BY path DESC"
    )
    files = {sha256: listing.files[path] for path, sha256 in rows if path in listing.files}
    return sorted(files.values(), key=lambda found: found.path)


def _refuse_nothing_indexed(catalog: Catalog, root: Path, listing: Listing) -> None:
    if not _count(catalog, "items WHERE embedded"):
        raise DataError(
            f"{root} holds no usable image ({_listed(listing, _failures(catalog))});"
            f" {remedy(listing.others)}."
        )


def _failures(catalog: Catalog) -> dict[str, str]:
    return dict(catalog.execute("SELECT path, reason FROM failures ORDER BY path").fetchall())


def _listed(listing: Listing, failures: Mapping[str, str] | None = None) -> str:
    """The most frequent reasons, with their numbers."""
    reasons = Counter(reason.split(":")[0] for reason in (failures or {}).values())
    maps = len(listing.rows) - len(listing.files)
    reasons += Counter(listing.others) + Counter({"other maps": maps} if maps else {})
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
    return listed or "it is empty"


def _report(
    catalog: Catalog,
    library: Path,
    listing: Listing,
    changes: Changes,
    facts: Mapping[str, Any],
    *,
    parts_added: int,
    embedding_seconds: float,
    searchable_seconds: float,
    seconds: float,
) -> IndexReport:
    failures = _failures(catalog)
    done = changes.fresh.keys() - failures.keys()
    return IndexReport(
        library=str(library),
        folder=str(catalog.root),
        model=facts["model"],
        images=facts["items"],
        assets=facts["assets"],
        added=len(done - changes.changed),
        changed=len(done & changes.changed),
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
        parts_added=parts_added,
        parts_pending=catalog.parts_pending,
        images_per_second=len(changes.fresh) / embedding_seconds if changes.fresh else None,
        searchable_seconds=searchable_seconds,
        seconds=seconds,
    )


def finish(catalog: Catalog, library: Path, progress: Progress) -> dict[str, Any]:
    """Write all that follows from the catalog; returns what library.json says."""
    write_errors(library / ERRORS, catalog)
    for file, _ in damaged_derived_files(catalog, library):
        progress.say(f"{file} is damaged or of another library; it is made again when it is needed")
        file.unlink()
    known = read_facts(library)
    whole = all(is_as_written(catalog, library / n, thorough=True) for n in (WHOLES, PARTS))
    same = known is not None and known["library"] == catalog.library
    if known is None or not (same and whole) or known["generation"] != catalog.generation:
        known = None
        rows = catalog.execute("SELECT DISTINCT lower(hex(sha256)) FROM items WHERE embedded")
        remove_thumbnails(library, (sha256 for (sha256,) in rows))
    wholes, parts = (
        (known["wholes"], known["parts"])
        if known is not None
        else [found.facts() for found in synced(catalog, library, write=True, progress=progress)]
    )
    facts = {
        "format": FORMAT,
        "vaeneer_version": version("vaeneer"),
        "library": catalog.library,
        "root": str(catalog.root),
        "model": catalog.require_meta("model"),
        "model_fingerprint": catalog.require_meta("model_fingerprint"),
        "dimensions": catalog.dimensions,
        "smallest_parts": catalog.require_meta("parts"),
        "items": _count(catalog, "items WHERE embedded"),
        "assets": _count(catalog, "(SELECT DISTINCT asset FROM items WHERE embedded)"),
        "offline": _count(catalog, "items WHERE embedded AND offline"),
        "maps": _count(catalog, "maps"),
        "failures": _count(catalog, "failures"),
        "left_out": catalog.left_out(),
        "noted": _count(catalog, "items WHERE embedded AND notes <> '[]'"),
        "generation": catalog.generation,
        "wholes": wholes,
        "parts": parts,
        "rules": catalog.get_meta("rules") or "{}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_stamped_json(library / FACTS, facts)
    catalog.set_meta("finished_ns", str(time.time_ns()))
    catalog.seal()  # a copy of the one file is whole then
    return facts


def write_errors(path: Path, catalog: Catalog) -> None:
    """List by path what is not in the library, or was read in part: path, reason, outcome."""
    rows = catalog.execute(
        "SELECT path, reason, 'skipped' FROM failures"
        " UNION ALL SELECT path, reason, 'left out' FROM left_out"
        " UNION ALL SELECT path, (SELECT group_concat(value, '; ') FROM json_each(notes)), 'read'"
        " FROM items WHERE embedded AND notes <> '[]' ORDER BY 3 DESC, 1"
    )
    write_text(path, to_csv([("path", "reason", "outcome"), *rows]))


def _count(catalog: Catalog, what: str) -> int:
    return int(catalog.execute(f"SELECT count(*) FROM {what}").fetchone()[0])
