"""A sweep as a person runs it: searched, confirmed, reported; killed in the middle and resumed; with trials that fail."""
import json
import re
from pathlib import Path

import pytest
from mlflow.entities import Run

from jobs.config import load
from jobs.sweeping.children import OUTCOME, TRIAL, VALUES
from tests.pipeline.command import TINY, Adacrossnet, kill_outright, processes_of, wait_for, with_title

SWEEP = TINY.replace("name: tiny", "name: tiny-sweep").replace("{name: dgcnn, k: 4}", "{name: pointnet}").replace("workers: 2, ", "") + """
sweep:
  demonstration: true
  search:
    strategies:
      static: {cross: {loguniform: [0.1, 10]}}
      adacrossnet: {alpha: {loguniform: [0.01, 100]}}
    trials: 3
    reduction: 3
  confirm: {seeds: 2}
"""

pytestmark = pytest.mark.soak


def trials(command: Adacrossnet) -> dict[str, Run]:
    """Trial -> its one MLflow run; AssertionError when a trial has two."""
    client = command.tracking()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = [run for run in client.search_runs(experiments, max_results=1000) if TRIAL in run.data.tags]
    keys = [run.data.tags[TRIAL] for run in runs]
    assert len(keys) == len(set(keys)), keys
    return dict(zip(keys, runs, strict=True))


def check_finished(command: Adacrossnet) -> str:
    """The pipeline's id, after the sweep's promises were looked at."""
    summary = command.summary
    found, pipeline = summary["sweep"], summary["pipeline"]
    runs = trials(command)
    searched = {name: [key for key in runs if key.startswith(f"search-{name}-")] for name in ("static", "adacrossnet")}
    assert {name: len(keys) for name, keys in searched.items()} == {"static": 3, "adacrossnet": 3}
    assert len([key for key in runs if key.startswith("confirm-")]) == 6
    assert {run.data.tags[OUTCOME] for run in runs.values()} <= {"done", "stopped early"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for key, run in runs.items():
        if "untrained" not in key:
            steps = [point.step for point in command.tracking().get_metric_history(run.info.run_id, "train/loss")]
            assert len(steps) == len(set(steps)) > 0
    assert {name: len(runs) for name, runs in found["confirm"].items()} == {"static": 2, "adacrossnet": 2, "untrained": 2}
    version = command.tracking().get_model_version_by_alias("adacrossnet-pointnet", "candidate")
    assert str(version.version) == summary["model"]["version"]
    assert version.tags["strategy"] == found["winner"]
    return str(pipeline)


def test_a_sweep_is_confirmed_reported_and_its_best_setting_is_a_ready_config(tmp_path: Path) -> None:
    command = Adacrossnet(tmp_path)
    said = command("sweep", str(command.config(SWEEP)))
    assert re.search(r"search: 3 of static, 3 of adacrossnet; then 4 confirming trials; .* at once: at most some \d+ min", said)
    pipeline = check_finished(command)
    assert processes_of(tmp_path) == []

    report = json.loads(command("report", pipeline, "--json"))
    assert command.summary["sweep"]["verdict"] in report["markdown"]
    shown, folder = command("report", pipeline), tmp_path / "runs/pipelines" / pipeline
    for name, path in report["files"].items():
        assert name in shown and Path(path).samefile(folder / name)
    assert (folder / "report.html").read_text().count("data:image/png;base64,") == 5
    best = load(folder / "best.yaml")
    assert best.stages == ("prepare", "pretrain", "evaluate", "register")
    assert best.pretrain.weighting.name == command.summary["sweep"]["winner"]
    assert best.pretrain.weighting.normalise
    assert f"was found by the sweep {pipeline}" in command("reproduce", "adacrossnet-pointnet/1", code=1)
    again = command("sweep", str(command.config(SWEEP)), code=1)
    assert f"the sweep {pipeline} has the name 'tiny-sweep' already" in again


def test_a_sweep_killed_in_the_middle_goes_on_without_a_trial_twice(tmp_path: Path) -> None:
    command, log = Adacrossnet(tmp_path), tmp_path / "out.log"
    process = command.start("sweep", str(command.config(SWEEP)), log=log)
    pipeline = wait_for(log, r"pipeline (tiny-sweep-\S+)")[1]
    wait_for(log, r"search adacrossnet: .* [12]/3 trials ended")
    kill_outright(process, tmp_path)
    before = {key: run.info.run_id for key, run in trials(command).items()}
    ended = {key for key, run in trials(command).items() if OUTCOME in run.data.tags}
    times = {key: run.info.end_time for key, run in trials(command).items()}
    assert len(ended) >= 4
    command("resume", pipeline)
    assert check_finished(command) == pipeline
    after = trials(command)
    assert all(after[key].info.run_id == run for key, run in before.items())
    assert all(after[key].info.end_time == times[key] for key in ended), "finished trials are kept as they were"


def test_a_killed_trial_goes_on_by_itself_from_its_checkpoint(tmp_path: Path) -> None:
    command, log = Adacrossnet(tmp_path), tmp_path / "out.log"
    process = command.start("sweep", str(command.config(SWEEP)), log=log)
    wait_for(log, r"search static: .* epoch [12]/3")
    with_title(tmp_path, "ray::ImplicitFunc")[0].kill()
    assert process.wait(timeout=500) == 0, log.read_text()
    check_finished(command)
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("victim", ["jobs.sweep", "gcs_server"])
def test_a_sweep_whose_driver_or_head_is_killed_goes_on_when_resumed(tmp_path: Path, victim: str) -> None:
    command, log = Adacrossnet(tmp_path), tmp_path / "out.log"
    process = command.start("sweep", str(command.config(SWEEP)), log=log)
    pipeline = wait_for(log, r"pipeline (tiny-sweep-\S+)")[1]
    wait_for(log, r"search adacrossnet: .* [12]/3 trials ended")
    before = {key: run.info.run_id for key, run in trials(command).items()}
    for one in with_title(tmp_path, victim):
        one.kill()
    status = process.wait(timeout=500)
    if status != 0:  # what is gone cannot be gone on with by the command itself
        assert re.search(rf"adacrossnet resume {pipeline}", log.read_text()), log.read_text()
        command("resume", pipeline)
    assert check_finished(command) == pipeline
    assert all(trials(command)[key].info.run_id == run for key, run in before.items())
    assert processes_of(tmp_path) == []


def test_population_based_training_moves_trials_on_to_the_checkpoints_of_others(tmp_path: Path) -> None:
    command = Adacrossnet(tmp_path)
    moving = SWEEP.replace("    reduction: 3\n", "    scheduler: pbt\n").replace("epochs: 3", "epochs: 5").replace("trials: 3", "trials: 4")
    command("sweep", str(command.config(moving)))
    searched = {key: run for key, run in trials(command).items() if key.startswith("search-")}
    assert len(searched) == 8
    assert {run.data.tags[OUTCOME] for run in searched.values()} == {"done"}
    assert {run.info.status for run in searched.values()} == {"FINISHED"}
    moved = [run for run in searched.values() if any(str(value) != run.data.params[key] for key, value in values_of(run).items())]
    assert moved, "with two in eight tied or worse, one at least is moved to another's values"


def values_of(run: Run) -> dict[str, float]:
    found: dict[str, float] = json.loads(run.data.tags[VALUES])
    return found


def test_a_trial_that_fails_is_said_on_its_run_and_the_others_go_on(tmp_path: Path) -> None:
    command = Adacrossnet(tmp_path)
    diverging = SWEEP.replace("static: {cross: {loguniform: [0.1, 10]}}", "static: {cross: {grid: [1.0]}}").replace(
        "adacrossnet: {alpha: {loguniform: [0.01, 100]}}", "adacrossnet: {}"
    )
    shared = "    shared: {optimizer.lr: {grid: [5.0e-4, 1.0e+30]}}\n    trials: 3"
    said = command("sweep", str(command.config(diverging.replace("    trials: 3", shared))))
    runs = trials(command)
    failed = [run for run in runs.values() if run.data.tags[OUTCOME] == "failed"]
    assert len(failed) == 2
    assert all(run.info.status == "FAILED" and "pretraining stopped at step" in run.data.tags["error"] for run in failed)
    assert command.summary["sweep"]["best"]["static"]["optimizer.lr"] == pytest.approx(5e-4)
    assert "verdict" in said


def test_a_sweep_all_of_whose_trials_fail_says_why(tmp_path: Path) -> None:
    command = Adacrossnet(tmp_path)
    said = command("sweep", str(command.config(SWEEP)), "--set", "pretrain.optimizer.lr=1e30", "--set", "sweep.search.trials=1", code=1)
    assert "every trial of static, the baseline, failed" in said
    assert "pretraining stopped at step" in said
    assert json.loads(command("list", "--json"))[0]["state"] == "failed"
