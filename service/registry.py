"""Registered models: reaching the MLflow that holds them, and from a version back to what made it."""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.local import find_cluster, start_cluster
from jobs.config import Pipeline as Config
from jobs.config import check, names
from service.home import Home
from service.mlflow_runs import ABSENT, NoSuch, Runs, TrackingAway
from service.session import signals_as_interrupt, signals_ignored

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


class NoVersion(ValueError):
    """No registered version of that name."""


@dataclass(frozen=True)
class Origin:
    """What made a model version: its pipeline, resolved config, code digest, and the scores it got."""

    name: str
    version: str
    pipeline: str
    config: Config
    code: str
    scores: dict[str, Any]


@contextmanager
def tracking_server(home: Home) -> Iterator[str]:
    """The URL of MLFLOW_TRACKING_URI, of the MLflow of `up`, or of one that runs for as long as this is open."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        yield uri
        return
    running = find_cluster(home.path)
    if running is not None and running.alive() and running.tracking_uri:
        yield running.tracking_uri
        return
    with signals_as_interrupt():
        own = start_cluster(home.path, survives=False, ray=False)
        try:
            assert own.tracking_uri is not None
            yield own.tracking_uri
        finally:
            with signals_ignored():
                own.stop()


def version_of(runs: Runs, model: str) -> ModelVersion:
    """`NAME/VERSION`, `NAME@ALIAS`, or either after `models:/`. ValueError when there is none, TrackingAway when MLflow does not answer."""
    text = model.removeprefix("models:/")
    name, at, alias = text.partition("@")
    if not at:
        name, _, number = text.rpartition("/")
        if not name or not number.isdigit():
            raise ValueError(f"{model!r} names no model version: write NAME/VERSION or NAME@ALIAS, as in adacrossnet-dgcnn@candidate")
    try:
        return runs.client.get_model_version_by_alias(name, alias) if at else runs.client.get_model_version(name, number)
    except Exception as error:  # MLflow's own, imported late
        raise_if_away(error, runs)
        raise NoVersion(f"{model}: no such registered version on {runs.uri} ({str(error).splitlines()[0][:200]})") from None


def origin(model: str, runs: Runs) -> Origin:
    """What made `name/version`, `name@alias`, or either after `models:/`.

    ValueError when there is no such version or record, TrackingAway when MLflow does not answer.
    """
    version = version_of(runs, model)
    name = version.name
    try:
        run = runs.client.get_run(version.run_id or "")
        parent = run.data.tags["mlflow.parentRunId"]
        config = runs.read_json(parent, "config.json")
    except Exception as error:  # no such run, no such tag, or MLflow's own
        raise_if_away(error, runs)
        raise ValueError(f"{model}: the run that made it has no parent with its config ({type(error).__name__}: {error})") from None
    if config is None:
        raise ValueError(f"{model}: the parent run {parent} holds no config.json; was the pipeline made by another version of the service?")
    pipeline = run.data.tags[names.TAG_PIPELINE]
    judged = runs.find(run.info.experiment_id, pipeline, "evaluate")
    facts = (runs.read_json(judged[0], "evaluate.json") if judged else None) or {}
    code = version.tags.get(names.TAG_CODE, "")
    return Origin(name, str(version.version), pipeline, check(config, f"the stored config of {pipeline}"), code, facts.get("scores", {}))


def raise_if_away(error: Exception, runs: Runs) -> None:
    """TrackingAway unless the error says that there is no such thing."""
    if isinstance(error, NoSuch):
        return
    if isinstance(error, TrackingAway):
        raise error
    code = getattr(error, "error_code", None)  # of MLflow's exceptions
    if isinstance(error, OSError) or (code is not None and code not in ABSENT):
        raise TrackingAway(f"MLflow at {runs.uri} does not answer ({str(error).splitlines()[0][:200]})") from None
