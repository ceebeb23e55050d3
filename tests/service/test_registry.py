"""From a model version back to its pipeline: what is missing, and what does not answer."""
from __future__ import annotations

from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

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
