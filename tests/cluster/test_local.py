"""The embedded cluster starts, answers, and leaves nothing behind, however it ends."""
from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from cluster.identity import Identity
from cluster.local import LocalCluster, Occupied, find_cluster, start_cluster
from cluster.server import Server, StartError, start, wait_until

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    cluster = start_cluster(tmp_path_factory.mktemp("home"), survives=False, cpus=2)
    yield cluster
    processes = [process for server in cluster.servers.values() for process in _all_below(server.identity.pid)]
    assert len(processes) > 10
    cluster.stop()
    assert not [process for process in processes if _runs(process)], "stopping leaves no process"
    assert cluster.temp is not None
    assert not cluster.temp.exists()
    assert find_cluster(cluster.home) is None


def _all_below(pid: int) -> list[psutil.Process]:
    guard = psutil.Process(pid)
    return [guard, *guard.children(recursive=True)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_job_server_wants_the_token_and_the_token_is_the_owners_alone(running: LocalCluster) -> None:
    url = f"{running.address}/api/jobs/"
    assert requests.get(url, timeout=10).status_code == 401
    token = running.token_path.read_text()
    assert requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10).json() == []
    assert running.token_path.stat().st_mode & 0o777 == 0o600


def test_mlflow_answers_and_its_records_lie_in_the_state_folder(running: LocalCluster) -> None:
    assert requests.get(f"{running.tracking_uri}/health", timeout=10).text == "OK"
    assert (running.home / "mlflow" / "mlflow.sqlite").exists()


def test_the_state_file_tells_another_process_what_runs(running: LocalCluster) -> None:
    found = find_cluster(running.home)
    assert found is not None
    assert found.alive()
    assert (found.address, found.tracking_uri) == (running.address, running.tracking_uri)


def test_a_second_cluster_in_the_same_folder_is_refused(running: LocalCluster) -> None:
    with pytest.raises(Occupied, match=r"has its own cluster under .*adacrossnet up"):
        start_cluster(running.home, survives=False)


def test_what_still_runs_of_a_shared_cluster_is_stopped_by_no_command_that_needs_its_own(tmp_path: Path) -> None:
    head = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        now = Identity.of(head.pid)
        gone = Server("the MLflow server", Identity(now.pid, now.ticks - 1, now.boot), tmp_path / "log", 2)
        (tmp_path / "cluster").mkdir()
        LocalCluster(tmp_path, "up", 1, None, {"ray": Server("the Ray head", now, tmp_path / "log", 1), "mlflow": gone}).save()
        with pytest.raises(Occupied, match=r"the MLflow server of `adacrossnet up` under .* ended by itself, the rest still runs: .*down"):
            start_cluster(tmp_path, survives=False)
        assert head.poll() is None
        assert find_cluster(tmp_path) is not None
    finally:
        head.kill()
        head.wait()


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port {port}, asked for the Ray job server, is in use .*--ray-port"):
            start_cluster(tmp_path, survives=False, ray_port=port)
        with pytest.raises(ValueError, match=rf"port {port}, asked for the MLflow server, is in use .*--mlflow-port"):
            start_cluster(tmp_path, survives=False, ray=False, mlflow_port=port)
    assert find_cluster(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"owner": "up", "servers": {"ray": 3}}', "\x00\x00"])
def test_a_broken_state_file_is_named_with_the_way_out(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster" / "cluster.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path}.* Delete it"):
        find_cluster(tmp_path)
    with pytest.raises(ValueError, match="Delete it"):
        start_cluster(tmp_path, survives=False)
    path.unlink()
    assert find_cluster(tmp_path) is None


def test_a_server_that_ends_while_starting_shows_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no such database'); raise SystemExit(3)"]
    server = start("the thing", command, {}, tmp_path / "thing.log", 0, survives=False, grace=1)
    with pytest.raises(StartError, match=r"the thing ended while starting; the end of .*thing.log:\nno such database"):
        wait_until(server, lambda: False, 20)


def test_stopping_never_touches_a_process_whose_start_differs(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        now = Identity.of(other.pid)
        stale = Server("ray", Identity(now.pid, now.ticks - 1, now.boot), tmp_path / "log", 1)
        cluster = LocalCluster(tmp_path, "up", 1, tmp_path / "temp", {"ray": stale})
        (tmp_path / "cluster").mkdir()
        assert cluster.stop() == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_guard_ends_grandchildren_that_left_its_group(tmp_path: Path) -> None:
    grandchild = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    child = (
        "import subprocess, sys, time\n"
        f"one = subprocess.Popen([sys.executable, '-c', {grandchild!r}], start_new_session=True)\n"
        "print(one.pid, flush=True); time.sleep(60)"
    )
    server = start("the thing", [sys.executable, "-c", child], {}, tmp_path / "log", 0, survives=False, grace=1)
    while not (tmp_path / "log").read_text().endswith("\n"):
        time.sleep(0.05)
    below = psutil.Process(int((tmp_path / "log").read_text()))
    assert server.ask_to_stop()
    server.wait_stopped()
    assert not _runs(below)
    assert not server.identity.alive()


def test_everything_ends_when_the_command_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from cluster.local import start_cluster\n"
        "c = start_cluster(Path(sys.argv[1]), survives=False, ray=False)\n"
        "print('up', flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=_ROOT)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    state = json.loads((tmp_path / "cluster" / "cluster.json").read_text())
    processes = _all_below(state["servers"]["mlflow"]["process"]["pid"])
    assert len(processes) >= 2
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    until = time.monotonic() + 20
    while any(_runs(process) for process in processes) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [process for process in processes if _runs(process)]
