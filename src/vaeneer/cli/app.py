"""The list of all commands, and run(): from arguments to an exit code, errors to one sentence.

`vaeneer VERB` is the function of that name in a module beside this one: it parses, calls the public
function of the same name and shows the report. Flags and their help come from the dataclasses in
settings/. PyTorch is imported by the functions that are called, so that `--help` answers at once.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter
from cyclopts.config import Toml
from rich.text import Text

import vaeneer
from vaeneer.cli import library, training
from vaeneer.cli import library as library_module
from vaeneer.cli import training as training_module
from vaeneer.cli.options import plain_console, spell_out
from vaeneer.errors import TrainingInterrupted, VaeneerError
from vaeneer.settings import read_sections, unknown_name
from vaeneer.storage import storage_error
from vaeneer.text import printable

COMMANDS = (
    training_module.demo,
    training_module.synthesize,
    training_module.prepare,
    training.train,
    training_module.evaluate,
    training_module.similarity,
    library_module.calibrate,
    library.index,
    library_module.search,
    library_module.duplicates,
    library_module.map,
    library_module.cluster,
    library_module.outliers,
    library.stats,
    library_module.serve,
    library_module.embed,
    library_module.merge_vectors,
    training_module.sample,
    training_module.reconstruct,
    training_module.info,
    training_module.doctor,
    training_module.import_weights,
)
"""In the order of docs/cli.md."""

app = App(
    name="vaeneer",
    help="Learn, measure and search the surfaces of a material library with a VAE.",
    version=lambda: str(vaeneer.__version__),
    print_error=False,
    exit_on_error=False,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False  # run() says that it stopped
for _command in COMMANDS:
    app.command(_command)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(group="Every command")] = None,
    debug: Annotated[bool, Parameter(negative="", group="Every command")] = False,
) -> None:
    """Read the options that every command has, then run it.

    Parameters
    ----------
    config
        TOML file with settings, a section for each command (a run's config.toml is one).
    debug
        Show the traceback of an error.
    """
    app.config = (_toml(config),) if config else ()
    ends = tokens.index("--") if "--" in tokens else len(tokens)
    app([*(_long(token) for token in tokens[:ends]), *tokens[ends:]])


def run(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code: 0, 1 for errors, 130 when stopped."""
    spell_out()
    errors = plain_console(errors=True)
    try:
        app.meta(_in_front(arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # `vaeneer ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except TrainingInterrupted as error:
        errors.print(Text(printable(str(error))))
        return 130
    except SystemExit as stop:  # a report that says what is wrong
        return int(stop.code or 0)
    except KeyboardInterrupt:
        errors.print("Stopped.")
        return 130
    except Exception as error:  # the last frame: every error becomes one sentence
        if "--debug" in arguments:
            traceback.print_exc()
        else:
            errors.print(Text(printable(_sentence(error))))
        return 1
    return 0


def _in_front(arguments: Sequence[str]) -> list[str]:
    """The options of every command first; behind the images of search they would be images."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments[:end])
    for word in words:
        if word == "--config":
            front += [word, *([value] if (value := next(words, None)) is not None else [])]
        else:
            (front if word == "--debug" or word.startswith("--config=") else rest).append(word)
    return [*front, *rest, *arguments[end:]]


def _long(token: str) -> str:
    """A flag of one letter, as the settings have it: -k is --k; -0 is --null."""
    if token == "-0":
        return "--null"
    return f"-{token}" if re.fullmatch(r"-[a-z](=.*)?", token, re.DOTALL) else token


def _toml(config: Path) -> Toml:
    """The settings in a file, its sections checked: cyclopts refuses unknown names in them."""
    sections = read_sections(config)
    commands = [name for name in app if not name.startswith("-")]
    for section in sections:
        if section not in commands:
            raise unknown_name(config, f"section [{section}]", section, commands)
    return Toml(config, must_exist=True, allow_unknown=False)


def _sentence(error: Exception) -> str:
    about = getattr(error, "filename", None)
    error = storage_error(error, Path(os.fsdecode(about or ".")).absolute(), verb="used") or error
    if isinstance(error, MissingArgumentError) and (missing := _missing(error)):
        return missing
    if isinstance(error, VaeneerError | CycloptsError | OSError):
        return f"Error: {error}"
    return f"Error: {type(error).__name__}: {error} (--debug shows where)"


def _missing(error: MissingArgumentError) -> str | None:
    """What a command needs and did not get; None for a flag without its value."""
    argument, command = error.argument, " ".join(error.command_chain or ())
    if argument is None or argument.field_info.kind is inspect.Parameter.KEYWORD_ONLY:
        return None
    what = "what to search for" if command == "search" else argument.name.lstrip("-").upper()
    return f"Error: vaeneer {command} needs {what}; see: vaeneer {command} --help"
