"""The API against what its own OpenAPI document allows and forbids: whatever comes, no answer is a fault of the server."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from cluster.local import start_cluster
from tests.service.server import Served, serving

EXAMPLES = 12  # a route; the soak takes more
MANY = 150


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    folder: Path = tmp_path_factory.mktemp("fuzzed")
    mlflow = start_cluster(folder / "mlflow", survives=False, ray=False)
    assert mlflow.tracking_uri is not None
    settings = "requests_per_minute: 1000000\nquota: {unfinished: 100000}\n"
    try:
        with serving(folder / "home", folder / "root", settings, env={"MLFLOW_TRACKING_URI": mlflow.tracking_uri}) as one:
            yield one, one.token("fuzz", "admin")
    finally:
        mlflow.stop()


@pytest.fixture(scope="module")
def document(fuzzed: tuple[Served, str]) -> Any:
    return schemathesis.openapi.from_url(f"{fuzzed[0].url}/openapi.json")


def _fuzz(document: Any, token: str, examples: int) -> int:
    """Sends so many requests to each route, made from its own description; how many routes there are."""
    usual = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True, max_examples=examples)
    operations = [one.ok() for one in document.get_all_operations()]
    for operation in operations:

        @usual
        @given(case=operation.as_strategy())
        def answered(case: schemathesis.Case) -> None:
            if case.query:
                case.query.pop("follow", None)  # it would wait for a pipeline that nobody runs
            # A config is one object here and has a schema of its own, so that most of what fits the document is refused, with the reason.
            left_out = [positive_data_acceptance]
            case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, timeout=30, excluded_checks=left_out)

        answered()
    return len(operations)


def test_whatever_comes_is_answered_as_the_document_says(document: Any, fuzzed: tuple[Served, str]) -> None:
    assert _fuzz(document, fuzzed[1], EXAMPLES) >= 20


@pytest.mark.soak
def test_much_more_that_comes_is_answered_as_the_document_says(document: Any, fuzzed: tuple[Served, str]) -> None:
    assert _fuzz(document, fuzzed[1], MANY) >= 20
