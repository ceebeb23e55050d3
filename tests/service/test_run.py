"""`run` with a cluster of its own, and `up` … `down`: what they start, they stop."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from service.home import Home
from service.ledger import Ledger
from service.tables import CANCELLED, FAILED, SUCCEEDED
from tests.service.conftest import environment, ran

_COMMAND = str(Path(sys.executable).with_name("adacrossnet"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a config whose pretraining takes a minute unless told otherwise."""
    values = {"name": "tiny", "data": {"kind": "synthetic"}, "pretrain": {"epochs": 60}, "cluster": {"min_free_gb": 0.0}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    return tmp_path


@pytest.fixture
def own_ledger(place: Path) -> Iterator[Ledger]:
    opened = Ledger(Home(place / "runs").ledger_url)
    yield opened
    opened.close()


def _start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([_COMMAND, *arguments], cwd=place, env=environment(), text=True, **out)  # type: ignore[call-overload]


def _until_pretraining(ledger: Ledger, seconds: float = 60) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for row in ledger.recent(1):
            if "pretrain" in ran(row):
                return row.id
        time.sleep(0.2)
    raise AssertionError("pretraining did not start")


def _servers(place: Path) -> list[psutil.Process]:
    state = json.loads((place / "runs" / "cluster" / "cluster.json").read_text())
    guards = [psutil.Process(one["process"]["pid"]) for one in state["servers"].values()]
    return [process for guard in guards for process in (guard, *guard.children(recursive=True))]


def _left(processes: list[psutil.Process]) -> list[psutil.Process]:
    def runs(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return [process for process in processes if runs(process)]


def test_ctrl_c_stops_the_job_cancels_the_pipeline_and_ends_every_process(place: Path, own_ledger: Ledger) -> None:
    command = _start(place, "run", "tiny.yaml")
    pipeline = _until_pretraining(own_ledger)
    processes = _servers(place)
    second = subprocess.run([_COMMAND, "run", "tiny.yaml"], cwd=place, env=environment(), capture_output=True, text=True)
    assert (second.returncode, "has its own cluster" in second.stderr) == (1, True)
    command.send_signal(signal.SIGINT)
    out, _ = command.communicate(timeout=60)
    assert command.returncode == 130, out
    assert f"adacrossnet resume {pipeline}" in out
    assert "Traceback" not in out
    assert _left(processes) == []
    row = own_ledger.get(pipeline)
    assert [row.state, *(stage.state for stage in row.stages[:2])] == [CANCELLED, SUCCEEDED, CANCELLED]
    assert row.message == "cancelled by Ctrl-C"


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [1.0, 3.0, 5.0])
def test_ctrl_c_while_the_servers_start_ends_them(seconds: float, place: Path, own_ledger: Ledger) -> None:
    command = _start(place, "run", "tiny.yaml")
    state = place / "runs" / "cluster" / "cluster.json"
    while not state.exists() or "mlflow" not in json.loads(state.read_text())["servers"]:
        time.sleep(0.02)
    time.sleep(seconds)
    processes = _servers(place)
    command.send_signal(signal.SIGINT)
    out, _ = command.communicate(timeout=60)
    assert command.returncode == 130, out
    assert "every process that was started has been stopped" in out
    assert (_left(processes), own_ledger.recent(1)) == ([], [])


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_run_ends_every_process(number: signal.Signals, place: Path, own_ledger: Ledger) -> None:
    command = _start(place, "run", "tiny.yaml")
    pipeline = _until_pretraining(own_ledger)
    processes = _servers(place)
    command.send_signal(number)
    out, _ = command.communicate(timeout=60)
    assert (command.returncode, own_ledger.get(pipeline).state) == (130, CANCELLED), out
    assert _left(processes) == []


@pytest.mark.soak
def test_a_killed_run_leaves_no_process_and_its_pipeline_is_interrupted_and_resumes(place: Path, own_ledger: Ledger) -> None:
    command = _start(place, "run", "tiny.yaml")
    pipeline = _until_pretraining(own_ledger)
    processes = _servers(place)
    temp = json.loads((place / "runs" / "cluster" / "cluster.json").read_text())["temp"]
    command.kill()
    command.communicate()
    until = time.monotonic() + 30
    while (_left(processes) or Path(temp).exists()) and time.monotonic() < until:
        time.sleep(0.2)
    assert (_left(processes), Path(temp).exists()) == ([], False)
    listed = subprocess.run([_COMMAND, "list", "--json"], cwd=place, env=environment(), capture_output=True, text=True)
    assert json.loads(listed.stdout)[0]["state"] == "interrupted"
    row = own_ledger.get(pipeline)
    own_ledger.set_pipeline(pipeline, config={**row.config, "pretrain": {**row.config["pretrain"], "epochs": 1}})
    command = _start(place, "resume", pipeline)
    out, _ = command.communicate(timeout=120)
    assert command.returncode == 0, out
    assert (place / "runs" / "latest" / "summary.json").exists()
    row = own_ledger.get(pipeline)
    assert ran(row) == ["prepare", "pretrain", "pretrain", "evaluate", "register"]
    assert [(one.number, one.state) for one in row.stages[1].attempts] == [(1, "lost"), (2, SUCCEEDED)]


@pytest.mark.soak
def test_a_head_that_dies_under_a_run_fails_the_pipeline_and_ends_the_rest(place: Path, own_ledger: Ledger) -> None:
    command = _start(place, "run", "tiny.yaml")
    pipeline = _until_pretraining(own_ledger)
    processes = _servers(place)
    state = json.loads((place / "runs" / "cluster" / "cluster.json").read_text())
    os.kill(psutil.Process(state["servers"]["ray"]["process"]["pid"]).children()[0].pid, signal.SIGKILL)
    out, _ = command.communicate(timeout=120)
    assert (command.returncode, own_ledger.get(pipeline).state) == (1, FAILED), out
    assert "the Ray head has ended by itself" in out
    assert "Traceback" not in out
    assert _left(processes) == []


@pytest.mark.soak
def test_up_submit_follow_down(place: Path, own_ledger: Ledger) -> None:
    def call(*arguments: str) -> str:
        done = subprocess.run([_COMMAND, *arguments], cwd=place, env=environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        facts = json.loads(call("up", "--json"))
        assert {name: one["alive"] for name, one in facts["servers"].items()} == {"ray": True, "mlflow": True, "submitter": True}
        assert json.loads(call("up", "--json"))["servers"] == facts["servers"], "a second `up` starts nothing"
        submitter = psutil.Process(facts["servers"]["submitter"]["pid"]).children()[0]
        assert not [mapped.path for mapped in submitter.memory_maps() if "libtorch" in mapped.path]
        first = call("submit", "tiny.yaml", "--set", "pretrain.epochs=1").strip()
        assert "pretrain: epoch 1/1" in call("logs", first, "--follow")
        assert own_ledger.get(first).state == SUCCEEDED
        second = call("submit", "tiny.yaml").strip()
        assert _until_pretraining(own_ledger) == second
        call("cancel", second)
        assert own_ledger.get(second).state == CANCELLED
        third = call("submit", "tiny.yaml", "--set", "pretrain.epochs=5").strip()
        assert _until_pretraining(own_ledger) == third
        processes = _servers(place)
    finally:
        stopped = json.loads(call("down", "--json"))
    assert (sorted(stopped["stopped"]), stopped["unfinished"]) == (["mlflow", "ray", "submitter"], [third])
    assert _left(processes) == []
    try:
        call("up")
        assert "pretrain: epoch 5/5" in call("logs", third, "--follow"), "an unfinished pipeline goes on at the next `up`"
        assert [one.state for one in own_ledger.get(third).stages[1].attempts] == ["lost", SUCCEEDED]
    finally:
        call("down")
