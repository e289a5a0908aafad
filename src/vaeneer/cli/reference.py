"""docs/cli.md, made of the commands themselves: every argument, flag, default and help text.

    python -m vaeneer.cli.reference                      to standard output
    python -m vaeneer.cli.reference --write docs/cli.md
    python -m vaeneer.cli.reference --check docs/cli.md  exit code 1 where the file is stale

cyclopts could write it alone (`App.generate_docs`), but names a command after the program that
asks, so that `python -m` gives other usage lines than a script.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from cyclopts import App

from vaeneer.cli.app import app
from vaeneer.errors import VaeneerError
from vaeneer.files import write_text
from vaeneer.settings import LARGEST_SEED, range_in_words

_INTRODUCTION = """\
<!-- Made by: python -m vaeneer.cli.reference --write docs/cli.md. Do not edit. -->

# The commands

`vaeneer COMMAND --help` says the same on screen, `vaeneer --version` the version. Every command
ends in a table, or in one JSON object with `--json`. An error is one sentence and exit code 1; a
run that Ctrl-C or SIGTERM stopped ends with exit code 130."""
_VALUES = {Path: "PATH", int: "INT", float: "FLOAT", str: "TEXT"}


def text() -> str:
    """The reference of all commands as Markdown: the same on every machine."""
    names = [name for name in app if not name.startswith("-")]
    parts = [_INTRODUCTION, _list(names), "## Options of every command", _table(app.meta)]
    for name in names:
        parts += [f"## vaeneer {name}", *_command(name, app[name])]
    return "\n\n".join(parts) + "\n"


def write(path: Path) -> None:
    """Write the reference, whole or not at all."""
    write_text(path, text())


def check(path: Path) -> None:
    """Raise VaeneerError, with the remedy, where `path` is missing or says anything else."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text():
        raise VaeneerError(
            f"{path} is not what the commands say now;"
            f" run: python -m vaeneer.cli.reference --write {path}"
        )


def _list(names: Iterable[str]) -> str:
    lines = (f"- [`{name}`](#vaeneer-{name}): {_described(app[name])[0]}" for name in names)
    return "\n".join(lines)


def _command(name: str, command: App) -> Iterator[str]:
    arguments = _arguments(command)
    given = [a.field_info.name.upper() + _more(a) for a in arguments if _is_positional(a)]
    needed = [f"{a.name} {_value(a)}" for a in arguments if a.required and not _is_positional(a)]
    yield " ".join(["```text\nvaeneer", name, *given, *needed, "[OPTIONS]\n```"])
    yield from _described(command)
    yield _table(command)


def _described(command: App) -> list[str]:
    """The paragraphs of a command's docstring above its parameters."""
    whole = inspect.getdoc(command.default_command) or ""
    parts = whole.split("Parameters\n---")[0].strip().split("\n\n")
    return [" ".join(part.split()) for part in parts]


def _table(command: App) -> str:
    rows = ["| argument | default | range | meaning |", "|---|---|---|---|"]
    for argument in _arguments(command):
        meaning = " ".join((argument.parameter.help or "").split()).replace("|", "\\|")
        cells = _named(argument), _default(argument), _range(argument), meaning
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _arguments(command: App) -> list[Any]:
    return [a for a in command.assemble_argument_collection(parse_docstring=True) if a.show]


def _named(argument: Any) -> str:
    if _is_positional(argument):
        return f"`{argument.field_info.name.upper()}{_more(argument)}`"
    if _without_none(argument.hint) is bool:
        return ", ".join(f"`{name}`" for name in argument.names)
    return f"`{argument.name} {_value(argument)}`".replace("|", "\\|")


def _default(argument: Any) -> str:
    default = argument.field_info.default
    if argument.required:
        return "required"
    if default is None or default is False:
        return ""
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _range(argument: Any) -> str:
    return range_in_words(argument.field_info.annotation).replace(f" to {LARGEST_SEED}", " or more")


def _is_positional(argument: Any) -> bool:
    return bool(argument.field_info.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _more(argument: Any) -> str:
    return "..." if get_origin(_without_none(argument.hint)) is list else ""


def _value(argument: Any) -> str:
    """What stands behind a flag: PATH, INT, ... or the words to choose from."""
    hint = _without_none(argument.hint)
    if get_origin(hint) is Literal:
        return "|".join(get_args(hint))
    return next(_VALUES[kind] for kind in (*get_args(hint), hint) if kind in _VALUES)


def _without_none(hint: Any) -> Any:
    """`X` of `X | None`."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(hint) and len(kinds) == 1 else hint


def main(arguments: Sequence[str]) -> int:
    """Print, write or check the reference; the exit code: 0, or 1 where it is stale."""
    parser = argparse.ArgumentParser(prog="python -m vaeneer.cli.reference")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--write", type=Path, metavar="FILE", help="write the reference")
    choice.add_argument("--check", type=Path, metavar="FILE", help="fail where it is stale")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.write:
            write(chosen.write)
        elif chosen.check:
            check(chosen.check)
        else:
            sys.stdout.write(text())
    except VaeneerError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
