"""Every command that a message, the page or a document quotes is one that can be run."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from vaeneer.cli.app import COMMANDS, app, run

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "vaeneer"
VERBS = {function.__name__.replace("_", "-") for function in COMMANDS}
PLACEHOLDER = "\N{WHITE SQUARE}"
"""What stands where a text is put in when the message is made: a path, a name."""
OTHERS = {"--help", "--version", "--config", "--debug"}
"""Flags of every command."""
TOOLS = {"--write", "--check", "--x", "--y", "--vector", "--neighbors", "--image"}
"""Flags of python -m vaeneer.cli.reference and of embedding-atlas."""
QUOTE = re.compile(r"(?:\.venv/bin/)?\bvaeneer (?P<verb>[a-z][a-z-]*[a-z])(?P<rest>[^\n`)]*)")
WORD = re.compile(rf"^(?:-{{1,2}}[a-z0-9].*|.*[A-Z{PLACEHOLDER}'\"/.=0-9].*)$")
PROSE = {"A", "I", "It", "The", "They", "Then", "without", "with", "and", "or"}


def texts(node: ast.AST) -> Iterator[str]:
    """The string constants below a node, with a placeholder for each value of an f-string."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER
            for part in node.values
        )
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


@cache
def quoted() -> list[tuple[str, str]]:
    """File, and text that may quote a command."""
    found = []
    for file in SOURCE.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [(str(file.relative_to(ROOT)), " ".join(text.split(" "))) for text in texts(tree)]
    pages = [*SOURCE.rglob("web/**/*.js"), *SOURCE.rglob("*.html"), *SOURCE.rglob("*.md")]
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob(".ci/*")]
    for file in [*pages, *documents]:
        text = re.sub(r"\$\{[^}]*\}", PLACEHOLDER, file.read_text(encoding="utf-8"))
        if file.suffix == ".md":  # a command in a line of text may be wrapped
            text = re.sub(r"(?<!`)`[^`]{1,120}`(?!`)", lambda m: " ".join(m[0].split()), text)
        found.append((str(file.relative_to(ROOT)), text))
    return found


def command_in(verb: str, rest: str) -> list[str]:
    """The words of a command that prose goes on behind: they end at the first that is none."""
    rest = re.split(r"[;,:](?:\s|$)|\s[#|>]|\.(?:\s|$)|\\$", rest, maxsplit=1)[0]
    try:
        words = shlex.split(rest)
    except ValueError:  # an apostrophe of the prose behind it
        words = rest.split()
    taken: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word.startswith("["):  # [OPTIONS]
            continue
        plain = word.strip("'\"*.,)")
        wants_value = bool(taken) and taken[-1] in flags_of(verb, with_value=True)
        part = WORD.match(plain) or " " in word or wants_value or following.startswith("--")
        if word in PROSE or not part:
            break
        taken.append(plain)
    return [verb, *taken]


def commands() -> list[tuple[str, tuple[str, ...]]]:
    """Each quoted command once, with the file that it is first quoted in."""
    found: dict[tuple[str, ...], str] = {}
    for name, text in quoted():
        for match in QUOTE.finditer(text):
            if match["verb"] in VERBS:
                found.setdefault(tuple(command_in(match["verb"], match["rest"])), name)
    return [(name, words) for words, name in found.items()]


@cache
def flags_of(verb: str, *, with_value: bool = False) -> set[str]:
    """The names of the flags of a command: all, or those that a value follows."""
    arguments = app[verb].assemble_argument_collection()
    named = {n for a in arguments if not (with_value and a.hint is bool) for n in a.names}
    return named if with_value else named | OTHERS


@pytest.mark.parametrize(("file", "words"), commands(), ids=lambda one: str(one)[:80])
def test_a_quoted_command_is_one(file: str, words: tuple[str, ...]) -> None:
    verb, *given = words
    flags = {word.partition("=")[0] for word in given if word.startswith("--")}
    assert flags <= flags_of(verb), f"{file}: {' '.join(words)}"
    positional = [word for word in given if not word.startswith("-")]
    if not positional or given[0].startswith("-"):  # `vaeneer index`, `vaeneer search --help`
        return
    filled = ["1" if word == "N" else word.replace(PLACEHOLDER, "X") for word in words]
    if "--config" in filled:  # read before the command is
        place = filled.index("--config")
        del filled[place : place + 2]
    app.parse_args(filled, print_error=False, exit_on_error=False)


def test_commands_are_found_in_messages_documents_and_the_page() -> None:
    found = commands()
    for part in (".py", ".js", ".md", ".html"):
        assert any(name.endswith(part) for name, _ in found), part
    assert len(found) > 100
    assert command_in("train", " DATA --out RUN --resume goes on") == [
        "train", "DATA", "--out", "RUN", "--resume",
    ]  # fmt: skip


def test_every_flag_of_a_message_is_one_of_some_command() -> None:
    known = TOOLS.union(*(flags_of(verb) for verb in VERBS))
    pages = [text for name, text in quoted() if name.startswith("src") and name.endswith(".js")]
    code = [text for name, text in quoted() if re.match(r"src.*\.py$", name)]
    for text in [*code, *(re.sub(r"var\(--[^)]*\)|[\"'`]--[a-z-]+[\"'`]", "", p) for p in pages)]:
        for flag in re.findall(r"(?<![\w/-])--[a-z][a-z-]*[a-z]\b", text):
            assert flag in known, f"{flag} in {text[:200]!r}"


def test_a_raw_folder_taken_for_a_data_set_is_told_how_to_become_one(
    tmp_path: Path, paint: Callable[[Path, int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command of the message is run: it works, and writes nothing into the raw folder."""
    raw = tmp_path / "my photos"
    for number in range(4):
        paint(raw / f"{number}.png", number)
    before = sorted(raw.rglob("*"))
    assert run(["train", str(raw), "--out", str(tmp_path / "run")]) == 1
    message = capsys.readouterr().err
    words = shlex.split(message.split("vaeneer ", 1)[1].strip().removesuffix("."))
    assert run(words) == 0
    assert sorted(raw.rglob("*")) == before
    assert (tmp_path / "my photos-data" / "train").is_dir()


BENCHMARK = re.compile(r"python benchmarks/(?P<name>\w+)\.py(?P<rest>(?:[^\n`]|\n    +\[|\n--)*)")


def benchmark_calls() -> Iterator[tuple[str, str, str]]:
    """File, name of the script and what follows it, of each quoted call of a benchmark."""
    scripts = sorted((ROOT / "benchmarks").glob("*.py"))
    pages = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
    for file in [*pages, *scripts]:
        for call in BENCHMARK.finditer(file.read_text(encoding="utf-8")):
            yield file.relative_to(ROOT).as_posix(), call["name"], call["rest"]


def test_a_quoted_benchmark_has_the_flags_that_it_is_called_with() -> None:
    """Flags are the parameters of main(), those of settings that it takes, or named in the file."""
    calls = list(benchmark_calls())
    assert len(calls) > 30
    for file, name, rest in calls:
        script = ROOT / "benchmarks" / f"{name}.py"
        assert script.is_file(), f"{file}: {script.name}"
        tree = ast.parse(script.read_text(encoding="utf-8"))
        known = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        known |= {
            text.lstrip("-").replace("-", "_") for text in texts(tree) if text.startswith("--")
        }
        for flag in re.findall(r"(?<![\w-])--([a-z][a-z-]*)", rest):
            found = flag.replace("-", "_")
            assert {found, found.removeprefix("no_")} & known or name == "bench", (
                f"{file}: python benchmarks/{name}.py has no --{flag}"
            )
