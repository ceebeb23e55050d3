"""The Slurm script for real, on one machine: `srun` runs its command here, and Ray, MLflow and the pipeline are real ones."""
from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.server import Server
from cluster.tracking_server import start_tracking, wait_for_tracking
from tests.cluster.tree import CLUSTER, ROOT
from tests.pipeline.command import TINY

pytestmark = pytest.mark.soak

SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""
# Two nodes, both this machine; a request to queue the job again is noted.
SCONTROL = """#!/bin/sh
if [ "$1" = show ]; then echo 127.0.0.1; echo localhost; else echo "$@" >> "$SCONTROL_LOG"; fi
"""


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[Server]:
    server = start_tracking(tmp_path / "mlflow", None, survives=False)
    wait_for_tracking(server)
    yield server
    server.ask_to_stop()
    server.wait_stopped()


def free_job_id() -> int:
    """One whose two ports nobody listens on."""
    while True:
        number = random.randrange(10_000, 20_000)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("", 20_000 + number % 10_000))
                second.bind(("", 30_000 + number % 10_000))
            except OSError:
                continue
            return number


def rays(job: int) -> list[psutil.Process]:
    """What runs of the job's Ray cluster."""
    marks = (f"/tmp/ray-{job}", f"--address=127.0.0.1:{20_000 + job % 10_000}")
    return [one for one in psutil.process_iter(["cmdline"]) if any(mark in " ".join(one.info["cmdline"] or ()) for mark in marks)]


def stages(job: int, environment: dict[str, str]) -> dict[str, str]:
    """The states of the one pipeline and of its stages; nothing before there is one."""
    home = Path(environment["ADACROSSNET_HOME"]) / f"slurm-{job}"
    if not (home / "ledger.sqlite").exists():
        return {}
    command = ["adacrossnet", "list", "--json", "--state", str(home)]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return {row["pipeline"]: f"{row['state']} {row['stage']}" for row in json.loads(listed.stdout or "[]")}


def test_a_job_that_is_queued_again_in_the_middle_goes_on_and_ends_with_scores(tracking: Server, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY.replace("epochs: 3", "epochs: 8"))
    job = free_job_id()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "ADACROSSNET_", "RAY_", "MLFLOW_"))}
    environment |= {
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "SLURM_JOB_ID": str(job), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "1", "SLURM_SUBMIT_DIR": str(ROOT),
        "SCONTROL_LOG": str(tmp_path / "scontrol"), "ADACROSSNET_HOME": str(tmp_path / "runs"),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{tracking.port}", "COLUMNS": "140",
    }  # fmt: skip
    command = ["bash", str(CLUSTER / "slurm.sbatch"), str(config)]

    with (tmp_path / "first").open("w") as log:
        first = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    until = time.monotonic() + 240
    while "running pretrain" not in (now := stages(job, environment)).values():
        assert first.poll() is None and time.monotonic() < until, f"{now}\n{(tmp_path / 'first').read_text()}"
        time.sleep(1)
    time.sleep(10)  # into the training
    first.send_signal(signal.SIGUSR1)  # as Slurm, 300 s before the end
    assert first.wait(120) == 143, (tmp_path / "first").read_text()
    assert "2 nodes at" in (tmp_path / "first").read_text()
    assert (tmp_path / "scontrol").read_text() == f"requeue {job}\n"
    (pipeline,) = stages(job, environment)
    assert stages(job, environment)[pipeline].startswith("cancelled")
    assert rays(job) == []
    token = tmp_path / "runs" / f"slurm-{job}" / "ray-token"
    assert token.stat().st_mode & 0o777 == 0o600

    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=420)
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"going on with {pipeline}" in second.stdout
    assert "balanced" in second.stdout
    assert list(stages(job, environment)) == [pipeline], "one pipeline, gone on with"
    assert stages(job, environment)[pipeline].startswith("succeeded")
    assert rays(job) == []

    third = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert third.returncode == 0, third.stdout + third.stderr
    assert third.stdout == f"{pipeline} has succeeded\n", "queued again after its end, it does nothing, and starts no Ray"
