"""What is printed: names as they are, never markup, in terminals of any encoding."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import vaeneer
from conftest import Painter
from vaeneer.cli import library_tables, tables
from vaeneer.cli.app import run
from vaeneer.cli.options import ConsoleProgress
from vaeneer.data.dataset import read_manifest
from vaeneer.text import printable

SOURCE = Path(vaeneer.__file__).parent
HOSTILE = "[wip] brick[/b] \\[x] [bold red]:cat: \x1b[31mtwo\nlines\udcfc\u202e.png"
LISTED = {"id": 1, "path": HOSTILE, "category": HOSTILE, "box": [1, 2, 3, 4]}
FOUND = LISTED | {
    "score": 0.5,
    "match": None,
    "probability": None,
    "confidence": 1.0,
    "change": HOSTILE,
    "relation": "near",
    "missing": True,
    "offline": True,
    "redundant": True,
    "decision": "redundant",
    "keep_path": HOSTILE,
    "maps": [HOSTILE],
    "sidecar": True,
    "link": HOSTILE,
    "same_file": None,
}
TABLES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "hits": (
        library_tables.hits,
        {
            "query": {"images": [HOSTILE], "words": None, "box": None, "compared": "parts"},
            "hits": [FOUND],
            "matches": {"similar": 1},
            "gallery_size": 1,
            "parts_pending": 0,
            "sheet": HOSTILE,
        },
    ),
    "copies": (
        library_tables.copies,
        {
            "library": HOSTILE,
            "root": HOSTILE,
            "groups": [{"id": 1, "kind": "near", "keep": "other", "items": [FOUND]}],
            "groups_by_kind": {"near": 1},
            "total_groups": 1,
            "images": 2,
            "page": 1,
            "pages": 1,
            "redundant_files": 1,
            "redundant_bytes": 1,
            "skipped": {HOSTILE: HOSTILE},
            "seconds": 1.0,
        },
    ),
    "drawn": (library_tables.drawn, {"out": HOSTILE, "library": HOSTILE}),
    "clusters": (
        library_tables.clusters,
        {
            "library": HOSTILE,
            "clusters": [
                {"id": 0, "size": 2, "name": HOSTILE, "named_by": "tag", "central": HOSTILE}
            ],
            "items": 2,
            "unclustered": [],
            "seconds": 1.0,
        },
    ),
    "strange": (
        library_tables.strange,
        {
            "library": HOSTILE,
            "outliers": [{"score": 1.0, "kind": "blank", "path": HOSTILE, "reason": HOSTILE}],
            "found": 1,
            "items": 2,
            "seconds": 1.0,
        },
    ),
    "inspection": (
        tables.inspection,
        {"kind": "images", "path": HOSTILE, "facts": {HOSTILE: HOSTILE, "many": [HOSTILE] * 12}},
    ),
    "preparation": (
        tables.preparation,
        {
            "raw": HOSTILE,
            "skipped": {HOSTILE: 1},
            "skipped_files": [(HOSTILE, HOSTILE)],
            "notes": [],
            "warnings": [HOSTILE],
        },
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_show_names_as_they_are(name: str) -> None:
    table, values = TABLES[name]
    stream = io.StringIO()
    Console(file=stream, width=5000).print(table(values))  # one that reads markup and emoji
    shown = stream.getvalue()
    assert shown.count(printable(HOSTILE)) >= 1
    for part in ("[/b]", ":cat:", "\\[x]"):
        assert shown.count(part) == shown.count("[wip]")
    assert not any(sign in shown for sign in "\x1b\udcfc\u202e")


def test_bars_and_lines_show_names_as_they_are() -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(Console(file=stream, width=500, force_terminal=True))
    with progress.bar(HOSTILE, total=2, unit="images") as bar:
        bar.advance(note=HOSTILE)
        progress.say(HOSTILE)
    for line in (line for line in stream.getvalue().splitlines() if "wip" in line):
        assert printable(HOSTILE) in line


def test_all_that_is_shown_goes_through_the_helpers_that_know_no_markup() -> None:
    homes = {"Console": "cli/options.py", "Table": "cli/tables.py", "Group": "cli/tables.py"}
    for file in SOURCE.rglob("*.py"):
        where = file.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich"):
                assert node.module != "rich.markup", file
                for name in node.names:
                    assert homes.get(name.name, where) == where, file


@pytest.mark.parametrize(
    "arguments",
    [
        ["stats", HOSTILE],
        ["index", HOSTILE, "--library", "lib"],
        ["prepare", "raw", "--out", "data", "--config", HOSTILE],
        ["index", "raw", "--library", "lib", "--parts", HOSTILE],
        [HOSTILE],
        ["search", "lib", "1", "-k", HOSTILE],
    ],
    ids=lambda arguments: arguments[0][:6],
)
def test_an_error_is_one_line_that_shows_the_name_as_it_is(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printable(HOSTILE) in printed.err


def test_options_of_every_command_may_follow_the_images_of_a_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.toml"
    for asked in (["--config", str(missing)], [f"--config={missing}"]):
        assert run(["search", "lib", "a.png", *asked]) == 1
        assert "missing.toml cannot be read" in capsys.readouterr().err
    assert run(["search", str(tmp_path), "--", "--config"]) == 1
    assert "is not a library" in capsys.readouterr().err


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, paint: Painter) -> Path:
    """A library `lib` of three pictures, two of them equal, in a folder `K\u00e4se [wip]`."""
    folder = tmp_path_factory.mktemp("terminal") / "K\u00e4se [wip]"
    for name in ("\N{CJK UNIFIED IDEOGRAPH-6728}.png", "\u00e9\u2026\N{DEGREE SIGN}.png"):
        paint(folder / "raw" / name, 1)
    paint(folder / "raw" / "oak.png", 2)
    assert (
        run(["index", str(folder / "raw"), "--library", str(folder / "lib"), "--parts", "none"])
        == 0
    )
    return folder / "lib"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_no_command_dies_of_the_encoding_of_the_terminal(library: Path, encoding: str) -> None:
    raw, folder = library.parent / "raw", library.parent
    commands = [
        ["--help"],
        ["search", "--help"],
        ["index", raw, "--library", library],
        ["search", library, raw / "oak.png"],
        ["search", library, "1", "--json"],
        ["duplicates", library],
        ["prepare", raw, "--out", folder / f"data-{encoding}"],
        ["stats", library],
        ["stats", folder / "n\u00f6t \N{CJK UNIFIED IDEOGRAPH-6728}"],
    ]
    asked = [[str(word) for word in command] for command in commands]
    code = f"from vaeneer.cli.app import run\nassert [run(c) for c in {asked!a}] == [0] * 8 + [1]"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "300"},
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding) + done.stderr.decode(encoding)
    assert "\\u6728.png" in shown
    spelled = "\\xe9... degrees.png" if encoding == "ascii" else "\u00e9\u2026\N{DEGREE SIGN}.png"
    assert spelled in shown
    assert "K\\xe4se [wip]" in shown if encoding == "ascii" else "K\u00e4se [wip]" in shown
    assert "Traceback" not in shown
    assert "MarkupError" not in shown


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode there")
def test_names_are_utf8_in_every_locale(library: Path, tmp_path: Path) -> None:
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "vaeneer", "prepare", library.parent / "raw", "--out", tmp_path],
        capture_output=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert "\u00e9\u2026\N{DEGREE SIGN}.png" in {row.path for row in manifest.rows}


def test_what_goes_into_a_file_is_not_wrapped(
    library: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    capsys.readouterr()
    assert run(["search", str(library), "1", "-k", "1"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " 1 " in line]
    assert f"{library.parent / 'raw'}{os.sep}" in line


def test_reasons_are_few_lines_and_all_that_is_no_image_is_one() -> None:
    counts = {f"not an image file (.{ending})": 1 for ending in "abcdefg"}
    counts |= {"not an image file (.blend)": 9, "thumbnails": 20, "recycle bin": 2}
    assert list(tables.by_reason(counts).items()) == [
        ("thumbnails", 20),
        ("not an image file (.blend, .a, .b, .c, .d and 3 more kinds)", 16),
        ("recycle bin", 2),
    ]
    assert tables.by_reason({"not an image file (.txt)": 3}) == {"not an image file (.txt)": 3}
