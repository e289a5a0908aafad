"""The page in Debian's Chromium: every view, by mouse, touch and keys; nothing leaves the host."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

import vaeneer
from vaeneer.cli.app import run
from vaeneer.library.duplicates.report import csv_text
from vaeneer.library.index import embed_files, writer
from vaeneer.library.index.index import index
from vaeneer.settings import IndexSettings
from vaeneer.text import printable
from vaeneer.training.run_folder import RunFolder

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
live_server = pytest.importorskip("live_server", reason="the server is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium; apt-get install chromium"
)
VIEWS = ("browse", "search", "map", "duplicates", "runs", "play")
CELL = ".cell:not([hidden])"
DESKTOP, PHONE, TALL_PHONE = (1280, 800), (360, 740), (390, 844)
MARKUP = "<img src=x onerror=window.bitten=1>.png"
HOSTILE = (
    MARKUP,
    '"><script>window.bitten=1<!--.png',
    "javascript:window.bitten=1&#x27;{{7*7}}${7}.png",
    "%2e%2e%2fetc%2fpasswd?library=x&v=1#top.png",
    "\u202egnp.ecilbup \u05d0\u0301\U0001f9f1 'quo\"te'.png",
)
Open = Callable[..., Any]


@dataclass(frozen=True)
class Site:
    """A server with two libraries and a run."""

    url: str
    surfaces: Path
    run: Path


@pytest.fixture(scope="module")
def site(
    small_library: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(small_library, folder / "surfaces")  # the server keeps its map in there
    run = _run(folder / "run-1", model)
    hostile = _hostile(folder)
    with live_server.live([folder / "surfaces", hostile, run]) as url:
        yield Site(url, small_library.parent / "raw", run)


def _hostile(folder: Path) -> Path:
    """A library of files with hostile names, one there twice, one turned as well."""
    vaeneer.synthesize(folder / "tame", count=len(HOSTILE), side_px=160, seed=9)
    files = sorted((folder / "tame").rglob("*_Albedo.jpg"))
    (folder / "raw" / "<b>bold").mkdir(parents=True)
    for file, name in zip(files, HOSTILE, strict=False):
        Image.open(file).save(folder / "raw" / "<b>bold" / name)
    shutil.copy(folder / "raw" / "<b>bold" / MARKUP, folder / "raw" / "copy.png")
    with Image.open(files[1]) as other:
        turned = ImageOps.mirror(other).transpose(Image.Transpose.ROTATE_270)
    turned.save(folder / "raw" / "turned.png")
    for number in range(250):
        (folder / "raw" / f"{number:03} <b onclick=window.bitten=1>.png").write_bytes(b"no picture")
    (folder / "raw" / "notes.txt").write_text("no picture")
    index(folder / "raw", library=folder / "hostile <i>")
    return folder / "hostile <i>"


def _run(folder: Path, model: Path) -> Path:
    """A run that has done two epochs of three."""
    (folder / "plots").mkdir(parents=True)
    (folder / "config.toml").write_text('[train]\ndata = "data"\nepochs = 3\n')
    (folder / "run.json").write_text(json.dumps({"started": "2026-01-01T00:00:00+00:00"}))
    (folder / "metrics.jsonl").write_text("".join(_line(epoch) for epoch in (1, 2)))
    for epoch in (1, 2):
        shutil.copytree(model, folder / "checkpoints" / f"epoch-{epoch:04d}")
    Image.new("RGB", (64, 32), "teal").save(folder / "plots" / "samples.png")
    return folder


def _line(epoch: int) -> str:
    part = {"nats_per_image": 9e4 / epoch, "reconstruction_nats": 8e4 / epoch, "kl_nats": 100.0}
    line = {"epoch": epoch, "images_per_second": 30.0, "train": part, "valid": part}
    return json.dumps(line) + "\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Open]:
    """Open an address in a browser of its own; afterwards nothing may have gone wrong or out."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def open_page(
        address: str = "/?library=surfaces",
        *,
        size: tuple[int, int] = DESKTOP,
        url: str | None = None,
        allowed: str = r"(?!)",
        **options: Any,
    ) -> Any:
        """allowed: of messages of the console that a test wants to see."""
        root = url or site.url
        viewport = {"width": size[0], "height": size[1]}
        options = {"has_touch": size[0] < 500, "color_scheme": "dark", **options}
        context = browser.new_context(viewport=viewport, **options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()

        def heard(message: Any) -> None:
            bad = message.type in ("error", "warning")
            if bad and not re.search(allowed, message.text):
                wrong.append(f"{message.type}: {message.text}")

        def asked(request: Any) -> None:
            if not request.url.startswith((root + "/", "data:", f"blob:{root}")):
                wrong.append(f"left the host: {request.url}")

        page.on("console", heard)
        page.on("pageerror", lambda error: wrong.append(f"page: {error}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on("request", asked)
        page.goto(root + address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any, str], None]:
    """Keep a screenshot, in the folder that VAENEER_SCREENSHOTS names where it is set."""
    given = os.environ.get("VAENEER_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)

    def keep(page: Any, name: str) -> None:
        page.wait_for_timeout(200)
        page.screenshot(path=folder / f"page-{name}.png")

    return keep


def _wait(page: Any, what: str) -> None:
    """Until an expression is true; wait_for_function would need eval, which the page forbids."""
    until = time.monotonic() + 20
    while not page.evaluate(what):
        assert time.monotonic() < until, what
        page.wait_for_timeout(50)


def _drawn(page: Any) -> None:
    """Wait until no picture is under way, of those that are not far below."""
    below = "i.loading === 'lazy' && i.getBoundingClientRect().top > innerHeight"
    _wait(page, f"[...document.images].every(i => i.complete || {below})")


def _draw_box(page: Any) -> None:
    area = page.locator(".drawing").bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.25, area["y"] + area["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.8, area["y"] + area["height"] * 0.7, steps=4)
    page.mouse.up()


def _box(page: Any) -> list[int]:
    page.wait_for_url(re.compile("box="))
    found = re.search(r"box=([\d,]+)", page.url)
    assert found
    return [int(one) for one in found[1].split(",")]


def test_browse_filters_opens_and_tiles(visit: Open, picture: Any) -> None:
    page = visit()
    page.locator(f"{CELL} img").nth(5).wait_for()
    assert page.locator(".total").text_content() == "24 surfaces"
    _drawn(page)
    picture(page, "browse")
    box = page.get_by_label("Category")
    name = box.locator("option").nth(1).get_attribute("value")
    box.select_option(name)
    _wait(page, "document.querySelector('.total').textContent.includes(' of ')")
    assert f"category={name}" in page.url
    page.locator(f"{CELL} img").first.click()
    page.locator("dialog .facts").wait_for()
    assert page.locator("dialog .facts").text_content().count(name) >= 1
    shown = page.locator("dialog .maps img")
    assert "normal map" in {one.get_attribute("alt") for one in shown.all()}
    for one in shown.all():
        one.scroll_into_view_if_needed()
        one.evaluate("image => image.decode()")
    page.keyboard.press("t")
    assert page.locator("dialog .tiles .placed").count() == 4
    picture(page, "item")
    page.go_back()
    page.locator("dialog.beside").wait_for(state="detached")


def test_find_ranks_by_words_and_says_how_many_have_all(visit: Open) -> None:
    page = visit()
    page.locator(f"{CELL} img").nth(5).wait_for()
    name = page.get_by_label("Category").locator("option").nth(1).get_attribute("value")
    page.get_by_label("Find", exact=True).fill(f"{name} 000")
    _wait(page, "document.querySelector('.total').textContent.includes('with all words')")
    assert re.fullmatch(
        r"1 with all words, [0-9]+ with some of the words", page.locator(".total").text_content()
    )
    assert page.locator("#cell-0:not([hidden])").text_content().startswith(f"{name.title()} 000")
    order = page.get_by_label("Order")
    assert order.locator("option:checked").text_content() == "best"
    page.get_by_role("button", name="Clear").click()
    _wait(page, "document.querySelector('.total').textContent === '24 surfaces'")
    assert order.locator("option:checked").text_content() == "path"


def test_browse_lists_what_was_left_out(visit: Open, site: Site, picture: Any) -> None:
    page = visit("/?library=hostile <i>")
    page.get_by_role("button", name="251 files and folders left out").click()
    dialog = page.get_by_role("dialog", name="Files and folders left out")
    files = dialog.locator(".files li")
    files.nth(199).wait_for()
    assert "left_out=1" in page.url
    assert (
        files.first.locator("span").all_text_contents()[0] == "000 <b onclick=window.bitten=1>.png"
    )
    dialog.get_by_text("200 of 251 files and folders listed").wait_for()
    picture(page, "left-out")
    dialog.get_by_role("button", name="Show more").click()
    dialog.get_by_text("251 files and folders listed", exact=True).wait_for()
    assert files.count() == 251
    dialog.get_by_role("button", name=".txt").click()
    dialog.get_by_text("1 file or folder listed").wait_for()
    assert page.evaluate("window.bitten") is None
    assert dialog.locator("b").count() == 0
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    _wait(page, "!location.search.includes('left_out')")
    page.goto(f"{site.url}/?library=surfaces")
    page.locator(f"{CELL} img").first.wait_for()
    assert page.locator(".left-out").count() == 0


def test_an_item_that_is_offline_says_so(visit: Open, site: Site) -> None:
    page = visit("/static/icon.svg")

    def offline(route: Any) -> None:
        answer = route.fetch().json()
        for item in answer.get("items", [answer]):
            away = item["id"] == 2
            item |= {"offline": away, "missing": away, "link": "<i>elsewhere", "notes": ["<b>note"]}
        route.fulfill(json=answer)

    page.route(re.compile(r"/api/v1/items(/\d+)?\?"), offline)
    page.goto(f"{site.url}/?library=surfaces&sort=path")
    page.locator(f"{CELL} img").first.wait_for()
    assert page.locator(f"{CELL} .offline").count() == 1
    page.locator(f"{CELL}:has(.offline)").click()
    page.locator("dialog header .offline").wait_for()
    shown = page.locator("dialog .tiles img").get_attribute("src")
    assert "/thumbnail?" in shown
    facts = page.locator("dialog .facts").text_content()
    assert all(word in facts for word in ("not there now", "<i>elsewhere", "<b>note"))


@pytest.mark.parametrize("what", ["where", "none"])
def test_browse_says_what_to_do(visit: Open, what: str) -> None:
    address = {"where": "where=wdith > 3", "none": "q=there is none"}[what]
    page = visit(f"/?library=surfaces&{address}", allowed="status of 4")
    notice = page.locator(".browse-body .notice")
    notice.wait_for()
    assert "width" in notice.text_content() if what == "where" else notice.get_by_role("button")
    if what == "none":
        notice.get_by_role("button", name="Show all").click()
        page.locator(f"{CELL} img").first.wait_for()


def test_a_hundred_thousand_items_scroll(visit: Open, site: Site) -> None:
    page = visit("/static/icon.svg")
    template = page.request.get(f"{site.url}/api/v1/items?library=surfaces&limit=1").json()

    def many(route: Any) -> None:
        offset = int(re.search(r"offset=(\d+)", route.request.url)[1])  # type: ignore[index]
        ids = range(offset, min(100_000, offset + 200))
        items = [{**template["items"][0], "file": f"{n + 1}.png", "name": None} for n in ids]
        route.fulfill(json={"total": 100_000, "offset": offset, "limit": 200, "items": items})

    page.route("**/api/v1/items?*", many)
    page.goto(f"{site.url}/?library=surfaces")
    page.locator(f"{CELL} img").first.wait_for()
    assert page.locator(".cell").count() < 150
    page.locator(".grid").focus()
    page.keyboard.press("End")
    page.get_by_role("option", name="100000.png").locator("img").wait_for()
    page.evaluate("document.querySelector('.grid').scrollTop /= 2")
    page.wait_for_timeout(300)
    cells = "[...document.querySelectorAll('.cell:not([hidden])')]"
    _wait(page, f"{cells}.every(cell => cell.querySelector('img'))")
    assert page.locator(".cell").count() < 150


def test_search_by_a_box_on_a_picture_of_ones_own(visit: Open, site: Site, picture: Any) -> None:
    page = visit("/?view=search&library=surfaces")
    file = sorted(site.surfaces.rglob("*_Albedo.jpg"))[3]
    page.locator(".picks img").first.wait_for()
    picture(page, "search-empty")
    page.locator("input[type=file]").set_input_files(file)
    page.locator(".hit").first.wait_for()
    whole = page.url
    assert "by whole images" in page.locator(".found .lead").text_content()
    headings = page.locator(".matches h2").all_text_contents()
    kinds = [heading.rsplit(" ", 1)[0] for heading in headings]
    assert (kinds[0], kinds[-1]) == ("Exact matches", "Only similar")
    assert page.locator(".hits").first.locator(".hit .chip").all_text_contents() == ["exact"]
    assert "fall as it grows" in page.locator(".found .note").text_content()
    with page.expect_response("**/api/v1/search") as answered:
        _draw_box(page)
    x, y, width, height = _box(page)
    assert answered.value.json()["query"]["box"] == [x, y, width, height]
    assert abs(x - 40) <= 2
    assert abs(width - 88) <= 3
    _wait(page, "document.querySelector('.found .lead')?.textContent.includes('by the box')")
    best = page.locator(".hit").first
    assert best.locator(".name").get_attribute("title").endswith(file.name)
    assert best.locator(".mark").count() == 1
    assert re.search(r"\d", best.locator(".chance").text_content())
    _drawn(page)
    picture(page, "search")
    best.locator(".open").click()
    page.locator("dialog .mark").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog.beside").wait_for(state="detached")
    page.go_back()
    _wait(page, "document.querySelector('.found .lead')?.textContent.includes('by whole images')")
    assert page.url == whole
    page.reload()
    page.locator(".hit").first.wait_for()  # the picture is kept in this browser


def test_the_min_probability_hides_hits_at_once(visit: Open) -> None:
    page = visit("/?view=search&library=surfaces&item=3&min=1")
    page.locator(".found .notice").wait_for()
    page.get_by_role("button", name="Show all").click()
    page.locator(".hit").first.wait_for()
    shown = page.locator(".hit").count()
    slider = page.get_by_label("Min probability")
    slider.focus()
    slider.press("End")
    assert page.locator(".hit").count() < shown
    assert "min=1" in page.url


def test_examples_and_counter_examples(visit: Open) -> None:
    page = visit("/?view=search&library=surfaces&item=3")
    page.locator(".hit").first.wait_for()
    page.get_by_role("button", name=re.compile("^More like this")).first.click()
    page.get_by_role("heading", name="Examples", exact=True).wait_for()
    page.get_by_role("button", name=re.compile("^Less like this")).nth(2).click()
    page.get_by_role("heading", name="Counter-examples").wait_for()
    assert page.url.count("item=") == 2
    assert "negative=" in page.url
    page.get_by_role("button", name=re.compile("^Remove item")).click()
    page.get_by_role("heading", name="Counter-examples").wait_for(state="detached")


def test_a_link_shows_the_same_elsewhere(visit: Open) -> None:
    address = "/?view=search&library=surfaces&item=5&box=20,20,100,90&k=10"
    names = []
    for _ in range(2):
        page = visit(address)
        page.locator(".hit").first.wait_for()
        assert page.get_by_label("Box width in pixels").input_value() == "100"
        names.append(page.locator(".hit .name").all_text_contents())
    assert names[0] == names[1]
    assert len(names[0]) == 10
    page = visit("/?view=search&library=surfaces&upload=elsewhere")
    page.get_by_text("Drop that picture here again").wait_for()


def test_a_picture_is_dropped_and_pasted(visit: Open, site: Site) -> None:
    page = visit()
    page.locator(f"{CELL} img").first.wait_for()
    data = base64.b64encode(sorted(site.surfaces.rglob("*_Albedo.jpg"))[0].read_bytes()).decode()
    for kind in ("drop", "paste"):
        page.evaluate(
            """([kind, data]) => {
              const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0));
              const carried = new DataTransfer();
              carried.items.add(new File([bytes], kind + ".jpg", {type: "image/jpeg"}));
              const options = {bubbles: true, cancelable: true};
              document.body.dispatchEvent(kind === "drop"
                ? new DragEvent("drop", {...options, dataTransfer: carried})
                : new ClipboardEvent("paste", {...options, clipboardData: carried}));
            }""",
            [kind, data],
        )
        page.locator(".hit").first.wait_for()
        assert "upload=" in page.url
        page.goto(f"{site.url}/?library=surfaces")
        page.locator(f"{CELL} img").first.wait_for()


def test_by_keys_alone(visit: Open) -> None:
    page = visit()
    page.locator(f"{CELL} img").first.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the view"
    page.keyboard.press("Enter")
    for _ in range(15):
        if page.evaluate("document.activeElement.classList.contains('grid')"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    chosen = page.locator(".cell[aria-selected=true]").get_attribute("aria-label")
    page.keyboard.press("Enter")
    page.locator("dialog .facts").wait_for()
    assert page.locator("dialog.beside h2").text_content() == chosen.split(",")[0]
    page.keyboard.press("Escape")
    page.locator("dialog.beside").wait_for(state="detached")
    assert page.evaluate("document.activeElement.classList.contains('grid')")
    page.keyboard.press("s")
    page.locator(".hit").first.wait_for()
    for _ in range(15):
        if page.evaluate("document.activeElement.classList.contains('drawing')"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert _box(page) == [40, 40, 80, 80]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    page.wait_for_url(re.compile("box=36,40,80,84"))
    assert page.evaluate("document.activeElement.classList.contains('drawing')")
    page.keyboard.press("Delete")
    page.wait_for_url(lambda url: "box=" not in url)
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys and hints").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    page.wait_for_url(re.compile("view=map"))


def test_the_map_zooms_and_selects(visit: Open, picture: Any) -> None:
    page = visit("/?view=map&library=surfaces")
    page.locator(".map-canvas").wait_for()
    page.get_by_role("button", name="Cluster").click()
    page.locator(".map-legend summary", has_text="Clusters").wait_for()
    page.get_by_role("button", name="Category").click()
    page.get_by_role("button", name="Lasso").click()
    area = page.locator(".map-canvas").bounding_box()
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
    places = [(area["x"] + area["width"] * x, area["y"] + area["height"] * y) for x, y in corners]
    places = [(max(x, 10), max(y, 140)) for x, y in places]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()
    page.get_by_role("heading", name=re.compile("surfaces selected")).wait_for()
    _drawn(page)
    page.wait_for_timeout(600)
    picture(page, "map")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download CSV").click()
    rows = Path(saved.value.path()).read_text().splitlines()
    selected = int(page.get_by_role("heading", name="surfaces selected").text_content().split()[0])
    assert len(rows) == selected + 1 > 10
    page.locator(".map-canvas").focus()
    page.keyboard.press("Escape")
    page.locator(".map-selection").wait_for(state="hidden")
    page.keyboard.press("+")
    page.keyboard.press("Space")
    page.get_by_role("heading", name="1 surface selected").wait_for()
    page.wait_for_url(re.compile("at=.*selected=|selected=.*at="))
    page.keyboard.press("Enter")
    page.locator("dialog .facts").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Search by them").click()
    page.locator(".hit").first.wait_for()


def test_duplicates_side_by_side(visit: Open, picture: Any) -> None:
    page = visit("/?view=duplicates&library=hostile <i>")
    page.locator(".group").first.wait_for(timeout=60_000)
    assert page.locator(".member").count() == 4
    for number, most in enumerate((0.0, 3.0)):  # the very file, and a mirrored one on its side
        group = page.locator(".group").nth(number)
        group.get_by_role("button", name="Compare").click()
        group.locator(".apart canvas").nth(2).wait_for()
        apart = re.search(r"([\d.]+) of 255", group.locator(".apart").text_content())
        assert apart
        assert float(apart[1]) <= most
    picture(page, "duplicates")
    assert {
        page.locator(".member img").nth(n).evaluate("image => getComputedStyle(image).opacity")
        for n in range(4)
    } == {"1"}


def _cards(page: Any) -> dict[str, str]:
    """Of each file of the groups, what is shown of its decision."""
    page.locator(".member").first.wait_for(timeout=60_000)
    names = page.locator(".member b").all_text_contents()
    return dict(zip(names, page.locator(".member .chip").all_text_contents(), strict=True))


def _saved_csv(page: Any) -> str:
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download the list").click()
    return Path(saved.value.path()).read_bytes().decode()


def test_what_is_to_be_kept_is_remembered(visit: Open, site: Site, tmp_path: Path) -> None:
    raw, library = tmp_path / "raw", tmp_path / "library"
    raw.mkdir()
    first, second = sorted(site.surfaces.rglob("*_Albedo.jpg"))[:2]
    shutil.copy(first, raw / "wall.jpg")
    shutil.copy(first, raw / "line\nend.jpg")
    shutil.copy(second, raw / "floor.jpg")
    shutil.copy(second, raw / "floor (1).jpg")
    index(raw, library=library, settings=IndexSettings(parts="none"))
    with live_server.live([library]) as url:
        page = visit("/?view=duplicates", url=url)
        proposed = {"wall.jpg": "the file to keep", r"line\nend.jpg": "redundant",
                    "floor.jpg": "the file to keep", "floor (1).jpg": "redundant"}  # fmt: skip
        assert _cards(page) == proposed
        assert _saved_csv(page) == csv_text(vaeneer.duplicates(library).groups)
        page.get_by_role("button", name=r"Keep line\nend.jpg instead").click()
        swapped = proposed | {"wall.jpg": "redundant", r"line\nend.jpg": "the file to keep"}
        page.locator("h2", has_text=r"line\nend.jpg").wait_for()
        assert _cards(page) == swapped
        page.locator(".member", has_text="floor (1)").get_by_role("checkbox").check()
        page.get_by_text("also kept").wait_for()
        page.locator(".duplicates > .lead", has_text="1 redundant file").wait_for()
        only = page.locator(".member", has_text=r"line\nend").get_by_role("checkbox")
        only.uncheck()  # as it was proposed
        page.locator("h2", has_text="wall.jpg").wait_for()
        only.check()
        page.locator(".duplicates > .lead", has_text="0 redundant files").wait_for()
        page.locator(".member", has_text="wall.jpg").get_by_role("checkbox").uncheck()
        page.locator(".duplicates > .lead", has_text="1 redundant file").wait_for()
        marked = _cards(page)
        assert marked["wall.jpg"] == "redundant"
        rows = list(csv.DictReader(io.StringIO(_saved_csv(page))))
        page.reload()
        assert _cards(page) == marked
        assert {row["path"]: row["decision"] for row in rows} == {
            "wall.jpg": "redundant", "line\nend.jpg": "keep",
            "floor.jpg": "keep", "floor (1).jpg": "keep",
        }  # fmt: skip
        assert {row["keep_path"] for row in rows} == {"line\nend.jpg", "floor.jpg"}
        shutil.copy(first, raw / "new.jpg")
        (raw / "floor (1).jpg").unlink()
        index(raw, library=library, settings=IndexSettings(parts="none"))
        page.reload()
        page.locator(".member", has_text="new.jpg").wait_for(timeout=60_000)
        assert _cards(page) == {
            "new.jpg": "also kept", "wall.jpg": "redundant", r"line\nend.jpg": "the file to keep",
        }  # fmt: skip
        (raw / "line\nend.jpg").unlink()
        index(raw, library=library, settings=IndexSettings(parts="none"))
        page.reload()
        page.locator(".duplicates > .lead", has_text="1 redundant file").wait_for(timeout=60_000)
        assert set(_cards(page).values()) == {"redundant", "the file to keep"}
        page.close()


def test_runs_grow_while_one_looks(visit: Open, site: Site, picture: Any) -> None:
    page = visit("/?view=runs&library=surfaces")
    page.get_by_text("Stopped after 2 epochs of 3").wait_for()
    trained = RunFolder(site.run).training()
    trained.__enter__()
    page.get_by_text("2 epochs so far").wait_for()
    page.locator(".epoch-row img").nth(8).wait_for()
    page.get_by_label("By epoch").press("Home")
    page.get_by_text("epoch 1", exact=True).wait_for()
    page.get_by_role("img", name="Sample 1 after epoch 1").wait_for()
    with (site.run / "metrics.jsonl").open("a") as stream:
        stream.write(_line(3))
    trained.__exit__(None, None, None)
    page.get_by_text("3 epochs, finished").wait_for()
    chart = page.get_by_role("img", name=re.compile("^Loss"))
    chart.focus()
    chart.press("ArrowLeft")
    assert "epoch 3: training 30,000" in page.locator(".told").first.text_content()
    picture(page, "runs")


def test_runs_are_overlaid_in_the_charts(
    visit: Open, small_library: Path, model: Path, tmp_path: Path, picture: Any
) -> None:
    names = ("first", "second", "short")
    runs = [_run(tmp_path / "runs" / name, model) for name in names]
    (runs[1] / "metrics.jsonl").write_text("".join(_line(epoch) for epoch in (1, 2, 3)))
    (runs[2] / "metrics.jsonl").write_text(_line(1))
    with live_server.live([small_library, *runs]) as url:
        page = visit("/?view=runs&run=short", url=url)
        loss = page.locator(".chart").first
        loss.locator("circle").first.wait_for()
        assert [words for words in loss.locator("svg text").all_text_contents() if words == "1"]
        for name in names[:2]:
            page.get_by_label(f"Show {name} in the charts").check()
        labels = [f"{name}, validation" for name in ("short", *names[:2])]
        loss.get_by_text("second, validation").wait_for()
        assert loss.locator(".legend li").all_inner_texts() == labels
        assert "finished" in page.get_by_role("row", name=re.compile("second")).inner_text()
        page.reload()
        loss.get_by_text("second, validation").wait_for()
        assert page.get_by_label("Show first in the charts").is_checked()
        colours = [
            one.evaluate("(line) => getComputedStyle(line).stroke")
            for one in loss.locator("svg [class^=line-]").all()
        ]
        assert len(set(colours)) == 3
        picture(page, "runs-overlaid")
        page.get_by_label("Show first in the charts").uncheck()
        loss.get_by_text("first, validation").wait_for(state="detached")
        page.close()  # which looks for news of runs that are not finished


def test_play_draws_and_tiles(visit: Open, picture: Any) -> None:
    page = visit("/?view=play&library=surfaces")
    page.locator(".samples img").nth(11).wait_for()
    page.locator(".pair img").nth(1).wait_for()
    slider = page.get_by_label("From the first to the second")
    slider.wait_for()
    page.get_by_role("button", name="2×2").click()
    assert page.locator(".samples .tiles").first.locator("img").count() == 4
    picture(page, "play")
    middle = page.locator(".way .tiles img").nth(4)
    before = middle.get_attribute("src")
    slider.press("End")
    assert middle.get_attribute("src") != before
    assert slider.get_attribute("aria-valuetext") == "100 % of the way"
    first = page.locator(".samples img").first.get_attribute("src")
    page.get_by_role("button", name="Another 12").click()
    page.wait_for_url(re.compile("seed=1"))
    _wait(page, f"document.querySelector('.samples img')?.src.slice(-99) !== {first[-99:]!r}")
    page.get_by_role("button", name="Choose a surface").click()
    page.locator("dialog.picker .cell img").nth(2).click()
    page.wait_for_url(re.compile("item="))
    page.get_by_text("PSNR").wait_for()


def test_names_are_data(visit: Open, site: Site) -> None:
    library = "library=hostile <i>"
    page = visit(f"/?{library}")
    page.locator(f"{CELL} img").nth(6).wait_for()
    names = page.locator(f"{CELL} .caption").all_text_contents()
    shown = [printable(name) for name in HOSTILE]
    assert set(shown) <= set(names)
    for name in shown:
        page.get_by_role("option", name=name).click()
        page.locator("dialog.beside h2").get_by_text(name, exact=True).wait_for()
        page.locator("dialog .facts").wait_for()
        page.locator("dialog .tiles img").evaluate("image => image.decode()")
        page.keyboard.press("Escape")
        page.locator("dialog.beside").wait_for(state="detached")
    for view in VIEWS[1:]:
        page.goto(f"{site.url}/?view={view}&{library}&item=1")
        page.locator("#view :not(.notice)").first.wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("window.bitten") is None
        assert page.locator("#view b b, #view i img, #view script, [onerror]").count() == 0


def test_the_first_hit_is_in_sight_on_a_phone(visit: Open) -> None:
    page = visit("/?view=search&library=surfaces&item=3", size=PHONE)
    page.locator(".hit").first.wait_for()
    bar = page.locator("nav").first.bounding_box()
    assert page.locator(".hit").first.bounding_box()["y"] < bar["y"] - 80


@pytest.mark.parametrize("view", VIEWS)
def test_a_finger_hits_what_can_be_pressed(visit: Open, view: str, picture: Any) -> None:
    """40 px high, and nothing wider than the screen, at 390 px."""
    page = visit(f"/?view={view}&library=surfaces", size=(390, 844))
    page.locator("#view button:visible, #view a:visible").first.wait_for()
    page.wait_for_timeout(500)
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, select, summary, input:not([type=file])")]
        .map((one) => [one, (one.closest("label") ?? one).getBoundingClientRect()])
        .filter(([one, box]) => box.width && box.height && (box.height < 40 || box.width < 30))
        .map(([one, box]) => `${one.outerHTML.slice(0, 80)}: ${box.width} x ${box.height}`)"""
    )
    assert small == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    picture(page, f"phone-{view}")


SMALL = """() => [...document.querySelectorAll('button, a[href], select, input, summary')]
  .filter(one => one.checkVisibility({visibilityProperty: true}) && !one.matches('.skip, .unseen'))
  .map(one => [one, (one.closest('label.check, label.compare') ?? one).getBoundingClientRect()])
  .filter(([, area]) => area.width < 39.5 || area.height < 39.5)
  .map(([one, area]) => `${one.outerHTML.slice(0, 80)} ${area.width} x ${area.height}`)"""
BEYOND = """() => [...document.querySelectorAll('body *')]
  .filter(one => one.checkVisibility() && !one.closest('.unseen, .skip, .wide-table, pre, svg'))
  .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
  .map(one => one.outerHTML.slice(0, 80))"""
STATES = {
    "filters": ("/?library=surfaces", ".filters summary", ".filters .fields"),
    "drawer": ("/?library=surfaces&item=3", None, "dialog .facts"),
    "search": ("/?view=search&library=surfaces&item=3&box=20,20,100,90", None, ".hit .acts"),
    "settings": ("/?view=search&library=surfaces&item=3", ".more summary", ".hit .acts"),
    "examples": ("/?view=search&library=surfaces&item=3&item=5&negative=7", None, ".hit .acts"),
    "selection": ("/?view=map&library=surfaces&selected=3,5", None, ".pick"),
    "legend": ("/?view=map&library=surfaces", ".map-legend summary", ".map-legend li"),
    "compared": ("/?view=duplicates&library=hostile <i>", "text=Compare", ".apart canvas"),
    "left out": ("/?library=hostile <i>&left_out=1", None, ".files li"),
    "one run": ("/?view=runs&library=surfaces", "text=Settings and facts", ".chart text"),
    "play": ("/?view=play&library=surfaces", None, ".pair img"),
}


@pytest.mark.parametrize("state", STATES)
def test_a_phone_has_room_and_targets_for_fingers(visit: Open, state: str, picture: Any) -> None:
    address, opened, awaited = STATES[state]
    page = visit(address, size=TALL_PHONE)
    if opened:
        page.locator(opened).first.click(timeout=60_000)
    page.locator(awaited).first.wait_for(timeout=60_000)
    _drawn(page)
    assert page.evaluate(SMALL) == []
    assert page.evaluate(BEYOND) == []
    picture(page, f"{state.replace(' ', '-')}-{TALL_PHONE[0]}")


@pytest.mark.parametrize("query", ["item=3", "item=3&box=20,20,100,90", "item=3&item=5&negative=7"])
def test_hits_begin_above_the_fold_on_a_phone(visit: Open, query: str) -> None:
    page = visit(f"/?view=search&library=surfaces&{query}", size=TALL_PHONE)
    page.locator(".hit").first.wait_for()
    area = page.locator(".hit .square").first.bounding_box()
    bar = page.locator("nav").first.bounding_box()
    assert area["y"] + area["height"] / 2 < bar["y"]


def test_the_map_of_a_large_library_shows_pictures_on_a_phone(visit: Open, site: Site) -> None:
    page = visit("/static/icon.svg", size=TALL_PHONE, allowed="willReadFrequently")

    def many(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        if answer.status == 200 and "ids" in body:
            ids = body["ids"] * 40  # the same surfaces, farther apart than one screen can show
            side = range(len(ids))
            body |= {"ids": ids, "x": [n % 30 for n in side], "y": [n // 30 for n in side]}
            lists = ("categories", "clusters")
            body |= {name: body[name] * 40 for name in lists}
        route.fulfill(status=answer.status, headers=answer.headers, json=body)

    page.route(re.compile(r"/api/v1/map\b"), many)
    page.goto(f"{site.url}/?view=map&library=surfaces")
    page.locator(".map-canvas").wait_for(timeout=60_000)
    painted = """() => { const canvas = document.querySelector('.map-canvas');
      const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      let count = 0;
      for (let n = 3; n < pixels.length; n += 4) count += pixels[n] === 255;
      return count / (canvas.width * canvas.height); }"""
    _wait(page, f"({painted})() > 0.15")
    area = page.locator(".map-canvas").bounding_box()
    page.mouse.click(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    page.locator("dialog .facts").wait_for()


@pytest.mark.parametrize("report", ["map", "duplicates"])
def test_reports_fit_on_a_phone(browser: Any, site: Site, tmp_path: Path, report: str) -> None:
    library, page_file = site.run.parent / "hostile <i>", tmp_path / "report.html"
    option = {"map": "--out", "duplicates": "--html"}[report]
    assert run([report, str(library), option, str(page_file)]) == 0
    context = browser.new_context(
        viewport={"width": TALL_PHONE[0], "height": TALL_PHONE[1]}, has_touch=True
    )
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= TALL_PHONE[0]
    assert page.evaluate(BEYOND) == []
    assert page.evaluate(SMALL) == []
    context.close()


def test_a_box_by_touch_on_a_phone(visit: Open, picture: Any) -> None:
    page = visit("/?view=search&library=surfaces&item=7", size=PHONE)
    page.locator(".hit").first.wait_for()
    area = page.locator(".drawing").bounding_box()
    tools = page.context.new_cdp_session(page)

    def touch(kind: str, share: float | None) -> None:
        point = {} if share is None else {
            "x": area["x"] + area["width"] * share, "y": area["y"] + area["height"] * share
        }  # fmt: skip
        points = [point] if point else []
        tools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.2)
    for share in (0.3, 0.5, 0.7):
        touch("touchMove", share)
    touch("touchEnd", None)
    x, _, width, _ = _box(page)
    assert abs(x - 32) <= 2
    assert abs(width - 80) <= 3
    _wait(page, "document.querySelector('.found .lead')?.textContent.includes('by the box')")
    picture(page, "phone")


UNNAMED = """() => [...document.querySelectorAll('button, a[href], input, select, [tabindex="0"]')]
  .filter(one => one.checkVisibility({visibilityProperty: true}) && !one.closest('[hidden]'))
  .filter(one => !(one.getAttribute('aria-label') || one.textContent.trim() || one.title
    || one.labels?.length || one.querySelector?.('svg, img[alt]')))
  .map(one => one.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("size", [PHONE, (3840, 2160)], ids=["phone", "4K"])
def test_every_view_fits(visit: Open, size: tuple[int, int], picture: Any) -> None:
    page = visit("/?view=search&library=surfaces", size=size, color_scheme="light")
    for view in VIEWS:
        page.locator("#views a", has_text=view.capitalize()).click()
        page.locator(f"#view[data-view={view}] h1").wait_for(state="attached", timeout=60_000)
        _wait(page, "!document.querySelector('#view progress')")
        _drawn(page)
        wide = "Math.max(...['html', '#view'].map(s => { const e = document.querySelector(s);"
        assert page.evaluate(f"{wide} return e.scrollWidth - e.clientWidth }}))") <= 0
        assert page.evaluate(UNNAMED) == []
        for link in page.locator("#views a").all():
            area = link.bounding_box()
            assert 0 <= area["x"] <= area["x"] + area["width"] <= size[0]
            assert area["y"] + area["height"] <= size[1]
        picture(page, f"{view}-{size[0]}")


def test_dark_and_light(visit: Open) -> None:
    page = visit()
    page.locator(f"{CELL} img").first.wait_for()
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert dark != light
    page.get_by_role("button", name=re.compile("^Colours: system")).click()
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark


def test_a_token_is_asked_for_once(visit: Open, small_library: Path, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("a secret of the house")
    with live_server.live([small_library], token_file=secret) as url:
        page = visit("/?q=a", url=url, allowed="status of 401")
        page.get_by_label("Token").fill("another one altogether")
        page.keyboard.press("Enter")
        page.get_by_text("That is not the token").wait_for()
        page.get_by_label("Token").fill(secret.read_text())
        page.keyboard.press("Enter")
        page.locator(f"{CELL} img").first.wait_for()
        page.reload()
        page.locator(f"{CELL} img").first.wait_for()
        assert "q=a" in page.url
        page.close()  # before its server, whose pictures it may still be waiting for


def test_a_server_that_is_gone_or_busy(visit: Open, site: Site) -> None:
    page = visit(allowed="ERR_FAILED|status of 503")
    page.locator(f"{CELL} img").first.wait_for()
    page.route("**/api/v1/search", lambda route: route.abort())
    page.goto(f"{site.url}/?view=search&library=surfaces&item=2")
    page.get_by_text("Is vaeneer serve still running?").wait_for()
    page.unroute("**/api/v1/search")
    problem = {"title": "Busy", "status": 503, "detail": "The queue is full."}
    headers = {"Retry-After": "2", "Content-Type": "application/problem+json"}
    body = json.dumps(problem)
    page.route(
        "**/api/v1/search", lambda route: route.fulfill(status=503, headers=headers, body=body)
    )
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("The queue is full. Try again in 2 s.").wait_for()
    page.unroute("**/api/v1/search")
    page.get_by_role("button", name="Try again").click()
    page.locator(".hit").first.wait_for()


@pytest.mark.parametrize("state", ["loading", "failed", "empty", "none"])
def test_a_library_that_cannot_be_shown(visit: Open, site: Site, state: str) -> None:
    page = visit("/static/icon.svg")
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        known = route.fetch().json()["libraries"][:1]
        if state == "none":
            known = []
        elif state == "empty":
            known[0] |= {"items": 0}
        elif state == "failed" or len(asked) == 1:
            known[0] |= {"state": state, "reason": "The index is torn."}
        route.fulfill(json={"libraries": known})

    page.route("**/api/v1/libraries", answer)
    nothing = {"total": 0, "offset": 0, "limit": 200, "items": []}
    if state == "empty":
        page.route("**/api/v1/items?*", lambda route: route.fulfill(json=nothing))
    page.goto(f"{site.url}/")
    said = {
        "failed": "The index is torn.", "empty": "The library is empty",
        "none": "No library is open", "loading": "24 surfaces",
    }  # fmt: skip
    page.get_by_text(said[state]).first.wait_for()
    assert len(asked) == (2 if state == "loading" else 1)


def test_a_folder_is_indexed_from_the_page_and_searched_before_its_small_parts(
    visit: Open, site: Site, picture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    shutil.copytree(site.surfaces, tmp_path / "my <b>photos")
    for file in (tmp_path / "my <b>photos").rglob("*_Albedo.jpg"):
        Image.open(file).resize((264, 264)).save(file)  # 256 px and more have small parts
    whole, small = threading.Semaphore(0), threading.Semaphore(0)
    steps = {"record_images": (writer.record_images, whole)}
    steps["record_parts"] = (writer.record_parts, small)

    def waiting(name: str) -> Callable[..., None]:
        record, turn = steps[name]

        def step(*given: Any) -> None:
            assert turn.acquire(timeout=60)
            record(*given)

        return step

    for name in steps:
        monkeypatch.setattr(embed_files, name, waiting(name))
    try:
        with live_server.live([tmp_path / "my <b>photos"]) as url:
            page = visit(url=url, address="/")
            _index_from_the_page(page, picture, whole, small)
            page.close()
    finally:
        whole.release(99)
        small.release(99)


def _index_from_the_page(
    page: Any, picture: Any, whole: threading.Semaphore, small: threading.Semaphore
) -> None:
    page.get_by_role("heading", name="my <b>photos is not indexed yet").wait_for()
    picture(page, "offer")
    page.get_by_role("button", name="Index this folder").click()
    page.get_by_text("Indexing my <b>photos").wait_for()
    whole.release()
    page.get_by_text(re.compile(r"Images: 8 of 24, .* left")).wait_for()
    picture(page, "indexing")
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Stopping …").wait_for()
    whole.release()
    page.get_by_role("heading", name="my <b>photos is indexed in part").wait_for()
    picture(page, "stopped")
    page.get_by_role("button", name="Continue").click()
    whole.release(2)
    page.locator(f"{CELL} img").nth(5).wait_for()
    band = page.locator("#band")
    assert "small parts of 24 images are not indexed yet" in band.text_content()
    band.get_by_role("button", name="Stop", exact=True).click()
    band.get_by_role("button", name="Stopping …").wait_for()
    small.release()
    band.get_by_role("button", name="Index them now").click()
    small.release()
    page.get_by_text(re.compile(r"Small parts: 8 of 16")).wait_for()
    assert "small parts of 8 images are not indexed yet" in band.text_content()
    picture(page, "small-parts")
    page.set_viewport_size({"width": 390, "height": 844})
    picture(page, "small-parts-phone")
    small.release(1)
    band.wait_for(state="hidden")
    assert page.locator(CELL).count()
