"""Names, texts and dates of any kind, from the folder to the answers and back.

Every file is an item under a path that opens it, or is listed with a reason, and the counts add up.
"""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import Painter
from live_server import live
from vaeneer.cli.app import run
from vaeneer.data.dataset import MANIFEST_NAME, open_folder, read_manifest, write_manifest
from vaeneer.data.decode_worker import DecodedImage
from vaeneer.data.exclusion import ScanRules
from vaeneer.data.images import read_rgb
from vaeneer.data.prepare import prepare
from vaeneer.data.scan import FoundFile, scan_folder
from vaeneer.evaluation.plots import save_grid
from vaeneer.files import write_json
from vaeneer.inspection import stats
from vaeneer.library.catalog import Catalog
from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.index.changes import changes_since, list_folder
from vaeneer.library.index.index import index, write_errors
from vaeneer.library.index.writer import record_changes, record_images
from vaeneer.library.library import Library
from vaeneer.serving.schemas import DatedFile
from vaeneer.settings import IndexSettings, PrepareSettings
from vaeneer.text import encodable, is_utf8, printable

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="names are any bytes on Linux alone"
)

STEMS = [
    b"[wip] brick", b"x[", b"a:cat:", b"-k", b"--help", b"CON", b"con.aux", b"dots..", b"space ",
    b" space", b"<img src=x onerror=alert(1)>", b"<script>", b"&amp;\"'", b"100% _wood_ #1?&=+",
    b"two\nlines", b"tab\tand\rreturn", b"red\x1b[31m", b"bell\x07", b"x\xc2\x85y", b"gr\xfcn",
    b"\xff\xfe", b"\xed\xa0\x80", b"\xed\xb3\xbc", b"\xc0\xaf", b"\xf0\x9f\xaa\xb5",
    b"\xe2\x80\xaegpj.exe", b"\xe2\x80\xa8", b"Ka\xcc\x88se", b"K\xc3\xa4se", b"K\xc3\x84SE",
    b"back\\slash", b"..%2f..%2fetc", b"$x_$", b"{{ 7*7 }}", b"'; DROP TABLE items; --", b"*?~",
    b"\xef\xbb\xbfbom", b"\xef\xbf\xbe", b"\xf4\x8f\xbf\xbf", b"n" * 240, b"\xc3\xa4" * 120,
]  # fmt: skip
SUFFIXES = [b".png"] * 8 + [b".PNG", b".jpg", b".tif", b".json", b".exr", b".txt", b".t\xfct", b""]
TIMES_NS = [
    0, -1, 1, -(2**63), 2**63 - 1, -(10**18) * 7, 253_402_300_800 * 10**9, 10_413_792_000 * 10**9,
    -62_135_596_801 * 10**9, 1_700_000_000_123_456_789,
]  # fmt: skip
_NAMES = st.one_of(
    st.sampled_from(STEMS),
    st.binary(min_size=1, max_size=30),
    st.text(st.characters(codec=None), min_size=1, max_size=20).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    ),
)


def _named(name: bytes) -> bytes:
    """A name that may stand in a folder and is not hidden."""
    clean = name.replace(b"/", b"_").replace(b"\0", b"_")[:245]
    return b"x" + clean if clean.startswith(b".") else clean


FILES = st.lists(
    st.tuples(
        st.lists(_NAMES.map(_named), max_size=2),
        _NAMES.map(_named),
        st.sampled_from(SUFFIXES),
        st.sampled_from(TIMES_NS),
    ),
    min_size=1,
    max_size=14,
)


def _written(root: Path, files: list[Any], contents: list[bytes]) -> int:
    """Write files under `root`, as far as the file system takes their names; how many."""
    count = 0
    for number, (folders, stem, suffix, time_ns) in enumerate(files):
        path = root.joinpath(*(Path(os.fsdecode(one)) for one in [*folders, stem + suffix]))
        with suppress(OSError):  # a name that is a file and a folder
            path.parent.mkdir(parents=True, exist_ok=True)
            new = not path.exists()
            path.write_bytes(contents[number % len(contents)])
            count += new
            with suppress(OverflowError, OSError):
                os.utime(path, ns=(time_ns, time_ns))
    return count


@contextmanager
def _folder() -> Iterator[Path]:
    """A new folder whose own name is not UTF-8."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / os.fsdecode(b"h\xfc [wip]")
        folder.mkdir()
        yield folder


def _strict(path: Path) -> Any:
    """The JSON in a file, read as strictly as any program does."""
    value = json.loads(path.read_bytes().decode("utf-8"))
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _opens(root: Path, found: FoundFile) -> bool:
    assert is_utf8(found.path.as_posix())
    assert -(2**63) <= found.mtime_ns < 2**63
    return (root / found.path).samefile(found.file)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(FILES)
def test_any_folder_is_listed_whole_and_can_be_stored(files: list[Any]) -> None:
    with _folder() as folder:
        root, target = folder / "raw", folder / "lib"
        root.mkdir()
        count = _written(root, files, [b""])
        scan = scan_folder(root)
        assert all(_opens(root, found) for found in scan.images)
        assert len(scan.images) + len(scan.sidecars) + sum(scan.others.values()) == count
        assert all(printable(path) == path for path, _ in scan.left_out)

        catalog = Catalog.create(target)
        listing = list_folder(root, target, ScanRules())
        changes = changes_since(catalog, listing, root)
        record_changes(catalog, listing, changes)
        record_images(catalog, [(f, "", DecodedImage("x")) for f in changes.fresh.values()], {})
        again = changes_since(catalog, list_folder(root, target, ScanRules()), root)
        assert (again.failed_before, len(again.fresh)) == (len(listing.files), 0)
        catalog.set_meta("root", str(root))
        assert catalog.root == root
        write_errors(target / "errors.csv", catalog)
        catalog.close()
        with (target / "errors.csv").open(encoding="utf-8", newline="") as stream:
            told = {row["path"] for row in csv.DictReader(stream)}
        assert told == {*listing.files, *(path for path, _ in listing.left_out)}

        write_manifest(folder, listing.rows, {"raw": str(root)})
        manifest = read_manifest(folder)
        assert manifest is not None
        assert manifest.rows == listing.rows
        write_json(folder / "scan.json", {"raw": str(root), **scan.others})
        assert _strict(folder / "scan.json")["raw"] == printable(str(root))


class _Tags(HTMLParser):
    """Names and attributes of the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen |= {tag, *(f"@{name}" for name, _ in attrs)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, paint: Painter) -> list[bytes]:
    """Four small PNG files."""
    folder = tmp_path_factory.mktemp("pictures")
    return [paint(folder / f"{n}.png", n, side_px=28).read_bytes() for n in range(4)]


def _check_prepared(root: Path, data: Path, count: int) -> None:
    report = prepare(root, out=data, settings=PrepareSettings(min_side_px=16, workers=1))
    scan = scan_folder(root)
    images = report.kept + report.maps + report.exact_duplicates
    skipped = sum(report.skipped.values())
    assert images + skipped + report.sidecars == count
    assert report.scanned == len(scan.images) == images + skipped - sum(scan.others.values())
    assert _strict(data / "report.json")["kept"] == report.kept
    manifest = read_manifest(data)
    assert manifest is not None
    assert all(stat.S_ISREG((root / row.path).stat().st_mode) for row in manifest.rows)
    assert len(open_folder(data / "train")) == report.train
    assert prepare(root, out=data, settings=PrepareSettings(min_side_px=16)).decoded == 0


def _check_indexed(root: Path, target: Path, model: Path, count: int) -> None:
    chosen = IndexSettings(min_side_px=16, parts="none", workers=1, device="cpu")
    report = index(root, library=target, model=model, settings=chosen)
    maps = sum(stats(target).maps.values())
    scan = scan_folder(root)
    unread = sum(report.left_out.values()) - sum(scan.others.values())  # side-cars, listed too
    assert 0 <= unread <= len(scan.sidecars)
    listed = report.images + len(report.skipped) + sum(report.left_out.values())
    assert listed + maps + len(scan.sidecars) - unread == count
    _strict(target / "library.json")
    assert index(root, library=target, settings=chosen).unchanged == report.images
    with Library.open(target) as library:
        items = library.items()
        for item in items:
            assert library.path(item).read_bytes()
            assert library.thumbnail(item).is_file()
        for hit in library.search(library.path(items[0]), k=50):
            assert Path(hit.path).is_file()
        assert len(library.search(items[-1].id, k=50)) == len(items) - 1
    page = target / "page.html"
    found = duplicates(target, out_html=page, out_csv=target / "groups.csv")
    assert all(
        (Path(found.root) / item.path).is_file() for group in found.groups for item in group.items
    )
    assert "group" in (target / "groups.csv").read_text(encoding="utf-8")
    tags = _Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    assert not tags.seen & {"script", "@onerror", "x"}


def _check_served(target: Path) -> None:
    with live([target]) as url, httpx.Client(base_url=url, timeout=60) as client:
        (library,) = client.get("/api/v1/libraries").json()["libraries"]
        items = client.get("/api/v1/items", params={"limit": 500, "sort": "newest"}).json()["items"]
        assert len(items) == library["items"]
        for item in items:
            details = client.get(f"/api/v1/items/{item['id']}")
            assert details.json()["path"] == item["path"]
            for address in (item["thumbnail"], item["original"], f"{item['original']}&max_px=16"):
                answer = client.get(address)
                assert answer.status_code == 200, answer.text
                assert answer.headers["content-type"].startswith("image/")
        hits = client.get("/api/v1/search", params={"item": items[0]["id"], "k": 50}).json()["hits"]
        assert len(hits) == len(items) - 1


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(files=FILES)
def test_any_folder_goes_the_whole_way(
    files: list[Any], pictures: list[bytes], model: Path
) -> None:
    with _folder() as folder:
        root = folder / os.fsdecode(b"r\xe4w")
        root.mkdir()
        always = [([b"a"], b"plain", b".png", 0), ([], b"b [/b]".replace(b"/", b"]"), b".png", 1)]
        count = _written(root, [*always, *files], pictures)
        _check_prepared(root, folder / os.fsdecode(b"d\xe4ta"), count)
        _check_indexed(root, folder / os.fsdecode(b"l\xefb"), model, count)
        _check_served(folder / os.fsdecode(b"l\xefb"))


@pytest.fixture(scope="module")
def hostile(
    tmp_path_factory: pytest.TempPathFactory, pictures: list[bytes], model: Path
) -> tuple[Path, Path]:
    """A folder with every stem above, and a library of it, as far as they are UTF-8."""
    folder = tmp_path_factory.mktemp("stems") / os.fsdecode(b"h\xfc\n[wip]")
    raw = folder / os.fsdecode(b"r\xe4w\n[b]")
    files: list[Any] = [([b"x\n[y]"], stem, b".png", 0) for stem in STEMS]
    _written(raw, files, pictures)
    chosen = IndexSettings(min_side_px=16, parts="none", device="cpu")
    index(raw, library=folder / "lib", model=model, settings=chosen)
    return raw, folder / "lib"


def test_paths_are_printed_byte_by_byte_and_xargs_takes_them(
    hostile: tuple[Path, Path], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    capfdbinary.readouterr()
    for flag in ("-0", "--null"):
        assert run(["search", str(hostile[1]), "1", "-k", "99", "--paths", flag]) == 0
        printed = capfdbinary.readouterr().out
    listed = subprocess.run(
        ["xargs", "-0", "ls", "-d", "--zero"], input=printed, capture_output=True, check=True
    )
    assert sorted(listed.stdout.split(b"\0")) == sorted(printed.split(b"\0"))
    with Library.open(hostile[1]) as library:
        others = [os.fsencode(library.path(item)) for item in library.items()[1:]]
    assert set(printed.split(b"\0")) >= {path for path in others if b"two\nlines" in path}
    assert run(["search", str(hostile[1]), "1", "-k", "1", "--paths"]) == 0
    assert Path(os.fsdecode(capfdbinary.readouterr().out[:-1])).is_file()


def test_a_file_whose_name_is_not_utf8_can_be_asked_by(
    hostile: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (query,) = [path for path in hostile[0].rglob("*.png") if "\udcfcn" in path.name]
    assert run(["search", str(hostile[1]), str(query), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["query"]["images"] == [encodable(str(query))]


def test_names_are_drawn_in_pictures(hostile: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"m\xe4p.png")
    assert run(["map", str(hostile[1]), "--out", str(out), "--colour", "category"]) == 0
    sheet = tmp_path / "sheet.png"
    assert run(["search", str(hostile[1]), "1", "--sheet", str(sheet)]) == 0
    captions = [os.fsdecode(stem) for stem in STEMS]
    tile = np.zeros((24, 24, 3), np.uint8)
    grid = save_grid([tile] * len(STEMS), tmp_path / "grid.png", columns=8, captions=captions)
    for picture in (out, sheet, grid):
        assert read_rgb(picture).width > 24


@pytest.mark.parametrize("name", ["gr\udcfcn/z.json", "a/br\udcfcck.json", "notes.t\udcfct"])
def test_a_file_that_is_no_picture_stops_nothing(
    name: str, tmp_path: Path, pictures: list[bytes], model: Path
) -> None:
    """Names that are not UTF-8, of a side-car that is broken, of one that is not, of a note."""
    raw = tmp_path / "raw"
    for number, content in enumerate(pictures[:2]):
        (raw / f"a{number}").mkdir(parents=True)
        (raw / f"a{number}" / "g.png").write_bytes(content)
    (raw / name).parent.mkdir(exist_ok=True)
    (raw / name).write_bytes(b"{broken" if "z" in name else b'{"id": "x", "tags": ["y"]}')
    assert run(["prepare", str(raw), "--out", str(tmp_path / "data"), "--min-side-px", "16"]) == 0
    reasons = _strict(tmp_path / "data" / "report.json")["skipped"]
    counted = index(
        raw,
        library=tmp_path / "lib",
        model=model,
        settings=IndexSettings(min_side_px=16, parts="none", device="cpu"),
    )
    assert counted.images == 2
    assert reasons == counted.left_out == {"file name is not UTF-8": 1}


def test_an_impossible_date_stops_nothing(
    tmp_path: Path, pictures: list[bytes], model: Path
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, content in enumerate(pictures):
        (raw / f"g{number}.png").write_bytes(content)
    for number, seconds in enumerate((10_413_792_000, -62_135_596_800, 10**12, -(10**12))):
        with suppress(OSError):  # a file system that has no such time keeps its nearest
            os.utime(raw / f"g{number}.png", (seconds, seconds))
    _check_prepared(raw, tmp_path / "data", 4)
    _check_indexed(raw, tmp_path / "lib", model, 4)
    _check_served(tmp_path / "lib")
    vectors = tmp_path / "v.parquet"
    for _ in range(2):
        arguments = ["embed", str(model), str(raw), "--out", str(vectors), "--overwrite"]
        assert run([*arguments, "--vectors", "latent"]) == 0
    assert (tmp_path / "data" / MANIFEST_NAME).is_file()


@pytest.mark.parametrize("seconds", [-(10**13), -1, 0, 10_413_792_000, 10**13])
def test_any_time_of_a_file_can_be_said_in_a_header(seconds: int, tmp_path: Path) -> None:
    facts = os.stat_result((0o100644, 1, 1, 1, 0, 0, 3, seconds, seconds, seconds))
    headers = DatedFile(tmp_path / "x.png", media_type="image/png", stat_result=facts).headers
    assert parsedate_to_datetime(headers["last-modified"]).year in (1970, 2299, 2300, 9999)
    assert headers["content-length"] == "3"
