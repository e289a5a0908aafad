"""vaeneer doctor: what is damaged, how to mend it, and that mending works."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaeneer
from vaeneer.checksums import STAMP_KEY
from vaeneer.cli.app import run
from vaeneer.data.dataset import open_folder
from vaeneer.data.pixel_cache import PackLayout, default_cache, open_pack
from vaeneer.errors import DataError, LibraryUnavailableError
from vaeneer.library import catalog_file, catalog_schema
from vaeneer.library.embed.tables import VectorTable, write_vectors
from vaeneer.model.bundled_models import BOX
from vaeneer.model.checkpoint import build
from vaeneer.model.embedder import Embedder
from vaeneer.settings import IndexSettings, PrepareSettings, TrainSettings
from vaeneer.training.resume_state import TrainState, save_state
from vaeneer.training.run_folder import RunFolder

FEW = IndexSettings(parts="none", min_side_px=16, workers=1)


def surfaces(folder: Path, count: int = 5) -> Path:
    folder.mkdir(parents=True)
    random = np.random.default_rng(8)
    for number in range(count):
        coarse = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64)).save(folder / f"surface_{number}.png")
    return folder


@pytest.fixture(scope="module", autouse=True)
def embedded() -> Iterator[list[int]]:
    """One warm model for all tests here, and how many views it embedded."""
    warm = Embedder("surface-base", device="cpu", precision="float32")
    counts: list[int] = []
    embed = warm.embed

    def counted(images: torch.Tensor) -> np.ndarray:
        counts.append(len(images))
        return embed(images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaeneer.library.index.embed_files.Embedder", lambda *_, **_settings: warm)
        patch.setattr(warm, "embed", counted)
        yield counts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, embedded: list[int]) -> Path:
    """A folder of images and its library."""
    folder = tmp_path_factory.mktemp("doctor")
    surfaces(folder / "images")
    vaeneer.index(folder / "images", library=folder / "library", settings=FEW)
    return folder


@pytest.fixture
def library(made: Path, tmp_path: Path) -> Path:
    """A copy of the library that may be damaged."""
    return Path(shutil.copytree(made / "library", tmp_path / "library"))


def flip(path: Path, at: float = 0.5) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 0x40
    path.write_bytes(data)


def hits(library: Path) -> list[tuple[str, float]]:
    with vaeneer.Library.open(library) as opened:
        paths = [opened.path(item) for item in opened.items()]
        return [(hit.path, hit.score) for path in paths for hit in opened.search(path)]


def test_a_whole_library_has_no_findings(made: Path) -> None:
    report = vaeneer.doctor(made / "library")
    assert (report.kind, report.findings, report.healthy) == ("library", [], True)


@pytest.mark.parametrize(
    "name",
    [
        "catalog.sqlite",
        "items.faiss",
        "crops.faiss",
        "library.json",
        "model/model.safetensors",
        "model/config.json",
        "model/readout.safetensors",
        "model/SHA256SUMS",
        "thumbs",
    ],
)
def test_damage_to_a_library_is_found_and_mended(made: Path, library: Path, name: str) -> None:
    right = hits(made / "library")
    damaged = next(library.glob("thumbs/*/*.webp")) if name == "thumbs" else library / name
    flip(damaged)
    before = damaged.read_bytes()
    report = vaeneer.doctor(library)
    (finding,) = report.findings
    assert not report.healthy
    assert finding.path in (str(damaged), str(damaged.parent))
    assert "vaeneer index" in finding.remedy
    assert damaged.read_bytes() == before  # nothing is changed without --mend
    mended = vaeneer.doctor(library, mend=True)
    assert mended.healthy
    assert [one.mended for one in mended.findings] == [True]
    assert vaeneer.doctor(library).findings == []
    assert hits(library) == right


def test_a_damaged_catalog_gives_its_whole_vectors_to_the_new_one(
    made: Path, library: Path, embedded: list[int]
) -> None:
    right = hits(made / "library")
    data = bytearray((library / "catalog.sqlite").read_bytes())
    with vaeneer.Library.open(library) as opened:
        (vector,) = opened.catalog.execute("SELECT vector FROM crops WHERE id = 3").fetchone()
    data[data.index(vector) + 5] ^= 0x40
    (library / "catalog.sqlite").write_bytes(data)
    with pytest.raises(vaeneer.VaeneerError, match="vaeneer index"):
        hits(library)
    embedded.clear()
    vaeneer.index(made / "images", library=library, settings=FEW)
    assert len(embedded) == 1  # the one item whose vector was damaged
    found = hits(library)
    assert [path for path, _ in found] == [path for path, _ in right]
    assert [score for _, score in found] == pytest.approx([s for _, s in right], abs=1e-5)
    assert (library / "catalog.damaged.sqlite").read_bytes() == data


def test_another_librarys_catalog_is_not_answered_from(
    made: Path, library: Path, tmp_path: Path
) -> None:
    images = surfaces(tmp_path / "others", 3)
    vaeneer.index(images, library=tmp_path / "other", settings=FEW)
    shutil.copyfile(tmp_path / "other" / "catalog.sqlite", library / "catalog.sqlite")
    with pytest.raises(vaeneer.VaeneerError, match="of another library"):
        hits(library)
    assert "another library" in vaeneer.doctor(library).findings[0].problem
    assert vaeneer.doctor(library, mend=True).healthy
    right = hits(made / "library")  # its vectors were computed in other batches
    assert hits(library) == [(path, pytest.approx(score, abs=1e-5)) for path, score in right]


def make_older(library: Path) -> None:
    """Take from a library what versions before the checksums did not write."""
    connection = sqlite3.connect(library / "catalog.sqlite")
    connection.executescript(
        "UPDATE crops SET checksum = NULL; UPDATE items SET checksum = NULL; DROP TABLE files;"
        "DELETE FROM state WHERE key IN ('library', 'finished_ns');"
        "ALTER TABLE crops DROP COLUMN checksum; ALTER TABLE items DROP COLUMN checksum;"
        "ALTER TABLE items DROP COLUMN pending;"
        "PRAGMA user_version = 3; VACUUM;"
    )
    connection.close()
    facts = json.loads((library / "library.json").read_text())
    older = {name: facts[name] for name in facts if name not in (STAMP_KEY, "library", "rules")}
    (library / "library.json").write_text(json.dumps(older | {"format": 1}))
    for name in ("seal.json", "checked.json", "model/SHA256SUMS"):
        (library / name).unlink()


def test_a_library_of_an_older_version_gets_its_checksums(made: Path, library: Path) -> None:
    right = hits(made / "library")
    make_older(library)
    assert hits(library) == right
    report = vaeneer.index(made / "images", library=library, settings=FEW)
    assert report.unchanged == 5
    assert hits(library) == right
    assert vaeneer.doctor(library).findings == []
    with vaeneer.Library.open(library) as opened:
        sql = "SELECT count(*) FROM crops WHERE checksum IS NULL"
        assert opened.catalog.execute(sql).fetchone() == (0,)


def test_a_whole_library_of_an_older_version_has_no_findings(library: Path, made: Path) -> None:
    make_older(library)
    (library / "duplicates.json").write_text('{"version": 1, "groups": []}')
    assert vaeneer.doctor(library).findings == []
    assert (library / "seal.json").is_file()  # a search has nothing to check again
    assert vaeneer.doctor(library, mend=True).findings == []
    layout = [vaeneer.map(library, out=library.parent / "map.html"), library / "map.npz"][1]
    places = layout.read_bytes()
    vaeneer.index(made / "images", library=library, settings=FEW)
    assert layout.read_bytes() == places  # the library has been one and the same
    assert vaeneer.doctor(library).findings == []
    (library / "library.json").write_text('{"format": 1, "root": "/elsewhere"}')
    assert len(vaeneer.doctor(library).findings) == 1  # it is older than the rest


def test_processes_that_open_an_older_library_at_once_do_not_take_it_for_damaged(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_older(library)
    read, others = catalog_schema.version, [library]

    def while_another_is_first(connection: sqlite3.Connection) -> int:
        found = read(connection)
        if others:
            vaeneer.Library.open(others.pop()).close()
        return found

    monkeypatch.setattr(catalog_schema, "version", while_another_is_first)
    with vaeneer.Library.open(library) as opened:
        assert len(opened) == 5
    assert vaeneer.doctor(library).findings == []


def test_a_library_that_cannot_be_read_now_is_not_called_damaged(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_older(library)
    monkeypatch.setattr(catalog_file, "_BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(library / "catalog.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LibraryUnavailableError, match="locked by another process"):
            vaeneer.doctor(library)
        other.rollback()
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(LibraryUnavailableError, match="update vaeneer"):
        vaeneer.doctor(library)


def test_sums_that_other_programs_wrote_are_read(tmp_path: Path) -> None:
    shutil.copytree(BOX / "surface-base", tmp_path / "model")
    sums = tmp_path / "model" / "SHA256SUMS"
    whole = sums.read_text()
    for text in (
        whole.replace("\n", "\r\n"),
        whole.replace("  ", " *"),
        whole.replace("  ", "  ./") + "\n\n",
        "\ufeff" + "\n".join(line[:64].upper() + line[64:] for line in whole.splitlines()),
    ):
        sums.write_bytes(text.encode())
        assert vaeneer.doctor(tmp_path / "model").findings == []
        sums.write_bytes(text.replace(text[3], "0" if text[3] != "0" else "1", 1).encode())
        assert not vaeneer.doctor(tmp_path / "model").healthy


def test_a_model_is_checked(tmp_path: Path) -> None:
    assert vaeneer.doctor("surface-base").healthy
    shutil.copytree(BOX / "surface-base", tmp_path / "model")
    flip(tmp_path / "model" / "model.safetensors")
    report = vaeneer.doctor(tmp_path / "model", mend=True)
    assert report.kind == "model"
    assert [finding.mended for finding in report.findings] == [False]


def test_a_run_is_checked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.root.mkdir()
    folder.write_config(tmp_path, TrainSettings())
    folder.write_facts({"data": {"fingerprint": "ab" * 32}})
    folder.append_metrics({"epoch": 1, "step": 10})
    vae = build("surface", seed=1)
    save_state(folder.state, vae, None, torch.optim.Adam(vae.parameters()), TrainState())
    shutil.copytree(BOX / "surface-base", folder.best)
    assert vaeneer.doctor(folder.root).to_dict()["findings"] == []
    for file in (folder.state, folder.facts, folder.metrics, folder.best / "model.safetensors"):
        flip(file)
    report = vaeneer.doctor(folder.root)
    assert report.kind == "run"
    assert len(report.findings) == 4
    assert not report.healthy
    with pytest.raises(vaeneer.VaeneerError, match="SHA-256"):
        vaeneer.info(folder.root)


def test_a_data_set_and_its_cache_are_checked_and_mended(tmp_path: Path) -> None:
    surfaces(tmp_path / "raw", 8)
    out = tmp_path / "data"
    vaeneer.prepare(tmp_path / "raw", out=out, settings=PrepareSettings(min_side_px=16, workers=1))
    open_pack(open_folder(out / "train"), PackLayout(48), workers=1)
    assert vaeneer.doctor(out).findings == []
    image = next((out / "train").rglob("*.png"))
    right = image.read_bytes()
    image.unlink()
    image.write_bytes(right[:-7] + b"damaged")
    (pixels,) = default_cache(out / "train").rglob("pixels-*.bin")
    flip(pixels)
    report = vaeneer.doctor(out, mend=True)
    assert report.kind == "data set"
    assert len(report.findings) == 2
    assert report.healthy
    assert image.read_bytes() == right
    assert vaeneer.doctor(out).findings == []
    cache = vaeneer.doctor(default_cache(out))  # empty now: decoded again when it is needed
    assert (cache.kind, cache.findings) == ("cache", [])


def test_a_table_of_vectors_is_checked(tmp_path: Path) -> None:
    import pyarrow

    names = pyarrow.table({name: ["a", "b"] for name in ("file", "asset", "category")})
    file = tmp_path / "vectors.parquet"
    write_vectors(file, VectorTable(names, np.eye(2, dtype=np.float32), {"model": "x"}))
    assert vaeneer.doctor(file).findings == []
    flip(file, 0.2)
    assert "vaeneer embed" in vaeneer.doctor(file).findings[0].remedy


def test_the_command_says_what_is_damaged_and_exits_with_1(
    library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", str(library)]) == 0
    assert "nothing is damaged" in capsys.readouterr().out
    flip(library / "items.faiss")
    assert run(["doctor", str(library), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["healthy"], len(report["findings"])) == ("library", False, 1)
    assert run(["doctor", str(library), "--mend"]) == 0
    assert "1 mended" in capsys.readouterr().out


def test_what_vaeneer_did_not_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name one"):
        vaeneer.doctor(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        vaeneer.doctor(tmp_path / "absent")
