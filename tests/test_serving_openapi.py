"""schemathesis asks all that openapi.json describes: no 5xx, nothing that is not described."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from live_server import live


def _png() -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").save(stream, "PNG")
    return stream.getvalue()


ITEMS = 24
DOCS = (Path(__file__).parents[1] / "docs" / "http-api.md").read_text(encoding="utf-8")
NAMES = {"item": "ID", "name": "NAME", "file": "FILE", "number": "NUMBER"}
KNOWN = {"name": "first", "file": "samples.png"}
PICTURE = _png()
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture(scope="module")
def url(small_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("described")
    shutil.copytree(small_library, folder / "small")
    plots = folder / "first" / "plots"
    plots.mkdir(parents=True)
    (plots / "samples.png").write_bytes(PICTURE)
    (folder / "first" / "config.toml").write_text("[train]\nepochs = 1\n")
    (folder / "first" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    (folder / "broken").mkdir()  # never becomes a second library, which would have to be named
    (folder / "broken" / "a.png").write_bytes(b"no picture")
    with live([folder / "small", folder / "first", folder / "broken"]) as at:
        yield at


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_nothing_is_answered_that_is_not_described(url: str, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json")
    statuses = Counter(
        status
        for result in schema.get_all_operations()
        for status in asked(result.ok(), mode, steer=False)
    )
    assert sum(statuses.values()) > 100
    assert statuses[422 if mode is GenerationMode.NEGATIVE else 200] > 20


@pytest.mark.slow
def test_good_answers_are_as_described(url: str) -> None:
    """As above, but asking for what is there, so that every address answers 200 at times."""
    schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json")
    for result in schema.get_all_operations():
        operation = result.ok()
        statuses = asked(operation, GenerationMode.POSITIVE, steer=True)
        assert {200, 202} & set(statuses), (operation.label, statuses)


def asked(operation: Any, mode: GenerationMode, *, steer: bool) -> list[int]:
    """The statuses of some requests that fit the description, or do not; each answer is checked."""
    statuses: list[int] = []

    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: schemathesis.Case) -> None:
        if steer:
            steered(case)
        answer = case.call()
        statuses.append(answer.status_code)
        case.validate_response(answer, checks=CHECKS[:-1] if steer else CHECKS)

    try:
        holds()
    except Unsatisfiable:  # nothing can be wrong about an address without parameters
        assert mode is GenerationMode.NEGATIVE
    return statuses


def steered(case: schemathesis.Case) -> None:
    """Ask for libraries, items, runs and pictures that are there."""
    query = case.query
    for name in ("library", "model", "epoch", "where", "box", "category", "tag", "kind", "page"):
        query.pop(name, None)
    for name in ("item", "a", "b", "without"):
        if isinstance(query.get(name), int):
            query[name] = 1 + query[name] % ITEMS
        elif name in query or (name == "item" and case.path.endswith("/search")):
            query[name] = [1 + one % ITEMS for one in query.get(name) or [0]]
    if "item" in case.path_parameters:
        case.path_parameters["item"] = 1 + case.path_parameters["item"] % ITEMS
    if "number" in case.path_parameters:
        case.path_parameters["number"] = 0
    case.path_parameters |= {
        name: value for name, value in KNOWN.items() if name in case.path_parameters
    }
    if case.media_type == "multipart/form-data":
        case.body = {"image": [PICTURE]}
    elif "/duplicates/" in case.path:
        case.body = {"library": "small", "marks": case.body.get("marks", {})}
    elif "/indexing" in case.path and case.method == "POST":
        case.body = {"library": "broken"}
    elif case.path.endswith("/sample"):
        case.body = {"count": 1, "seed": case.body.get("seed", 0), "library": "small"}


def test_the_description_has_every_route_and_examples(url: str) -> None:
    schema = httpx.get(f"{url}/api/v1/openapi.json").json()
    assert schema["openapi"].startswith("3.")
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["description"], path
            problems = operation["responses"]["422"]["content"]
            assert list(problems) == ["application/problem+json"]
    text = json.dumps(schema)
    assert text.count('"examples"') >= 5
    assert httpx.get(f"{url}/docs").status_code == 404
    assert httpx.get(f"{url}/redoc").status_code == 404


def test_fields_are_described_by_the_docstrings_of_the_reports(url: str) -> None:
    schemas = httpx.get(f"{url}/api/v1/openapi.json").json()["components"]["schemas"]
    for name, field, words in (
        ("HitAnswer", "score", "Cosine"),  # inherited from the report of a search
        ("DuplicateItemAnswer", "relation", "file to keep"),
        ("DecisionsAnswer", "redundant_files", "stand for"),  # from two classes above
        ("ItemDetails", "mean_rgb", "0 to 1"),
        ("Mark", "keep_path", "stands for"),  # a report of the library as it is
    ):
        assert words in schemas[name]["properties"][field]["description"], name
    assert "missing" in schemas["HitAnswer"]["required"]  # a default is answered, too
    assert set(schemas["QueryAnswer"]["properties"]) >= {"images", "words", "k", "exact_match"}


def test_the_documentation_names_every_address(url: str) -> None:
    known = httpx.get(f"{url}/api/v1/openapi.json").json()["paths"]
    for path in known:
        short = path.removeprefix("/api/v1") or "/"
        told = re.sub(r"\{(\w+)\}", lambda name: NAMES[name[1]], short)
        assert f"`{told}`" in DOCS or f" {told}`" in DOCS, told


def test_the_examples_of_the_documentation_work(url: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(PICTURE)
    blocks = re.findall(r"```(bash|python)\n(.*?)```", DOCS, re.DOTALL)
    here = "http://127.0.0.1:8765"
    shell = next(text for kind, text in blocks if kind == "bash" and "photo.jpg" in text)
    script = next(text for kind, text in blocks if kind == "python" and "photo.jpg" in text)
    ids = {"item=12&item=40&negative=7&category=wood": "item=1&item=2&negative=3", "/12/": "/1/"}
    ids["100,80,300,300"] = "10,8,200,200"
    for old, new in {here: url, "$API": f"{url}/api/v1", **ids}.items():
        assert old in DOCS
        shell, script = shell.replace(old, new), script.replace(old, new)
    assert len(shell.splitlines()) > 5
    for line in shell.splitlines()[1:]:
        command = [*shlex.split(line), "--fail-with-body", "--silent"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert done.stdout.startswith("{") or "-o" in command
    assert (tmp_path / "thumbnail.webp").stat().st_size > 100
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5


def test_the_command_serves_until_it_is_stopped(small_library: Path, tmp_path: Path) -> None:
    shutil.copytree(small_library, tmp_path / "small")
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    code = (
        "import sys\nfrom vaeneer.cli.app import run\n"
        "sys.exit(run(['serve', sys.argv[1], '--port', '0', '--token-file', sys.argv[2]]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "small"), str(token)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        said = process.stdout.readline().decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert found, said
        for _ in range(100):
            try:
                assert httpx.get(f"{found[0]}/healthz").json() == {"state": "alive"}
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert httpx.get(f"{found[0]}/api/v1").status_code == 401
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)
