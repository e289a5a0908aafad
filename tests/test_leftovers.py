"""What killed runs left is removed by the next one, and nothing that is still being written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vaeneer.data.prepare import prepare
from vaeneer.errors import OutputExistsError
from vaeneer.files import (
    atomic_dir,
    atomic_write,
    holds_anything,
    new_output_dir,
    remove_leftovers,
    write_text,
)
from vaeneer.library.index.index import index
from vaeneer.settings import IndexSettings, PrepareSettings

Painter = Callable[[Path, int], Path]
pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no SIGKILL, and no locks of this kind"
)
KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from vaeneer import files

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

"""


def killed(code: str, *words: object) -> None:
    """Run code in another process, which is killed in it."""
    program = [sys.executable, "-c", KILLED_AFTER + code, *map(str, words)]
    assert subprocess.run(program, check=False).returncode == -9


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.part"))


def test_the_next_writer_removes_files_and_folders_of_killed_ones(tmp_path: Path) -> None:
    code = (
        "with files.atomic_write(Path(sys.argv[1])) as file,"
        " files.atomic_dir(Path(sys.argv[2]), kind='model'):\n"
        "    file.write_text('half'); killed()"
    )
    killed(code, tmp_path / "a.txt", tmp_path / "model")
    assert len(leftovers(tmp_path)) == 2
    code = "files.write_text(Path(sys.argv[1]), 'new')"
    subprocess.run([sys.executable, "-c", KILLED_AFTER + code, tmp_path / "b.txt"], check=True)
    assert [one.name for one in tmp_path.iterdir()] == ["b.txt"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    code = (
        "with files.atomic_write(Path(sys.argv[1])) as one,"
        " files.atomic_dir(Path(sys.argv[2]), kind='model') as two:\n"
        "    one.write_text('whole'); (two / 'b').write_text('whole')\n"
        "    print('writing', flush=True); sys.stdin.readline()\n"
    )
    program = [sys.executable, "-c", KILLED_AFTER + code, tmp_path / "a", tmp_path / "folder"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(program, text=True, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        with atomic_write(tmp_path / "own") as own, atomic_dir(tmp_path / "dir", kind="run"):
            assert remove_leftovers(tmp_path) == 0
            assert own.exists()
        assert len(leftovers(tmp_path)) == 2
        process.communicate("\n")
    assert process.returncode == 0
    assert (tmp_path / "a").read_text() == (tmp_path / "folder" / "b").read_text() == "whole"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    ["x.part", ".x.part", ".x.0123456789.part", ".0123456789ab.part", ".x.0123456789AB.part"],
)
def test_files_of_other_names_are_not_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / ".y.0123456789ab.part").symlink_to(tmp_path / name)
    assert remove_leftovers(tmp_path) == 0
    assert (tmp_path / name).read_text() == "mine"


def test_an_output_folder_with_nothing_but_leftovers_is_empty(tmp_path: Path) -> None:
    killed("with files.atomic_write(Path(sys.argv[1])) as t: killed()", tmp_path / "out" / "a.txt")
    assert not holds_anything(new_output_dir(tmp_path / "out", kind="run"))
    killed("with files.atomic_write(Path(sys.argv[1])) as t: killed()", tmp_path / "out" / "a.txt")
    write_text(tmp_path / "out" / "letter.txt", "dear")
    with pytest.raises(OutputExistsError):
        new_output_dir(tmp_path / "out", kind="run")


PREPARE = """
from vaeneer.settings import PrepareSettings
from vaeneer.data import prepare

def renamed(file, name):
    return killed() if name.suffix == ".png" else os.rename(file, name)

if sys.argv[3] == "manifest":
    from pyarrow import parquet
    parquet.write_table = killed
elif sys.argv[3] == "mark":
    prepare.mark_folder = killed
else:
    Path.replace = renamed
settings = PrepareSettings(valid_fraction=0.5, workers=1)
prepare.prepare(sys.argv[1], out=sys.argv[2], settings=settings)
"""


@pytest.mark.parametrize("step", ["manifest", "mark", "picture"])
def test_prepare_goes_on_in_a_folder_that_it_left_when_it_was_killed(
    tmp_path: Path, paint: Painter, step: str
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "data"
    for number in range(4):
        paint(raw / f"{number}.tga", number)
    killed(PREPARE, raw, out, step)
    assert leftovers(out) or step == "mark"
    prepare(raw, out=out, settings=PrepareSettings(valid_fraction=0.5, workers=1))
    assert len(list(out.rglob("*.png"))) == 4
    assert leftovers(out) == []


def test_index_removes_leftovers_also_where_it_writes_nothing(
    tmp_path: Path, paint: Painter
) -> None:
    paint(tmp_path / "raw" / "a.png", 1)
    library = tmp_path / "library"
    index(tmp_path / "raw", library=library, settings=IndexSettings(parts="none", workers=1))
    (folder,) = (library / "thumbs").iterdir()
    for place in (folder, library):
        (place / ".x.webp.0123456789ab.part").write_bytes(b"half")
    os.mkdir(library / ".model.0123456789ab.part")  # noqa: PTH102
    index(tmp_path / "raw", library=library)
    assert leftovers(library) == []
