"""Connections to a catalog: bounded and closed, never to another file, never to old data."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vaeneer.errors import LibraryUnavailableError
from vaeneer.library import catalog_file
from vaeneer.library.catalog import NAME, Catalog
from vaeneer.library.catalog_file import MAX_CONNECTIONS, state_of
from vaeneer.provenance import kind_of_folder

NOBODY = 65534
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made(tmp_path / "library")
    opened = Catalog.open(tmp_path / "library")
    yield opened
    opened.close()


def made(folder: Path, root: str = "/images") -> None:
    """A catalog without items."""
    catalog = Catalog.create(folder)
    catalog.set_meta("root", root)
    catalog.close()


def write_elsewhere(file: Path, value: str) -> None:
    """A root from a process of its own, which closes what it takes for the last connection."""
    script = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1])\n"
        "c.execute(\"UPDATE state SET value = ? WHERE key = 'root'\", (sys.argv[2],))\n"
        "c.commit()\n"
        "c.close()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(file), value], check=True)


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Make a folder and its files read-only for whoever runs this, root too."""
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that any user may enter, as pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="vaeneer-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run_in_threads(count: int, work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("look", ["seal", "check", "folder", "open"])
def test_looking_at_the_bytes_of_a_catalog_keeps_its_locks(catalog: Catalog, look: str) -> None:
    folder = catalog.file.parent
    for number in range(3):
        write_elsewhere(catalog.file, f"/before/{number}")
        assert catalog.get_meta("root") == f"/before/{number}"
        log = catalog.file.with_name(f"{NAME}-wal").stat().st_ino
        if look == "seal":  # as the duplicates of a library do at their end
            catalog.set_meta("other", str(number))
            catalog.seal()
        elif look == "check":
            state_of(folder, thorough=True)
        elif look == "folder":
            assert kind_of_folder(folder, [NAME], []) == "library"
        else:
            Catalog.open(folder).close()
        write_elsewhere(catalog.file, f"/after/{number}")
        assert catalog.get_meta("root") == f"/after/{number}"
        assert catalog.file.with_name(f"{NAME}-wal").stat().st_ino == log  # nobody deleted it


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="this system does not list descriptors")
def test_threads_leave_no_connection_behind(catalog: Catalog) -> None:
    together = threading.Barrier(MAX_CONNECTIONS)

    def read() -> None:
        with catalog.connection():  # as many as there may be at the same time
            together.wait(10)
            assert catalog.get_meta("root") == "/images"

    run_in_threads(MAX_CONNECTIONS, read)
    before = len(list(DESCRIPTORS.iterdir()))
    for _ in range(30):
        run_in_threads(3 * MAX_CONNECTIONS, read)  # the others wait
    assert len(list(DESCRIPTORS.iterdir())) <= before
    catalog.close()
    left = [str(one.readlink()) for one in list(DESCRIPTORS.iterdir()) if one.is_symlink()]
    assert not [one for one in left if one.startswith(str(catalog.file))]


def test_statements_that_take_too_long_are_interrupted(catalog: Catalog) -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    )
    with catalog.limited(0.05), pytest.raises(sqlite3.OperationalError, match="interrupted"):
        catalog.execute(endless)
    assert catalog.execute("WITH n(i) AS (VALUES (7)) SELECT i FROM n").fetchone() == (7,)


def test_a_block_has_one_connection_and_gives_it_back(catalog: Catalog) -> None:
    with catalog.connection() as outer:
        with catalog.connection() as inner, catalog.writing() as writing:
            assert inner is outer is writing
            catalog.set_meta("root", "/other")
        assert catalog.get_meta("root") == "/other"
    with catalog.connection() as again:
        assert again is outer


@pytest.mark.parametrize("how", ["moved", "deleted", "emptied", "truncated"])
def test_a_library_that_is_gone_is_said_and_found_again(catalog: Catalog, how: str) -> None:
    folder = catalog.file.parent
    away, attached = folder.with_name("away"), catalog.attached
    shutil.copytree(folder, away)
    if how == "moved":
        shutil.rmtree(away)
        folder.rename(away)
    elif how == "deleted":
        shutil.rmtree(folder)
    elif how == "emptied":
        for file in folder.iterdir():
            file.unlink()
    else:
        catalog.file.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(LibraryUnavailableError, match="moved, deleted or emptied"):
            catalog.get_meta("root")
    assert not (folder / NAME).exists() or how == "truncated"  # nothing was made in its place
    shutil.rmtree(folder, ignore_errors=True)
    away.rename(folder)
    assert catalog.get_meta("root") == "/images"
    assert catalog.attached > attached


def test_a_library_that_was_replaced_is_read_anew(catalog: Catalog) -> None:
    folder = catalog.file.parent
    folder.rename(folder.with_name("old"))
    made(folder, root="/other")
    assert catalog.get_meta("root") == "/other"


def test_a_damaged_catalog_in_its_place_is_not_read(catalog: Catalog) -> None:
    folder, attached = catalog.file.parent, catalog.attached
    catalog.seal()
    catalog.close()
    whole = catalog.file.read_bytes()
    assert whole.count(b"/images") == 1
    for content in (whole.replace(b"/images", b"/imagez"), whole):
        (folder / "copy").write_bytes(content)
        (folder / "copy").rename(catalog.file)
        if content == whole:
            assert catalog.get_meta("root") == "/images"
            continue
        for _ in range(2):
            with pytest.raises(LibraryUnavailableError, match="damaged; mend it with"):
                catalog.get_meta("root")
        assert catalog.attached == attached


def test_changes_in_a_log_that_cannot_be_seen_are_not_passed_over(public: Path) -> None:
    made(public / "first")
    writer = Catalog.open(public / "first")
    writer.set_meta("root", "/new")  # in the log only, as long as a connection is open
    (public / "copy").mkdir()
    for name in (NAME, f"{NAME}-wal"):
        shutil.copy(public / "first" / name, public / "copy" / name)
    writer.close()
    refused = pytest.raises(LibraryUnavailableError, match=f"{NAME}-wal.*vaeneer stats")
    with unwritable(public / "copy"), refused:
        Catalog.open(public / "copy")
    Catalog.open(public / "copy").close()  # the remedy
    with unwritable(public / "copy"):
        assert Catalog.open(public / "copy").get_meta("root") == "/new"


def test_a_catalog_in_a_place_that_cannot_be_written_is_read(public: Path) -> None:
    made(public / "library")
    with unwritable(public / "library"):
        opened = Catalog.open(public / "library")
        assert opened.get_meta("root") == "/images"
        with pytest.raises(LibraryUnavailableError, match="readonly"):
            opened.set_meta("root", "/other")
    changed = Catalog.open(public / "library")
    changed.set_meta("root", "/new")
    changed.close()
    with unwritable(public / "library"):
        assert opened.get_meta("root") == "/new"  # not what was read before
        opened.close()


def test_a_lock_is_no_damage(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_file, "_BUSY_SECONDS", 0.01)
    other = sqlite3.connect(catalog.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = Catalog(catalog.file)
    with pytest.raises(LibraryUnavailableError, match="locked by another process") as refused:
        waiting.set_meta("root", "/other")
    assert "delete" not in str(refused.value)
    other.execute("ROLLBACK")
    waiting.set_meta("root", "/other")
    waiting.close()
    other.close()


def test_a_full_disk_is_no_damage(catalog: Catalog) -> None:
    def fill() -> None:
        with catalog.writing() as connection:
            connection.execute("PRAGMA max_page_count = 1")
            for number in range(1000):
                catalog.set_meta(f"key {number}", "x" * 1000)

    with pytest.raises(LibraryUnavailableError, match="disk is full") as refused:
        fill()
    assert "delete" not in str(refused.value)
    assert catalog.get_meta("key 0") is None
    assert catalog.get_meta("root") == "/images"
