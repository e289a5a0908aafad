"""One process for each side of a benchmark: asked in turn, so that one works while the others wait.

A question is a line of JSON on standard input, `{"do": ACTION, ...}`; so is the answer on standard
output. Standard library only: the sides run in environments of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def serve(**actions: Callable[..., dict[str, Any]]) -> None:
    """Answer questions until standard input ends; whatever else is printed goes to the log."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            asked = json.loads(line)
            answer = actions[asked.pop("do")](**asked)
            print(json.dumps(answer), file=answers, flush=True)


class Side:
    """A program of this folder, running, warm, and idle between questions."""

    def __init__(self, program: str, log: Path, *, python: Path | str = sys.executable) -> None:
        self.program, self.log = program, log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [str(python), str(HERE / program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def ask(self, do: str, **how: Any) -> dict[str, Any]:
        """Wait for the answer. Raises RuntimeError with the end of the log when the side died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **how}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            tail = self.log.read_text()[-2000:]
            raise RuntimeError(f"{self.program} died at {do}; the end of {self.log}:\n{tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let the program end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
