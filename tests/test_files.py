"""Files come whole or not at all, and an output never eats its input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vaeneer.errors import OutputExistsError
from vaeneer.files import (
    atomic_dir,
    atomic_write,
    holds_anything,
    new_output_dir,
    write_json,
    write_text,
)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "ä new")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "ä new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail() -> None:
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError("as planned")

    with pytest.raises(RuntimeError, match="as planned"):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("1")

    def fail() -> None:
        with atomic_dir(tmp_path / "model", kind="model") as temporary:
            (temporary / "new").write_text("2")
            raise RuntimeError("as planned")

    with pytest.raises(RuntimeError, match="as planned"):
        fail()
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["old"]
    with atomic_dir(tmp_path / "model", kind="model") as temporary:
        (temporary / "new").write_text("2")
    assert [path.name for path in (tmp_path / "model").glob("[!.]*")] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_json_is_readable_and_finite(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "Tür", "value": 1.5})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["name"] == "Tür"
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["value"] == 1.5


def test_an_empty_or_absent_folder_is_claimed(tmp_path: Path) -> None:
    assert new_output_dir(tmp_path / "new" / "deep", kind="run").is_dir()
    assert new_output_dir(tmp_path / "new" / "deep", kind="run").is_dir()  # but for its mark, empty
    assert list(new_output_dir(tmp_path / "raw", kind=None).iterdir()) == []


def test_a_full_folder_is_refused_and_with_overwrite_emptied(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("1")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        new_output_dir(out, kind="run")
    assert (out / "a.txt").exists()
    assert not holds_anything(new_output_dir(out, kind="run", overwrite=True))
    (tmp_path / "file").write_text("1")
    with pytest.raises(OutputExistsError, match="is a file"):
        new_output_dir(tmp_path / "file", kind="run", overwrite=True)


def test_overwrite_spares_inputs_the_working_folder_and_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "data" / "valid"
    inner.mkdir(parents=True)
    (inner / "a.png").write_text("1")
    for path in (inner, tmp_path / "data", tmp_path / "data" / "." / "valid" / ".."):
        with pytest.raises(OutputExistsError, match="cannot be replaced"):
            new_output_dir(path, kind="run", overwrite=True, inputs=[inner])
    monkeypatch.chdir(inner)
    with pytest.raises(OutputExistsError, match="cannot be replaced"):
        new_output_dir(tmp_path / "data", kind="run", overwrite=True)
    with pytest.raises(OutputExistsError, match="cannot be replaced"):
        new_output_dir(Path.home().parent, kind="run", overwrite=True)
    assert (inner / "a.png").exists()
