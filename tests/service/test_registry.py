"""From a model version back to its pipeline: what is missing, and what does not answer."""
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from jobs.config import ConfigError
from service.mlflow_runs import Runs, TrackingAway
from service.registry import origin


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (RESOURCE_DOES_NOT_EXIST, ValueError, "no such registered version"),
        (INVALID_PARAMETER_VALUE, ValueError, "no such registered version"),  # MLflow's code for an unknown alias
        (INTERNAL_ERROR, TrackingAway, "MLflow at http://127.0.0.1:9 does not answer"),
    ],
)
@pytest.mark.parametrize("model", ["encoder/1", "encoder@candidate"])
def test_only_mlflow_itself_says_that_a_version_is_missing(
    model: str, code: int, kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise MlflowException("told so", code)

    runs = Runs("http://127.0.0.1:9")
    monkeypatch.setattr(runs.client, "get_model_version", refuse)
    monkeypatch.setattr(runs.client, "get_model_version_by_alias", refuse)
    with pytest.raises(kind, match=message):
        origin(model, runs)


def test_a_stored_config_that_the_schema_no_longer_takes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs("http://127.0.0.1:9")
    tags = {"mlflow.parentRunId": "1", "pipeline": "p-1"}
    run = SimpleNamespace(data=SimpleNamespace(tags=tags), info=SimpleNamespace(experiment_id="0"))
    monkeypatch.setattr(runs.client, "get_model_version", lambda *_: SimpleNamespace(name="encoder", version="1", run_id="2", tags={}))
    monkeypatch.setattr(runs.client, "get_run", lambda *_: run)
    monkeypatch.setattr(runs, "read_json", lambda *_: {"data": {"kind": "synthetic"}, "gone": 1})
    monkeypatch.setattr(runs, "find", lambda *_: [])
    with pytest.raises(ConfigError, match="the stored config of p-1: gone: unknown key"):
        origin("encoder/1", runs)
