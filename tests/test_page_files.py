"""The files of the page: small, of our own, nothing from elsewhere, no way from text to markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WEB = Path(__file__).parent.parent / "src" / "vaeneer" / "web" / "static"
FILES = sorted(path for path in WEB.rglob("*") if path.suffix in (".js", ".css", ".html"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_is_read_at_one_sitting(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert 1 < len(lines) <= 350
    assert max(map(len, lines)) <= 320


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_text_never_becomes_markup_or_code(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    ways = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"
        r"|srcdoc|\beval\(|new Function\(|setTimeout\(\s*[\"']|<[^>]+\son\w+=|<style|<script>"
    )
    assert re.findall(ways, text) == []
    assert 'setAttribute("style"' not in text  # the Content-Security-Policy refuses it


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_is_loaded_from_elsewhere(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"(?:https?:)?//[\w-]+\.\w+", text) == []
    named = re.findall(r"(?:from|import\()\s*[\"'](\./[\w.-]+)[\"']", text)
    assert all((file.parent / name).is_file() for name in named)


def test_every_module_and_style_is_used() -> None:
    texts = {file: file.read_text(encoding="utf-8") for file in FILES}
    views = re.findall(r"(\w+): \"[A-Z]\w+\"", texts[WEB / "js" / "main.js"])
    assert len(views) == 6
    for file in FILES:
        others = "".join(text for other, text in texts.items() if other != file)
        used = file.name in others or file.stem in views or file.name == "index.html"
        assert used, file.name


def test_every_import_is_exported_and_used() -> None:
    for file in (WEB / "js").glob("*.js"):
        text = file.read_text(encoding="utf-8")
        for names, source in re.findall(r"import \{([^}]+)\} from \"\./([\w.]+)\"", text):
            exported = (WEB / "js" / source).read_text(encoding="utf-8")
            for name in (one.strip() for one in names.split(",")):
                declared = rf"export (?:async )?(?:function|class|const) {name}\b"
                assert re.search(declared, exported), f"{file.name}: {name} of {source}"
                assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{file.name}: {name} unused"
