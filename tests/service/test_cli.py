"""The command line: quick, clear about mistakes, and complete on a running cluster."""
from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cluster.local import LocalCluster
from service.home import Home
from service.ledger import Ledger
from service.tables import EMBEDDED, SUCCEEDED, UP
from tests.service.conftest import environment, ran

_COMMAND = str(Path(sys.executable).with_name("adacrossnet"))


def _call(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_COMMAND, *arguments], cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=120)


def _write(folder: Path, **changes: object) -> Path:
    values = {"name": "tiny", "data": {"kind": "synthetic"}, "pretrain": {"epochs": 1}, "cluster": {"min_free_gb": 0.0}} | changes
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_help_answers_at_once_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, service.cli\n"
        "print([m for m in ('torch', 'ray', 'mlflow', 'sqlalchemy', 'numpy', 'pydantic') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert (loaded.returncode, loaded.stdout) == (0, "[]\n")
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        assert "Pipelines" in _call("--help", cwd=tmp_path).stdout
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.6


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"pretrian": {}}, [], "pretrian: unknown key; did you mean 'pretrain'?"),
        ({}, ["--set", "pretrain.epoch=3"], "pretrain.epoch: unknown key; did you mean 'epochs'?"),
        ({}, ["--set", "pretrain.epochs=0"], "pretrain.epochs"),
        ({"data": {"kind": "meshes", "source": "nowhere"}}, [], "data.source: there is no folder"),
        ({}, ["--set", "cluster.workers=31", "--set", "cluster.cpus_per_worker=64"], "asks for 31 workers x 64 CPU"),
    ],
)
def test_a_config_that_cannot_run_is_refused_before_anything_starts(
    changes: dict[str, object], arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = _call("run", str(_write(tmp_path, **changes)), *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "cluster").exists()


def test_a_missing_config_and_an_unknown_pipeline_are_errors(tmp_path: Path) -> None:
    assert "none.yaml: cannot be read" in _call("config", "check", "none.yaml", cwd=tmp_path).stderr
    assert "no pipeline 'p-1' in the ledger" in _call("show", "p-1", cwd=tmp_path).stderr


def test_brackets_in_a_message_are_shown_as_they_are(tmp_path: Path) -> None:
    ledger = Ledger(Home(tmp_path / "runs").ledger_url)
    ledger.add("p-1", "p", {}, ("prepare",), UP, EMBEDDED)
    ledger.set_pipeline("p-1", message="points [4, 3] of [/data] do not fit\nmore")
    ledger.close()
    done = _call("list", cwd=tmp_path)
    assert (done.returncode, "points [4, 3] of [/data] do not fit" in done.stdout) == (0, True), done.stderr


def test_submit_without_a_cluster_names_the_command_that_starts_one(tmp_path: Path) -> None:
    done = _call("submit", str(_write(tmp_path)), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "adacrossnet up" in done.stderr


def test_submit_to_a_cluster_that_went_away_queues_nothing(tmp_path: Path) -> None:
    away = {"RAY_ADDRESS": "http://127.0.0.1:9", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    done = _call("submit", str(_write(tmp_path)), cwd=tmp_path, **away)
    assert done.returncode == 1
    assert "http://127.0.0.1:9 does not answer" in done.stderr
    assert json.loads(_call("list", "--json", cwd=tmp_path).stdout) == []


@pytest.mark.parametrize("command", [["embed", "models:/encoder/1", ".", "out.parquet"], ["reproduce", "encoder/1"]])
def test_an_mlflow_that_is_away_is_said_at_once(command: list[str], tmp_path: Path) -> None:
    begun = time.monotonic()
    done = _call(*command, cwd=tmp_path, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert (done.returncode, "error: MLflow at http://127.0.0.1:9 does not answer" in done.stderr) == (1, True)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(("option", "port", "bound"), [("--ray-port", "-1", "equal to 1"), ("--mlflow-port", "65536", "equal to 65535")])
def test_a_port_that_cannot_be_is_refused(option: str, port: str, bound: str, tmp_path: Path) -> None:
    done = _call("up", option, port, cwd=tmp_path)
    assert (done.returncode, option in done.stderr, bound in done.stderr) == (2, True, True)


def test_options_of_up_that_a_running_cluster_would_not_follow_are_refused(shared: tuple[Home, LocalCluster], tmp_path: Path) -> None:
    done = _call("up", "--cpus", "1", "--mlflow-port", "5000", "--state", str(shared[0].path), cwd=tmp_path)
    assert done.returncode == 1
    assert "adacrossnet down` first, or leave --cpus, --mlflow-port out" in done.stderr
    assert "submitter" not in json.loads(_call("status", "--json", "--state", str(shared[0].path), cwd=tmp_path).stdout)["servers"]


@pytest.mark.parametrize("command", [["status"], ["down"], ["run", "tiny.yaml"]])
def test_a_broken_state_file_is_an_error_that_says_what_to_delete(command: list[str], tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "runs" / "cluster").mkdir(parents=True)
    (tmp_path / "runs" / "cluster" / "cluster.json").write_text("{")
    done = _call(*command, cwd=tmp_path)
    assert (done.returncode, done.stderr.startswith("error: "), "cluster.json" in done.stderr) == (1, True, True)
    assert "Delete it" in done.stderr


def test_config_check_and_schema(tmp_path: Path) -> None:
    path = _write(tmp_path)
    assert "fits. tiny, digest" in _call("config", "check", str(path), cwd=tmp_path).stdout
    resolved = json.loads(_call("config", "check", str(path), "--set", "seed=7", "--json", cwd=tmp_path).stdout)
    assert (resolved["seed"], resolved["cluster"]["storage"]) == (7, str(tmp_path / "runs" / "storage"))
    assert "pretrain" in json.loads(_call("config", "schema", cwd=tmp_path).stdout)["properties"]


def test_config_check_notes_what_will_matter_where_it_runs_and_says_what_a_sweep_does(tmp_path: Path) -> None:
    away = _call("config", "check", str(_write(tmp_path, data={"kind": "prepared", "target": "nowhere"})), cwd=tmp_path)
    assert (away.returncode, "note: data is read from" in away.stdout) == (0, True)
    few = _call("config", "check", str(_write(tmp_path, pretrain={"batch": 500})), cwd=tmp_path)
    assert "note: pretrain.batch is 500 (x 1), more than all 400 shapes" in few.stdout
    search = {"strategies": {"static": {}, "famo": {}}}
    sweep = _call("config", "check", str(_write(tmp_path, pretrain={"epochs": 3}, sweep={"search": search})), cwd=tmp_path)
    assert "a sweep over famo, static, each best setting confirmed on 5 seeds" in sweep.stdout
    assert "note:" not in sweep.stdout


def test_the_version_is_the_packages() -> None:
    assert re.fullmatch(r"adacrossnet \d+\.\d+\.\d+\n", _call("--version", cwd=Path.cwd()).stdout)


def test_another_weighting_by_its_name_alone_is_told_to_be_set_as_a_whole(tmp_path: Path) -> None:
    config = _write(tmp_path, pretrain={"weighting": {"name": "adacrossnet", "alpha": 1.0}})
    said = _call("config", "check", str(config), "--set", "pretrain.weighting.name=dwa", cwd=tmp_path).stderr
    assert "another weighting as a whole: --set 'pretrain.weighting={...}'" in said


def test_data_prepare_refuses_a_kind_that_is_none_and_a_source_that_is_not_read(tmp_path: Path) -> None:
    none = _call("data", "prepare", "foo", "nowhere", "out", cwd=tmp_path)
    assert none.returncode == 1 and "'foo'" in none.stderr and "'meshes'" in none.stderr
    made = _call("data", "prepare", "synthetic", "nowhere", "out", cwd=tmp_path)
    assert made.returncode == 1 and "the kind synthetic is made, not read from nowhere: write - there" in made.stderr
    assert list(tmp_path.iterdir()) == []


def test_data_prepare_names_a_missing_folder_and_an_option_that_its_kind_does_not_have(tmp_path: Path) -> None:
    assert "SOURCE: there is no folder" in _call("data", "prepare", "meshes", "nowhere", "out", cwd=tmp_path).stderr
    (tmp_path / "raw").mkdir()
    done = _call("data", "prepare", "meshes", "raw", "out", "--shapes", "5", cwd=tmp_path)
    assert (done.returncode, "shapes: unknown key" in done.stderr) == (1, True)


@pytest.mark.soak  # half a minute of commands
def test_a_pipeline_run_on_the_cluster_there_is_then_shown_logged_listed_and_reproduced(
    shared: tuple[Home, LocalCluster], ledger: Ledger, tmp_path: Path
) -> None:
    home = str(shared[0].path)
    long = {"epochs": 6}  # a line of progress comes every five seconds
    done = _call("run", str(_write(tmp_path, pretrain=long)), "--json", "--state", home, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    pipeline = summary["pipeline"]
    assert ran(ledger.get(pipeline)) == ["prepare", "pretrain", "evaluate", "register"]
    assert re.search(r"\] pretrain epoch \d/6 loss 5\.31\n", done.stderr), done.stderr
    assert "Worker pid" not in done.stderr
    assert "INFO" not in done.stderr
    assert summary == json.loads((shared[0].path / "latest" / "summary.json").read_text())
    assert summary["scores"]["trained"]["test"] == {"accuracy": 0.9, "balanced_accuracy": 0.89}
    assert summary["scores"]["random"]["val"]["balanced_accuracy"] == 0.49
    assert (summary["loss"], summary["weights"]) == ({"before": 5.5, "after": 3.25}, {"intra": 0.5, "cross": 0.5})
    assert (summary["clouds_per_s"], summary["model"]["name"]) == (12.5, "adacrossnet-tiny")
    assert all(stage["seconds"] > 0 for stage in summary["stages"].values())
    assert [Path(one).name for one in summary["pictures"]] == ["confusion.png"]
    assert all(Path(one).is_file() for one in summary["pictures"])
    assert "workflowType=machine_learning" in summary["mlflow"]

    shown = json.loads(_call("show", pipeline, "--json", "--state", home, cwd=tmp_path).stdout)
    assert (shown["state"], shown["summary"]) == (SUCCEEDED, summary)
    listed = json.loads(_call("list", "--json", "--state", home, cwd=tmp_path).stdout)
    assert listed[0]["pipeline"] == pipeline
    logs = _call("logs", pipeline, "--stage", "pretrain", "--state", home, cwd=tmp_path).stdout
    assert logs.startswith(f"--- {pipeline}-pretrain-1\n")
    assert "pretrain: epoch 1/6 loss 5.31" in logs
    assert json.loads(_call("status", "--json", "--state", home, cwd=tmp_path).stdout)["servers"]["ray"]["alive"]

    version = f"{summary['model']['name']}/{summary['model']['version']}"
    again = _call("reproduce", version, "--json", "--state", home, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    comparison = json.loads(again.stdout)
    assert (comparison["first"], comparison["second"] != pipeline) == (pipeline, True)
    assert {row["difference"] for row in comparison["scores"]} == {0.0}
    assert len(comparison["scores"]) == 8
    assert ledger.get(comparison["second"]).config == {**ledger.get(pipeline).config, "candidate": False}


def test_a_failed_pipeline_says_its_error_first_then_its_log_then_what_to_type(shared: tuple[Home, LocalCluster], tmp_path: Path) -> None:
    done = _call("run", str(_write(tmp_path, name="broken")), "--state", str(shared[0].path), cwd=tmp_path)
    assert done.returncode == 1
    error, log, order = (
        done.stdout.find(text) for text in ("prepare: data.source: /nowhere holds no classes", "Traceback", "adacrossnet resume broken-")
    )
    assert 0 < error < log < order
