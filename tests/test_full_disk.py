"""A full disk is said with the bytes needed and free, and leaves the last good state whole.

On a small file system where one can be mounted (root on Linux), and everywhere that has it with a
limit on the size of a file: then the 64 KiB that fit are those of each file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from vaeneer.checksums import write_parquet
from vaeneer.cli.app import run
from vaeneer.data.dataset import read_manifest
from vaeneer.data.prepare import prepare
from vaeneer.errors import LibraryUnavailableError, StorageError, VaeneerError
from vaeneer.files import atomic_dir, save_picture, write_text
from vaeneer.library.embed.tables import VectorTable, read_vectors, write_vectors
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.vector_index import VectorIndex
from vaeneer.model.checkpoint import find_model, load, read_card, read_foreign_weights
from vaeneer.model.vae import VAE
from vaeneer.progress import Silent
from vaeneer.settings import IndexSettings, PrepareSettings, TrainSettings
from vaeneer.storage import free_bytes, storage_error
from vaeneer.training.resume_state import TrainState, read_state, save_state
from vaeneer.training.run_folder import RunFolder, check_same_data
from vaeneer.training.setup import start_run
from vaeneer.training.train import train
from vector_indexes import index_of

Painter = Callable[[Path, int], Path]
WHOLE = IndexSettings(parts="none", workers=1)
MB = 2**20
NOISE = np.random.default_rng(0)


@contextmanager
def limited(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond a size: works for every user."""
    resource = pytest.importorskip("resource", reason="this system has no limits of file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class SmallDisk:
    """A file system of a few megabytes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def fill(self, leave_bytes: int) -> None:
        """Take all space but some bytes (rounded to 4 KiB)."""
        (self.root / "ballast").unlink(missing_ok=True)
        with (self.root / "ballast").open("wb") as stream:
            stream.write(bytes(max(0, free_bytes(self.root) - leave_bytes)))

    def free(self) -> None:
        (self.root / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """12 MB."""
    root = tmp_path / "disk"
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(root)]
    if os.name == "nt" or shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield SmallDisk(root)
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


class Weights(torch.nn.Module):
    """Some parameters with the methods that a state needs."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(count))


def write_state(path: Path, count: int) -> None:
    network: VAE = Weights(count // 4)  # type: ignore[assignment]
    save_state(path, network, None, torch.optim.Adam(network.parameters()), TrainState())


def write_index(path: Path, count: int) -> None:
    vectors = NOISE.normal(size=(max(1, count // 24), 8)).astype(np.float32)
    index_of(np.arange(len(vectors)), vectors).write(path)


def write_table(path: Path, count: int) -> None:
    names = pyarrow.table({name: ["x"] * (count // 32) for name in ("file", "asset", "category")})
    vectors = NOISE.normal(size=(count // 32, 8)).astype(np.float32)
    write_vectors(path, VectorTable(names, vectors, {}))


def write_image(path: Path, count: int) -> None:
    side = max(8, int((count / 3) ** 0.5))
    kind = {".jpg": "JPEG", ".webp": "WEBP"}.get(path.suffix, "PNG")
    pixels = NOISE.integers(0, 255, (side, side, 3), dtype=np.uint8)
    save_picture(Image.fromarray(pixels), path, kind, **({"quality": 100} if kind != "PNG" else {}))


def write_folder(path: Path, count: int) -> None:
    with atomic_dir(path, kind="model", size_bytes=count) as temporary:
        (temporary / "large").write_bytes(bytes(count))


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "a.txt": lambda path, count: write_text(path, "x" * count),
    "a.parquet": lambda path, count: write_parquet(
        path, pyarrow.table({"a": NOISE.normal(size=count // 8)})
    ),
    "vectors.npy": write_table,
    "vectors.parquet": write_table,
    "items.faiss": write_index,
    "state.safetensors": write_state,
    "a.jpg": write_image,
    "a.png": write_image,
    "a.webp": write_image,
    "model": write_folder,
}


def bytes_of(path: Path) -> list[bytes]:
    return [one.read_bytes() for one in (sorted(path.iterdir()) if path.is_dir() else [path])]


def refused(write: Callable[[Path, int], None], path: Path, count: int, before: list[bytes]) -> str:
    """What is said of a file that does not fit, once the one before and no other is there."""
    with pytest.raises(StorageError) as caught:
        write(path, count)
    assert isinstance(caught.value, VaeneerError | OSError)
    assert bytes_of(path) == before
    assert list(path.parent.glob(".*.part")) == []
    said = str(caught.value)
    assert said.startswith(f"{path} ") or path.suffix == ".npy"  # ids beside it come first
    assert "it needs about" in said
    assert "are free; free some space and run it again" in said
    assert "delete" not in said
    return said


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_does_not_fit_is_refused_whoever_writes_it(tmp_path: Path, name: str) -> None:
    path, write = tmp_path / name, WRITERS[name]
    write(path, 4_000)
    before = bytes_of(path)
    with limited(64 * 1024):
        said = refused(write, path, 400_000, before)
    assert "too large" in said
    write(path, 400_000)
    assert sum(map(len, bytes_of(path))) > 64 * 1024


@pytest.mark.parametrize("name", WRITERS)
def test_no_byte_is_lost_in_silence_however_little_is_missing(disk: SmallDisk, name: str) -> None:
    """Libraries buffer their last bytes, and some do not look whether the disk took them."""
    path, write = disk.root / name, WRITERS[name]
    write(path, 4_000)
    before = bytes_of(path)
    for count in (70_000, 90_000, 150_000, 400_000):
        write(disk.root / f"whole-{name}", count)
        there = sum(map(len, bytes_of(disk.root / f"whole-{name}")))
        whole = disk.root / f"whole-{name}"
        shutil.rmtree(whole) if whole.is_dir() else whole.unlink()
        for leave in (0, there // 2, there - 5_000):
            disk.fill(leave)
            said = refused(write, path, count, before)
            assert "its disk is full" in said
            disk.free()


def test_words_of_any_library_are_taken_for_what_they_are(tmp_path: Path) -> None:
    from safetensors import SafetensorError

    full = "No space left on device"
    for error in (
        OSError(28, full),
        OSError(full),
        OSError("100000 requested and 992 written"),
        SafetensorError(f"Error while serializing: I/O error: {full} (os error 28)"),
        RuntimeError(f"write error in /a/b: 3978 != 48000 ({full})"),
    ):
        said = storage_error(error, tmp_path / "file")
        assert said is not None
        assert (said.errno, "its disk is full" in str(said)) == (28, True)
    read = storage_error(OSError(5, "Input/output error"), tmp_path / "file", verb="read")
    assert read is not None
    assert "cannot be read now (Input/output error); check its drive" in str(read)
    for other in (OSError("cannot identify image"), FileNotFoundError(2, "x"), ValueError(full)):
        assert storage_error(other, tmp_path) is None


READERS: dict[str, Callable[[Path], object]] = {
    "config.json": lambda path: read_card(path.parent),
    "model.safetensors": lambda path: load(path.parent),
    "SHA256SUMS": lambda path: load(path.parent),
    "readout.json": lambda path: load(path.parent),
    "state.safetensors": read_state,
    "items.faiss": VectorIndex.read,
    "foreign.safetensors": read_foreign_weights,
    "foreign.pth": read_foreign_weights,
    "run.json": lambda path: check_same_data(RunFolder(path.parent), ""),
}


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="no file here fails when it is read"
)
@pytest.mark.parametrize("name", READERS)
def test_a_drive_that_fails_is_told_from_damage(tmp_path: Path, name: str) -> None:
    """The start of /proc/self/mem answers EIO to whoever reads it."""
    model = find_model("surface-base")
    for file in model.iterdir():
        shutil.copy(file, tmp_path / file.name)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to("/proc/self/mem")
    with pytest.raises(StorageError, match="check its drive, and try again") as failed:
        READERS[name](tmp_path / name)
    assert str(tmp_path) in str(failed.value)
    assert not {"damaged", "delete", "overwrite"} & set(str(failed.value).split())


@pytest.mark.parametrize("read", [lambda path: read_manifest(path.parent), read_vectors])
def test_so_is_one_that_fails_within_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    write_table(tmp_path / "manifest.parquet", 4_000)

    def failing(*_: object, **__: object) -> None:
        raise OSError("Unexpected end of stream: Input/output error")

    monkeypatch.setattr(parquet, "ParquetFile", failing)
    with pytest.raises(StorageError, match="check its drive, and try again"):
        read(tmp_path / "manifest.parquet")


def test_an_index_run_that_fills_the_disk_leaves_the_library_as_it_was(
    disk: SmallDisk, paint: Painter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, library = tmp_path / "raw", disk.root / "library"
    for number in range(6):
        paint(raw / f"{number}.png", number)
    first = ["index", str(raw), "--library", str(library), "--parts", "none", "--workers", "1"]
    disk.fill(300_000)
    assert run(first) == 1  # there is no room for its model
    said = capsys.readouterr().err.replace("\n", " ")
    assert "disk is full" in said
    assert "it needs about 2." in said
    disk.free()
    assert run(first) == 0
    capsys.readouterr()
    for number in range(40):
        paint(raw / f"new-{number}.png", 100 + number)
    paint(raw / "0.png", 50)
    with Library.open(library) as opened:
        before = {item.path: item.sha256 for item in opened.items()}
    for leave in (0, 8192, 40_000, 100_000):
        disk.fill(leave)
        with pytest.raises((StorageError, LibraryUnavailableError), match="disk is full") as full:
            index(raw, library=library, settings=WHOLE)
        assert "are free" in str(full.value)
        assert "delete" not in str(full.value)
        with Library.open(library) as opened:  # and it is searched while the disk is full
            now = {item.path: item.sha256 for item in opened.items()}
            assert before.items() <= now.items() | {("0.png", before["0.png"])}
            hits = opened.search(str(raw / "3.png"), k=1)
        assert Path(hits[0].path).name == "3.png"
        disk.free()
    assert index(raw, library=library, settings=WHOLE).images == 46
    assert list(library.rglob("*.part")) == []


def test_an_index_run_that_may_not_write_says_so_and_goes_on_later(
    paint: Painter, tmp_path: Path
) -> None:
    raw, library = tmp_path / "raw", tmp_path / "library"
    for number in range(4):
        paint(raw / f"{number}.png", number)
    with limited(20_000), pytest.raises((StorageError, LibraryUnavailableError)) as full:
        index(raw, library=library, settings=WHOLE)
    assert "delete" not in str(full.value)
    assert index(raw, library=library, settings=WHOLE).images == 4


def test_training_that_found_no_room_for_its_first_state_is_started_by_the_same_command(
    data_set: Path, tmp_path: Path
) -> None:
    settings = TrainSettings(
        recipe="reference", epochs=1, workers=1, device="cpu", precision="float32",
        cache=tmp_path / "cache",
    )  # fmt: skip
    folder = RunFolder(tmp_path / "run")

    def start(*, resume: bool) -> None:
        start_run(data_set, folder, settings, resume=resume, overwrite=False, progress=Silent())

    for resume in (False, True):
        with limited(3 * MB), pytest.raises(StorageError, match=r"state\.safetensors.* about"):
            start(resume=resume)
        assert folder.facts.is_file()
        assert not folder.state.exists()
    start(resume=False)
    assert folder.state.is_file()


def test_a_folder_of_anyone_else_is_not_taken_for_a_run_that_never_began(
    data_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.toml").write_text("[mine]")
    with pytest.raises(VaeneerError, match="not empty"):
        train(data_set, out=out)
    assert (out / "config.toml").read_text() == "[mine]"


def test_a_data_set_that_found_no_room_is_made_by_the_same_command(
    disk: SmallDisk, paint: Painter, tmp_path: Path
) -> None:
    raw, out = tmp_path / "raw", disk.root / "data"
    for number in range(8):
        side_px = 200
        pixels = NOISE.integers(0, 255, (side_px, side_px, 3), dtype=np.uint8)
        raw.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(raw / f"{number}.tga")
    settings = PrepareSettings(valid_fraction=0.25, workers=1)
    for leave in (0, 4096, 300_000):
        disk.fill(leave)
        with pytest.raises(StorageError, match="its disk is full"):
            prepare(raw, out=out, settings=settings)
        disk.free()
    prepare(raw, out=out, settings=settings)
    assert len(list(out.rglob("*.png"))) == 8
    assert list(out.rglob("*.part")) == []
