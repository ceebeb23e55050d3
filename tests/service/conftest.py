"""A real Ray and a real MLflow for the whole package, and a project whose stages do next to nothing."""
from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.local import LocalCluster, start_cluster
from jobs.config import Pipeline as Config
from jobs.config import check
from service.home import Home
from service.ledger import Ledger
from service.submitter import Submitter
from service.tables import EMBEDDED, ENDED, UP, Pipeline

PROJECT = Path(__file__).parent / "project"


@pytest.fixture(autouse=True)
def tiny_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs come from tests/service/project; addresses of the surroundings do not count."""
    monkeypatch.setenv("ADACROSSNET_PROJECT", str(PROJECT))
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "ADACROSSNET_HOME", "ADACROSSNET_LEDGER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, LocalCluster]]:
    """A cluster as `up` leaves it, but with no submitter in the background, and ending with this process."""
    home = Home(tmp_path_factory.mktemp("home"))
    cluster = start_cluster(home.path, survives=False, cpus=2)
    cluster.owner = UP
    cluster.save()
    yield home, cluster
    cluster.stop()


@pytest.fixture
def home(shared: tuple[Home, LocalCluster]) -> Home:
    """The state folder of the shared cluster."""
    return shared[0]


@pytest.fixture
def ledger(home: Home) -> Iterator[Ledger]:
    """Its ledger."""
    opened = Ledger(home.ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """Makes configs of the tiny project: name, seconds of pretraining, evaluations at once."""

    def make(name: str = "tiny", epochs: int = 1, at_once: int = 1) -> Config:
        values: dict[str, Any] = {
            "name": name, "data": {"kind": "synthetic"}, "pretrain": {"epochs": epochs}, "evaluations_at_once": at_once,
            "cluster": {"storage": str(tmp_path / "storage"), "min_free_gb": 0.0}, "limits": {"backoff_s": 1.0},
        }  # fmt: skip
        (tmp_path / "storage").mkdir(exist_ok=True)
        return check(values, "test").resolved(tmp_path)

    return make


@pytest.fixture
def add(ledger: Ledger, config: Callable[..., Config]) -> Callable[..., str]:
    """Queues a pipeline on the shared cluster and returns its id."""

    def queue(*stages: str, name: str = "tiny", epochs: int = 1, at_once: int = 1) -> str:
        pipeline = f"{name}-{secrets.token_hex(4)}"
        ledger.add(pipeline, name, json.loads(config(name, epochs, at_once).to_json()), stages, UP, EMBEDDED)
        return pipeline

    return queue


def ran(pipeline: Pipeline) -> list[str]:
    """The stages whose jobs really ran, in order, once for each job."""
    path = Path(pipeline.config["cluster"]["storage"]) / f"{pipeline.id}.ran"
    return path.read_text().split() if path.exists() else []


def until_ended(submitter: Submitter, pipeline: str, seconds: float = 60.0) -> Pipeline:
    """Reconciles until the pipeline has ended."""
    until = time.monotonic() + seconds
    while (row := submitter.ledger.get(pipeline)).state not in ENDED:
        assert time.monotonic() < until, f"{pipeline} is still {row.state}: {row.message}"
        submitter.tick()
        time.sleep(0.1)
    return row


def environment(**more: str) -> dict[str, str]:
    """For subprocesses: this one's, the tiny project, and `more`."""
    return {**os.environ, "ADACROSSNET_PROJECT": str(PROJECT), "COLUMNS": "140", **more}
