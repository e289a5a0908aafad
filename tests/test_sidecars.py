"""Side-car JSON is read where its schema is known, linked where not, and never fatal."""

import json
from pathlib import Path, PurePosixPath

import pytest

from vaeneer.data.sidecars import Sidecar, match_sidecars, read_sidecar

MEGASCANS = {
    "id": "vlklbci",
    "name": "Brick Wäll",
    "categories": ["surface", "brick", "rough"],
    "tags": ["red", "old"],
}


def write(folder: Path, name: str, data: bytes) -> Sidecar:
    (folder / name).write_bytes(data)
    return read_sidecar(folder, PurePosixPath(name))


def test_megascans_fields(tmp_path: Path) -> None:
    sidecar = write(tmp_path, "a.json", json.dumps(MEGASCANS).encode())
    assert (sidecar.asset_id, sidecar.name) == ("vlklbci", "Brick Wäll")
    assert sidecar.categories == ("surface", "brick", "rough")
    assert sidecar.tags == ("red", "old")
    assert sidecar.category == "brick"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = json.dumps(MEGASCANS, ensure_ascii=False)
    assert write(tmp_path, "a.json", text.encode(encoding)).name == "Brick Wäll"


def test_the_newer_schema_with_semantic_tags(tmp_path: Path) -> None:
    value = {
        "id": "x1",
        "semanticTags": {"name": "Moss", "contains": ["moss"], "state": ["wet"]},
        "assetCategories": {"surface": {"ground": {"moss": {}}}},
    }
    sidecar = write(tmp_path, "a.json", json.dumps(value).encode())
    assert (sidecar.name, sidecar.category) == ("Moss", "ground")
    assert sidecar.tags == ("moss", "wet")


@pytest.mark.parametrize("value", [[], {}, 3, {"id": 3, "tags": []}, {"title": "x", "tags": ["y"]}])
def test_other_schemas_are_only_linked(tmp_path: Path, value: object) -> None:
    sidecar = write(tmp_path, "a.json", json.dumps(value).encode())
    assert sidecar == Sidecar(PurePosixPath("a.json"))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe{", b"[" * 100_000, b"\x80\x81"])
def test_broken_json_is_a_warning(tmp_path: Path, data: bytes) -> None:
    sidecar = write(tmp_path, "a.json", data)
    assert sidecar.warning is not None
    assert sidecar.asset_id is None


def test_a_missing_file_is_a_warning(tmp_path: Path) -> None:
    assert "cannot be read" in (read_sidecar(tmp_path, PurePosixPath("a.json")).warning or "")


def test_matched_by_name_by_id_or_alone_in_the_folder() -> None:
    by_name = Sidecar(PurePosixPath("lib/brick.json"))
    by_id = Sidecar(PurePosixPath("meta/1.json"), asset_id="VLKLBCI")
    other_id = Sidecar(PurePosixPath("meta/2.json"), asset_id="zzz")
    alone = Sidecar(PurePosixPath("moss/info.json"))
    crowd = Sidecar(PurePosixPath("many/info.json"))
    folders = {
        "lib/brick": PurePosixPath("lib"),
        "lib/Old_Brick_vlklbci": PurePosixPath("lib"),
        "moss/moss_wet": PurePosixPath("moss"),
        "many/one": PurePosixPath("many"),
        "many/two": PurePosixPath("many"),
    }
    matched = match_sidecars([by_name, by_id, other_id, alone, crowd], folders)
    assert matched == {
        "lib/brick": by_name,
        "lib/Old_Brick_vlklbci": by_id,
        "moss/moss_wet": alone,
    }
