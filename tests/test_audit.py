"""make audit says what it could check, and never that nothing is known where nothing was read."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).parents[1] / ".ci" / "audit.py"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(*dependencies: Any) -> str:
    return json.dumps({"dependencies": dependencies})


FINE = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "2", "vulns": [{"id": "X-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize("output", ["", "no route to host", "{}", answer(), answer(SKIPPED)])
def test_no_data_is_said_in_one_sentence(audit: ModuleType, output: str) -> None:
    (line,), code = audit.verdict(output)
    assert line.startswith("Vulnerabilities were not checked")
    assert code == 2


def test_known_vulnerabilities_are_listed_with_the_version_that_mends_them(
    audit: ModuleType,
) -> None:
    assert audit.verdict(answer(FINE)) == (["0 known vulnerabilities in 1 packages."], 0)
    lines, code = audit.verdict(answer(FINE, FLAWED, SKIPPED))
    assert (lines[0], code) == ("b 2: X-1, mended in 3", 1)
    assert lines[-1].endswith("c.")
