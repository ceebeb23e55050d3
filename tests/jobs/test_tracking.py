"""Metrics are logged once a step, whatever was logged before a resume. MLflow's own store, no server."""
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs.tracking import MetricLog, curves, log_once


@pytest.fixture
def run(tmp_path: Path) -> tuple[MlflowClient, str]:
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    experiment = client.create_experiment("test", artifact_location=(tmp_path / "artifacts").as_uri())
    return client, client.create_run(experiment).info.run_id


def rows(first: int, last: int) -> list[tuple[int, dict[str, float]]]:
    return [(step, {"a": step / 2, "b": -float(step)}) for step in range(first, last + 1)]


def test_steps_logged_before_a_resume_are_skipped(run: tuple[MlflowClient, str]) -> None:
    client, run_id = run
    MetricLog(client, run_id).log(rows(1, 7))
    resumed = MetricLog(client, run_id)
    resumed.log(rows(5, 9))
    resumed.log(rows(9, 10))
    for key, factor in (("a", 0.5), ("b", -1.0)):
        steps, values = curves(client, run_id, (key,))[key]
        assert steps.tolist() == list(range(1, 11))
        assert values.tolist() == [factor * step for step in range(1, 11)]


def test_more_rows_than_one_call_takes_are_all_logged(run: tuple[MlflowClient, str]) -> None:
    client, run_id = run
    MetricLog(client, run_id).log(rows(1, 1300))
    assert len(curves(client, run_id, ("a",))["a"][0]) == 1300


def test_a_single_point_is_logged_once(run: tuple[MlflowClient, str]) -> None:
    client, run_id = run
    for _ in range(2):
        log_once(client, run_id, "val/score", 0.5, 6)
    log_once(client, run_id, "val/score", 0.6, 12)
    steps, values = curves(client, run_id, ("val/score",))["val/score"]
    assert (steps.tolist(), values.tolist()) == ([6, 12], [0.5, 0.6])
