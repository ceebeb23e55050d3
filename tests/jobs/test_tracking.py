"""Metrics are logged once a step, whatever was logged before a resume; a stage that fails says why. MLflow's own store, no server."""
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs.config import check, check_data, names
from jobs.tracking import MetricLog, Stage, curves, log_once, run_stage

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda stage: check_data({"kind": "meshes"}, "data"), "data: source: is required and not given"),  # ours: for people
        (lambda stage: int("many"), "ValueError: invalid literal for int() with base 10: 'many'"),  # a library's: a bug of ours
        (lambda stage: [][0], "IndexError: list index out of range"),
    ],
)
def test_a_stage_that_fails_ends_with_its_error_and_its_type_unless_it_is_written_for_people(
    work: Callable[[Stage], None],
    said: str,
    run: tuple[MlflowClient, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, run_id = run
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(names.ENV_CONFIG, check({"data": {"kind": "synthetic"}}, "test").to_json())
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    with pytest.raises(SystemExit):
        run_stage("prepare", work)
    out, err = capsys.readouterr()
    assert out == f"prepare: error: {said}\n\n"
    assert ("Traceback" in err) == (said.partition(":")[0] in ("ValueError", "IndexError"))
    ended = client.get_run(run_id)
    assert (ended.data.tags["error"], ended.info.status) == (said, "FAILED")
