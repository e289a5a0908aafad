"""`python -m vaeneer` and the command `vaeneer`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.ignore_environment:
        _run_in_utf8_mode()
    from vaeneer.cli.app import run
    from vaeneer.workers import wait_passively

    wait_passively()
    sys.exit(run(sys.argv[1:]))


def _run_in_utf8_mode() -> None:
    """Start again so that names of files are UTF-8 whatever the locale is, as under LC_ALL=C.

    A library would otherwise mean other files in another locale. The terminal keeps its encoding.
    """
    terminal = {"PYTHONIOENCODING": sys.stdout.encoding} if sys.stdout else {}
    environment = terminal | dict(os.environ) | {"PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


if __name__ == "__main__":
    main()
