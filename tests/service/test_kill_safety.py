"""The submitter is killed after each of its steps and started again: nothing is lost, nothing is done twice."""
from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.local import LocalCluster
from service.home import Home
from service.ledger import Ledger
from service.mlflow_runs import Runs
from service.reconcile import STEPS
from service.tables import SUCCEEDED
from tests.service.conftest import environment, ran


def _restart(home: Home, pipeline: str, survived: Path) -> int:
    command = [sys.executable, "-m", "tests.service.killed_submitter", str(home.path), pipeline, str(survived)]
    return subprocess.run(command, env=environment(), timeout=120, cwd=Path(__file__).parents[2]).returncode


def _check_exactly_once(pipeline: str, ledger: Ledger, cluster: LocalCluster, stages: list[str]) -> None:
    row = ledger.get(pipeline)
    assert row.state == SUCCEEDED, row.message
    assert ran(row) == stages, "each stage's job ran once, in order"
    assert [[one.number for one in stage.attempts] for stage in row.stages] == [[1]] * len(stages)
    assert cluster.tracking_uri is not None
    runs = Runs(cluster.tracking_uri)
    experiment = runs.experiment("adacrossnet")
    found = runs.find(experiment, pipeline)
    stored = [str(one) for one in (row.run_id, *(stage.run_id for stage in row.stages))]
    assert sorted(found) == sorted(stored), "one MLflow run a stage, and the parent"
    assert {runs.status(run) for run in found} == {"FINISHED"}


def test_a_submitter_killed_after_each_step_in_turn_makes_one_run_and_one_job_a_stage(
    shared: tuple[Home, LocalCluster], ledger: Ledger, add: Callable[..., str], tmp_path: Path
) -> None:
    home, cluster = shared
    pipeline, survived = add("prepare"), tmp_path / "survived"
    survived.write_text("")
    statuses = [_restart(home, pipeline, survived)]
    while statuses[-1] == -signal.SIGKILL and len(statuses) <= len(STEPS):
        statuses.append(_restart(home, pipeline, survived))
    assert survived.read_text().splitlines() == list(STEPS), "it was killed after every step, in their order"
    _check_exactly_once(pipeline, ledger, cluster, ["prepare"])


@pytest.mark.soak
@pytest.mark.parametrize("step", STEPS)
def test_a_submitter_killed_after_one_step_goes_on_with_two_stages(
    step: str, shared: tuple[Home, LocalCluster], ledger: Ledger, add: Callable[..., str], tmp_path: Path
) -> None:
    home, cluster = shared
    pipeline, survived = add("prepare", "pretrain"), tmp_path / "survived"
    survived.write_text("\n".join(one for one in STEPS if one != step) + "\n")
    assert _restart(home, pipeline, survived) == -signal.SIGKILL
    assert _restart(home, pipeline, survived) == 0
    _check_exactly_once(pipeline, ledger, cluster, ["prepare", "pretrain"])
