"""schemathesis asks all that openapi.json describes: no 5xx, nothing that is not described."""

from __future__ import annotations

import io
import shutil
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
    with live([folder / "small", folder / "first"]) as at:
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
    case.path_parameters |= {
        name: value for name, value in KNOWN.items() if name in case.path_parameters
    }
    if case.media_type == "multipart/form-data":
        case.body = {"image": [PICTURE]}
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
    assert httpx.get(f"{url}/docs").status_code == 404
    assert httpx.get(f"{url}/redoc").status_code == 404
