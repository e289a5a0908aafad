"""Packs: each image decoded once, found again as long as it is the same, never wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vaeneer
from sparse_packs import sparse_pack
from vaeneer.data import cache_files, decode_worker, pixel_cache
from vaeneer.data.cache_index import PackLayout, read_index, write_index
from vaeneer.data.dataset import open_folder
from vaeneer.data.decode_worker import DecodedImage
from vaeneer.data.images import read_image, read_rgb, resize_rgb
from vaeneer.data.pixel_cache import Pack, default_cache, open_pack
from vaeneer.data.scan import scan_folder
from vaeneer.errors import DataError, ImageFileError, SettingsError
from vaeneer.progress import Bar, Silent

SMALL = PackLayout(32)
Painter = Callable[[Path, int], Path]


class Lines(Silent):
    """A Progress that keeps what was said, and the titles of its bars."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.titles: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Bar]:
        self.titles.append(title)
        return super().bar(title, total=total, unit=unit)


def draw(path: Path, seed: int, size: tuple[int, int] = (72, 48), **options: object) -> Path:
    """A seeded picture with smooth parts and noise, of width and height `size`."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
    smooth = np.asarray(small.resize(size, Image.Resampling.BICUBIC), float)
    pixels = (smooth + random.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images of several shapes, and a home for the user's own cache."""
    for number, size in enumerate([(72, 48), (48, 72), (64, 64), (20, 30), (32, 32), (200, 40)]):
        draw(tmp_path / "images" / f"{'abcdef'[number]}.png", number, size)
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return tmp_path / "user" / "vaeneer"


def opened(folder: Path, layout: PackLayout = SMALL, **options: object) -> Pack:
    return open_pack(open_folder(folder), layout, workers=1, **options)


def expected(path: Path, layout: PackLayout = SMALL) -> np.ndarray:
    """The pixels that a pack must have of a file, from the whole decoded image."""
    image = read_rgb(path)
    if layout.square:
        return resize_rgb(image, layout.side_px)
    return np.asarray(image.resize(layout.stored_size(*image.size), Image.Resampling.HAMMING))


def is_right(pack: Pack) -> bool:
    """Whether each row is what its file says, in the order of the names."""
    names = [pack.name(i) for i in range(len(pack))]
    return names == sorted(names) and all(
        np.array_equal(pack.image(i), expected(pack.folder_root / name, pack.layout))
        for i, name in enumerate(names)
    )


def place_of(folder: Path, layout: PackLayout = SMALL) -> Path:
    return default_cache(folder) / layout.tag


def data_file(folder: Path) -> Path:
    (file,) = place_of(folder).glob("pixels-*.bin")
    return file


# What is in a pack


def test_rows_are_the_images_made_smaller_by_area(folder: Path) -> None:
    pack = opened(folder)
    assert len(pack) == pack.decoded == 6
    assert is_right(pack)
    sizes = list(zip(pack.widths.tolist(), pack.heights.tolist(), strict=True))
    assert sizes == [(48, 32), (32, 48), (32, 32), (20, 30), (32, 32), (160, 32)]


def test_the_square_layout_has_the_very_pixels_of_resize_rgb(folder: Path) -> None:
    draw(folder / "g.jpg", 9, (300, 200))
    pack = opened(folder, PackLayout(54, square=True))
    assert {pack.image(i).shape for i in range(7)} == {(54, 54, 3)}
    assert is_right(pack)


def test_images_are_views_that_cannot_be_written(folder: Path) -> None:
    pack = opened(folder)
    image = pack.image(2)
    assert np.shares_memory(image, pack.pixels)
    assert isinstance(pack.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1


def test_the_mean_colour_weighs_each_image_the_same(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (255, 0, 51)).save(tmp_path / "red.png")
    Image.new("RGB", (90, 30), (0, 0, 51)).save(tmp_path / "dark.png")
    assert opened(tmp_path).mean_rgb == pytest.approx((0.5, 0.0, 0.2))


def test_items_and_fingerprint_are_those_of_the_folder(data_set: Path, tmp_path: Path) -> None:
    folder = open_folder(data_set / "train")
    pack = open_pack(folder, SMALL, cache=tmp_path / "cache")
    assert tuple(pack.items()) == folder.items
    assert pack.fingerprint() == folder.fingerprint()


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 1000))
def test_the_short_side_is_exact_and_the_other_within_a_rounding(
    width: int, height: int, side: int
) -> None:
    stored = PackLayout(side).stored_size(width, height)
    if min(width, height) <= side:
        assert stored == (width, height)
    else:
        assert min(stored) == side
        assert stored[0] == pytest.approx(width * side / min(width, height), abs=0.5 + 1e-6)
        assert stored[1] == pytest.approx(height * side / min(width, height), abs=0.5 + 1e-6)


def test_a_side_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="0 px"):
        PackLayout(0)


# JPEG


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_jpeg_decoded_small_is_nearly_the_whole_one_made_small(
    tmp_path: Path, mode: str
) -> None:
    draw(tmp_path / "a.png", 3, (400, 300))
    Image.open(tmp_path / "a.png").convert(mode).save(tmp_path / "b.jpg", quality=92)
    (tmp_path / "a.png").unlink()
    pack = opened(tmp_path)
    assert read_image(tmp_path / "b.jpg", at_least_px=32).rgb.size == (50, 38)
    difference = np.abs(pack.image(0).astype(int) - expected(tmp_path / "b.jpg"))
    assert difference.mean() < 3  # levels; noise that a photograph does not have


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_upright_and_its_full_size_known(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    draw(tmp_path / "a.jpg", 1, (400, 300), exif=exif, quality=95)
    small = read_image(tmp_path / "a.jpg", at_least_px=60)
    whole = read_image(tmp_path / "a.jpg")
    assert (small.width_px, small.height_px) == (whole.width_px, whole.height_px)
    assert small.plain == whole.plain
    assert max(small.rgb.size) == 100
    pack = opened(tmp_path)
    difference = np.abs(pack.image(0).astype(int) - expected(tmp_path / "a.jpg"))
    assert difference.mean() < 2


# What is decoded again, and what is not


def test_nothing_is_decoded_or_written_the_second_time(folder: Path) -> None:
    opened(folder)
    place = place_of(folder)

    def times() -> dict[Path, int]:  # that of the lock is when the pack was last used
        return {file: file.stat().st_mtime_ns for file in place.iterdir() if file.name != "lock"}

    before = times()
    again = opened(folder)
    assert again.decoded == 0
    assert is_right(again)
    assert times() == before


def test_known_files_are_not_even_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(folder)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(pixel_cache, "decode_image", refuse)
    monkeypatch.setattr(pixel_cache, "sha256_of", refuse)
    assert opened(folder).mean_rgb == first.mean_rgb


def test_a_changed_an_added_and_a_removed_file_cost_only_themselves(folder: Path) -> None:
    opened(folder)
    draw(folder / "b.png", 77, (50, 60))
    changed = opened(folder)
    assert changed.decoded == 1
    assert is_right(changed)
    draw(folder / "aa.png", 78)
    added = opened(folder)
    assert (added.decoded, len(added)) == (1, 7)
    assert is_right(added)
    (folder / "c.png").unlink()
    removed = opened(folder)
    assert (removed.decoded, len(removed)) == (0, 6)
    assert is_right(removed)


def test_a_touched_file_is_compared_and_a_renamed_one_found(folder: Path) -> None:
    opened(folder)
    os.utime(folder / "a.png", ns=(1, 1))
    (folder / "b.png").rename(folder / "z.png")
    shutil.copy(folder / "c.png", folder / "copy.png")
    pack = opened(folder)
    assert (pack.decoded, len(pack)) == (0, 7)
    assert is_right(pack)
    lines = Lines()
    assert opened(folder, progress=lines).decoded == 0
    assert lines.titles == []  # the new time is known: not compared again


def test_two_files_that_change_names_change_rows(folder: Path) -> None:
    draw(folder / "c.png", 5, (64, 64))
    opened(folder)
    (folder / "a.png").rename(folder / "x")
    (folder / "c.png").rename(folder / "a.png")
    (folder / "x").rename(folder / "c.png")
    pack = opened(folder)
    assert pack.decoded == 0
    assert is_right(pack)


def test_other_bytes_of_equal_size_are_decoded(tmp_path: Path) -> None:
    draw(tmp_path / "a.bmp", 1)
    draw(tmp_path / "b.bmp", 2)
    opened(tmp_path)
    draw(tmp_path / "a.bmp", 3)
    pack = opened(tmp_path)
    assert pack.decoded == 1
    assert is_right(pack)


def test_a_broken_file_is_skipped_and_tried_again_only_when_it_changes(folder: Path) -> None:
    whole = (folder / "c.png").read_bytes()
    (folder / "c.png").write_bytes(whole[:900])
    (folder / "d.png").write_bytes(b"")
    first = opened(folder)
    assert (first.decoded, len(first)) == (6, 4)
    assert [(e.path.name, e.reason.split(":")[0]) for e in first.skipped] == [
        ("c.png", "truncated"),
        ("d.png", "empty file"),
    ]
    again = opened(folder)
    assert again.decoded == 0
    assert [str(e) for e in again.skipped] == [str(e) for e in first.skipped]
    (folder / "c.png").write_bytes(whole)
    mended = opened(folder)
    assert (mended.decoded, len(mended)) == (1, 5)
    assert is_right(mended)


def test_a_reason_that_may_pass_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pixel_cache.decode_image

    def fails(job: pixel_cache.DecodeJob) -> DecodedImage:
        if job.path.name == "b.png":
            return DecodedImage(reason="cannot be read: Input/output error")
        return real(job)

    monkeypatch.setattr(pixel_cache, "decode_image", fails)
    first = opened(folder)
    assert [e.reason for e in first.skipped] == ["cannot be read: Input/output error"]
    monkeypatch.setattr(pixel_cache, "decode_image", real)
    again = opened(folder)
    assert (again.decoded, len(again), again.skipped) == (1, 6, ())


def test_another_pillow_tries_unreadable_files_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "c.png").write_bytes(b"\0" * 99)
    opened(folder)
    monkeypatch.setattr("PIL.__version__", "0.0")
    assert opened(folder).decoded == 1


def test_nothing_readable_is_an_error_each_time(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(DataError, match=r"None of the 1 images in .* is readable"):
            opened(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_named_pipe_is_skipped(folder: Path) -> None:
    (folder / "d.png").write_bytes(b"")
    os.mkfifo(folder / "pipe.png")
    for _ in range(2):
        assert [e.reason for e in opened(folder).skipped] == ["empty file", "not a file"]


def test_a_part_of_a_folder_leaves_the_other_rows_alone(folder: Path) -> None:
    whole = open_folder(folder)
    open_pack(whole, SMALL)
    part = type(whole)(folder, whole.items[:2])
    assert open_pack(part, SMALL).decoded == 0
    assert open_pack(whole, SMALL).decoded == 0


# Damage


def cut_the_pixels(folder: Path) -> None:
    with data_file(folder).open("r+b") as file:
        file.truncate(1000)


def lose_the_pixels(folder: Path) -> None:
    data_file(folder).unlink()


def tear_the_index(folder: Path) -> None:
    with (place_of(folder) / "index.parquet").open("r+b") as file:
        file.truncate(700)


def flip_a_bit_in_the_index(folder: Path) -> None:
    path = place_of(folder) / "index.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[60] ^= 16
    path.write_bytes(damaged)


def fill_the_index_with_garbage(folder: Path) -> None:
    (place_of(folder) / "index.parquet").write_bytes(os.urandom(5000))


def point_behind_the_pixels(folder: Path) -> None:
    index = read_index(place_of(folder), SMALL)
    assert index is not None
    starts = np.unique(index.column("offset"))
    write_index(place_of(folder), index.moved(starts, starts + 10**6, data_bytes=index.data_bytes))


def take_another_layout(folder: Path) -> None:
    opened(folder, PackLayout(16))
    shutil.rmtree(place_of(folder))
    place_of(folder, PackLayout(16)).rename(place_of(folder))


@pytest.mark.parametrize(
    "damage",
    [
        cut_the_pixels,
        lose_the_pixels,
        tear_the_index,
        flip_a_bit_in_the_index,
        fill_the_index_with_garbage,
        point_behind_the_pixels,
        take_another_layout,
    ],
)
def test_a_damaged_pack_is_made_again(folder: Path, damage: Callable[[Path], None]) -> None:
    opened(folder)
    damage(folder)
    pack = opened(folder)
    assert pack.decoded == 6
    assert is_right(pack)
    assert opened(folder).decoded == 0
    data_file(folder)  # and there is one


def test_garbage_is_left_behind(folder: Path) -> None:
    opened(folder)
    for name in "abf":
        draw(folder / f"{name}.png", 40 + ord(name), (90, 40))
        pack = opened(folder)
    assert pack.decoded == 1
    draw(folder / "f.png", 50, (60, 40))
    (folder / "b.png").unlink()
    (folder / "c.png").unlink()
    first = data_file(folder)
    pack = opened(folder)
    assert pack.decoded == 1
    assert is_right(pack)
    assert data_file(folder) != first
    used = 3 * int((pack.heights * pack.widths).sum())
    assert used == data_file(folder).stat().st_size
    assert opened(folder).decoded == 0


def test_files_with_equal_bytes_stay_one_image_when_garbage_goes(folder: Path) -> None:
    opened(folder)
    shutil.copy(folder / "d.png", folder / "g.png")
    opened(folder)
    for name in "abcf":
        (folder / f"{name}.png").unlink()
    pack = opened(folder)
    assert pack.decoded == 0
    assert is_right(pack)
    assert data_file(folder).stat().st_size == 3 * (20 * 30 + 32 * 32)


# Builds that end early, or at the same time


def stop_after(count: int, error: BaseException) -> Callable[[object], object]:
    left = iter(range(count))
    real = pixel_cache.decode_image

    def shrink(job: pixel_cache.DecodeJob) -> object:
        if next(left, None) is None:
            raise error
        return real(job)

    return shrink


def test_ctrl_c_keeps_what_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines()
    with monkeypatch.context() as patch:
        patch.setattr(pixel_cache, "decode_image", stop_after(4, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            opened(folder, progress=lines)
    assert "4 decoded images are kept" in lines.said[0]
    pack = opened(folder)
    assert pack.decoded == 2
    assert is_right(pack)


def test_a_full_disk_is_said_and_what_was_there_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(folder)
    known = data_file(folder).stat().st_size
    for name in "ghi":
        draw(folder / f"{name}.png", ord(name))
    real, calls = cache_files._write_all, []

    def full(file: object, data: bytes) -> None:
        calls.append(data)
        if len(calls) == 3:
            real(file, data[:100])
            raise OSError(28, "No space left on device")
        real(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(cache_files, "_write_all", full)
        with pytest.raises(DataError, match=r"No space left.*--cache DIR"):
            opened(folder)
    assert data_file(folder).stat().st_size == known + 2 * 48 * 32 * 3
    pack = opened(folder)
    assert pack.decoded == 1
    assert is_right(pack)


def test_a_disk_too_full_for_the_index_too_gives_its_bytes_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(folder)
    known = data_file(folder).stat().st_size
    draw(folder / "g.png", 7)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache_files, "write_index", full)
        with pytest.raises(DataError, match="No space left"):
            opened(folder)
    assert data_file(folder).stat().st_size == known
    assert opened(folder).decoded == 1


def test_what_cannot_fit_is_refused_before_anything_is_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(pixel_cache, "decode_image", stop_after(0, AssertionError()))
    with pytest.raises(DataError, match=r"6 images .* GB are free.*--cache DIR"):
        opened(folder)


KILLED = """
import sys
from pathlib import Path
from vaeneer.data import cache_files, decode_worker
from vaeneer.data.dataset import open_folder
from vaeneer.data.pixel_cache import PackLayout, open_pack
import time
cache_files.SAVE_SECONDS = 0.0
decode_worker._BYTES_WORTH_PROCESSES = 0
add = cache_files.PackWriter.add
def slow(self, *rest):
    add(self, *rest)
    print("row", flush=True)
    time.sleep(0.05)
cache_files.PackWriter.add = slow
open_pack(open_folder(sys.argv[1]), PackLayout(32), workers=2)
"""


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL")
def test_a_killed_build_goes_on_where_it_was(folder: Path) -> None:
    for number in range(14):
        draw(folder / f"more-{number}.png", 200 + number)
    with start(KILLED, folder) as process:
        assert process.stdout
        for _ in range(5):
            assert process.stdout.readline() == "row\n"
        process.kill()
    with data_file(folder).open("ab") as file:
        file.write(b"half an image")
    pack = opened(folder)
    assert 6 <= pack.decoded <= 16
    assert is_right(pack)


def test_two_processes_at_once_decode_each_image_once(folder: Path) -> None:
    code = """
import sys
from vaeneer.data.dataset import open_folder
from vaeneer.data.pixel_cache import PackLayout, open_pack
print(open_pack(open_folder(sys.argv[1]), PackLayout(32), workers=1).decoded)
"""
    running = [start(code, folder) for _ in range(2)]
    decoded = sorted(int(process.communicate(timeout=60)[0]) for process in running)
    assert decoded == [0, 6]
    assert is_right(opened(folder))


def test_who_waits_says_so(folder: Path) -> None:
    from threading import Thread

    place = place_of(folder)
    cache_files.create(place.parent, place)
    lines, found = Lines(), []
    waiting = Thread(target=lambda: found.append(opened(folder, progress=lines)))
    with cache_files.alone(place, Silent()):
        waiting.start()
        deadline = time.monotonic() + 20
        while not lines.said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found == []
    waiting.join()
    assert "waiting" in lines.said[0]
    assert is_right(found[0])


def test_processes_decode_as_one_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "c.png").write_bytes(b"\0" * 99)
    monkeypatch.setattr(decode_worker, "_BYTES_WORTH_PROCESSES", 0)
    pack = open_pack(open_folder(folder), SMALL, workers=2)
    assert is_right(pack)
    assert [type(error) for error in pack.skipped] == [ImageFileError]


def test_decoding_processes_do_not_import_torch() -> None:
    code = "import sys, vaeneer.data.decode_worker; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Where packs lie


def test_a_data_set_has_one_cache_in_the_users_cache(tmp_path: Path, paint: Painter) -> None:
    for side in ("train", "valid"):
        paint(tmp_path / "data" / side / "a.png", 1)
    for side in ("train", "valid"):
        opened(tmp_path / "data" / side)
    opened(tmp_path / "data")
    opened(tmp_path / "data" / "valid", PackLayout(16, square=True))
    (home,) = (tmp_path / "user" / "vaeneer").iterdir()
    assert default_cache(tmp_path / "data" / "train") == home
    assert home.name.startswith("data-")
    assert sorted(path.name for path in home.iterdir()) == [
        ".vaeneer.json", "32px", "CACHEDIR.TAG", "train-32px", "valid-16px-square", "valid-32px",
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "user"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["train", "valid"]


def test_folders_of_one_name_have_caches_of_their_own(tmp_path: Path, paint: Painter) -> None:
    for above in ("one", "two"):
        paint(tmp_path / above / "wood" / "a.png", len(above))
    places = {default_cache(tmp_path / above / "wood") for above in ("one", "two")}
    assert len(places) == 2


def test_a_cache_in_a_library_is_not_part_of_it(tmp_path: Path, paint: Painter) -> None:
    paint(tmp_path / "library" / "wood" / "a.png", 1)
    opened(tmp_path / "library" / "wood", cache=tmp_path / "library" / "fast")
    (home,) = (tmp_path / "library" / "fast").iterdir()
    draw(home / "preview.png", 1)
    found = scan_folder(tmp_path / "library")
    assert [str(image.path) for image in found.images] == ["wood/a.png"]
    assert found.others == {"made by vaeneer": 1}


def test_a_place_that_cannot_be_written_is_refused_with_a_remedy(folder: Path) -> None:
    default_cache(folder).parent.mkdir(parents=True, exist_ok=True)
    default_cache(folder).write_text("in the way")
    with pytest.raises(DataError, match="--cache DIR"):
        opened(folder)


def test_a_named_cache_is_used_alone(folder: Path, tmp_path: Path) -> None:
    assert is_right(opened(folder, cache=tmp_path / "fast"))
    assert not default_cache(folder).exists()
    assert opened(folder, cache=tmp_path / "fast").decoded == 0
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="--cache DIR"):
        opened(folder, cache=tmp_path / "file")


def test_deleting_the_cache_costs_only_time(folder: Path) -> None:
    opened(folder)
    shutil.rmtree(default_cache(folder))
    assert opened(folder).decoded == 6


def test_the_cache_is_bounded_by_what_was_not_used_for_longest(
    tmp_path: Path, user_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a", "b", "c")
    for number, name in enumerate(names):
        draw(tmp_path / name / "x.png", number)
        opened(tmp_path / name)
        os.utime(place_of(tmp_path / name) / "lock", (100 + number, 100 + number))
    assert opened(tmp_path / "a").decoded == 0  # used now, so that b is the oldest
    size = data_file(tmp_path / "a").stat().st_size
    monkeypatch.setattr(cache_files, "MAX_CACHED_BYTES", sum(
        used for _, used in cache_files.cached_packs(user_cache).values()) + size // 2)  # fmt: skip
    draw(tmp_path / "d" / "x.png", 9)
    lines = Lines()
    opened(tmp_path / "d", progress=lines)
    (said,) = lines.said
    assert default_cache(tmp_path / "b").name in said
    assert [opened(tmp_path / name).decoded for name in "acd"] == [0, 0, 0]
    rebuilt = opened(tmp_path / "b")
    assert rebuilt.decoded == 1
    assert is_right(rebuilt)


def test_info_lists_what_the_cache_holds(folder: Path, user_cache: Path, tmp_path: Path) -> None:
    opened(folder)
    opened(folder, PackLayout(16))
    facts = vaeneer.info(user_cache).facts
    home = default_cache(folder)
    assert list(facts.packs) == [f"{home.name}/16px", f"{home.name}/32px"]
    files = [file for file in home.glob("*px/*") if file.is_file()]
    assert facts.bytes == sum(file.stat().st_size for file in files)
    assert 0 < facts.max_bytes <= 50e9
    opened(folder, cache=tmp_path / "fast")
    report = vaeneer.info(tmp_path / "fast")
    assert (report.kind, report.facts.max_bytes) == ("cache", None)


def test_a_pack_in_use_or_in_a_named_cache_is_never_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_files, "MAX_CACHED_BYTES", 0)
    for name in "ab":
        draw(tmp_path / name / "x.png", 1)
    first = opened(tmp_path / "a")
    assert opened(tmp_path / "a").decoded == 0
    with cache_files.alone(place_of(tmp_path / "a"), Silent()):
        opened(tmp_path / "b")
    assert opened(tmp_path / "a").decoded == 0
    opened(tmp_path / "b", PackLayout(16))
    assert not list(place_of(tmp_path / "a").glob("pixels-*.bin"))
    assert is_right(first)  # mapped before it was deleted
    for name in "ab":
        opened(tmp_path / name, cache=tmp_path / "fast")
    assert opened(tmp_path / "a", cache=tmp_path / "fast").decoded == 0


# Memory

MEMORY = """
import sys
from pathlib import Path
import numpy as np
from sparse_packs import Items
from vaeneer.data.dataset import ImageFolder
from vaeneer.data.pixel_cache import PackLayout, open_pack

root, count = Path(sys.argv[1]), int(sys.argv[2])
folder = ImageFolder(root, Items(root / "one.png", count))
pack = open_pack(folder, PackLayout(568))
assert len(pack) == count and pack.decoded == 0
for number in np.random.default_rng(0).integers(0, count, 64).tolist():
    assert not pack.image(number).any()
    assert pack.item(number).asset == f"wood/wood_{number:06}"
print(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc/self/status")
def test_memory_does_not_grow_with_the_pack(tmp_path: Path) -> None:
    """A process needs at most 24 MiB more for 100,000 images than for 300 (it was 13.7)."""
    resident_kib = []
    for count in (300, 100_000):
        root = sparse_pack(tmp_path / str(count), count)
        command = [sys.executable, "-c", MEMORY, str(root), str(count)]
        places = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=here)
        resident_kib.append(int(done.stdout))
    assert resident_kib[1] - resident_kib[0] < 24 * 1024
