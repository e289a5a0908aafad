"""The pictures of the page in README.md and docs/page.md, made again from real surfaces.

    vaeneer index SURFACES --library LIB
    vaeneer train DATA --out RUNS/surface
    python benchmarks/page_pictures.py LIB RUNS

Needs Chromium (apt-get install chromium) and playwright.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cyclopts
import httpx
from PIL import Image
from playwright.sync_api import sync_playwright

from vaeneer.library.library import Library

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
PHOTO = "brick/brick_brick_wall_006_025.jpg"
BOX = "180,180,520,460"
LASSO = ((0.35, 0.3), (0.6, 0.3), (0.6, 0.6), (0.35, 0.6))
DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, {type: "image/jpeg"}));
  const options = {bubbles: true, cancelable: true, dataTransfer: carried};
  document.body.dispatchEvent(new DragEvent("drop", options));
}"""
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def main(lib: Path, runs: Path, port: int = 8931) -> None:
    """Make all of them."""
    with Library.open(lib) as library:
        root = library.root
        photo = next(item.id for item in library.items() if item.path == PHOTO)
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        with served(port, lib, runs) as url:
            browse(visit(browser, url))
            search(visit(browser, f"{url}/?view=search"), root / PHOTO)
            lasso(visit(browser, f"{url}/?view=map"))
            duplicates(visit(browser, f"{url}/?view=duplicates", theme="light", height_px=1000))
            charts(visit(browser, f"{url}/?view=runs", height_px=958))
            play(visit(browser, f"{url}/?view=play&item={photo}", theme="light", height_px=1150))
        with served(port + 1, root / PHOTO.partition("/")[0]) as url:
            indexing(visit(browser, url))
        browser.close()


@contextmanager
def served(port: int, *folders: Path) -> Iterator[str]:
    """A server of its own, which knows no other library."""
    with tempfile.TemporaryDirectory() as data:
        words = [sys.executable, "-m", "vaeneer", "serve", *map(str, folders), "--port", str(port)]
        server = subprocess.Popen(words, env={**os.environ, "XDG_DATA_HOME": data})
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(240):
                try:
                    if httpx.get(f"{url}/healthz").is_success:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.25)
            yield url
        finally:
            server.terminate()
            server.wait(60)


def visit(browser: Any, address: str, *, theme: str = "dark", height_px: int = 750) -> Any:
    """An address in a window of its own."""
    size = {"width": 1200, "height": height_px}
    page = browser.new_context(viewport=size, color_scheme=theme).new_page()
    page.set_default_timeout(300_000)
    page.goto(address)
    return page


def take(page: Any, name: str) -> None:
    """What is seen of a page, as WebP."""
    page.wait_for_timeout(1500)
    with tempfile.TemporaryDirectory() as folder:
        page.screenshot(path=f"{folder}/shot.png")
        with Image.open(f"{folder}/shot.png") as image:
            image.convert("RGB").save(PICTURES / f"{name}.webp", quality=82, method=6)
    print(PICTURES / f"{name}.webp")
    page.context.close()


def browse(page: Any) -> None:
    """The grid."""
    page.locator(".cell img").nth(17).wait_for()
    take(page, "page-browse")


def search(page: Any, photo: Path) -> None:
    """By a box on a picture that is dropped."""
    data = base64.b64encode(photo.read_bytes()).decode()
    page.locator("nav a").first.wait_for()
    page.wait_for_timeout(1000)
    page.evaluate(DROP, [photo.name, data])
    page.wait_for_url(re.compile("upload="))
    page.locator(".hit").first.wait_for()
    page.goto(f"{page.url}&box={BOX}")
    page.locator(".hit img").nth(9).wait_for()
    take(page, "page-search")


def lasso(page: Any) -> None:
    """The map, with some items selected."""
    page.locator(".map-canvas").wait_for()
    page.wait_for_timeout(2000)
    page.get_by_role("button", name="Lasso").click()
    area = page.locator(".map-canvas").bounding_box()
    corners = [(area["x"] + area["width"] * x, area["y"] + area["height"] * y) for x, y in LASSO]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=3)
    page.mouse.up()
    take(page, "page-map")


def duplicates(page: Any) -> None:
    """Groups, and a comparison."""
    page.get_by_role("button", name="Compare").first.click()
    page.locator(".apart canvas").nth(2).wait_for()
    take(page, "page-duplicates")


def charts(page: Any) -> None:
    """Runs."""
    page.locator(".epoch-row img").first.wait_for()
    take(page, "page-runs")


def play(page: Any) -> None:
    """What the network has learnt."""
    page.locator(".samples img").nth(11).wait_for()
    page.locator(".pair img").nth(1).wait_for()
    take(page, "page-play")


def indexing(page: Any) -> None:
    """A library whose small parts are being indexed."""
    page.get_by_role("button", name="Index this folder").click()
    page.get_by_text(re.compile("Small parts: [1-9]")).wait_for()
    page.locator(".cell img").nth(5).wait_for()
    take(page, "page-indexing")


if __name__ == "__main__":
    cyclopts.run(main)
