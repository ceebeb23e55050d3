"""Waiting for a cluster's nodes: counts those of a real head, with its token; says what is missing."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.local import start_cluster
from cluster.ports import free_ports
from tests.cluster.tree import ROOT


def call(address: str, count: int, token: Path | None, seconds: float = 5) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    if token is not None:
        environment["RAY_AUTH_TOKEN_PATH"] = str(token)
    command = [sys.executable, "-m", "cluster.wait_for_nodes", address, str(count), "--seconds", str(seconds)]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_head_that_never_answers_is_given_up_in_time(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    done = call(f"http://127.0.0.1:{port}", 2, None, seconds=0.5)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: 0 of 2 nodes joined http://127.0.0.1:{port} within 0.5 s")


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = call("http://127.0.0.1:9", 1, tmp_path / "none")
    assert done.returncode == 1
    assert str(tmp_path / "none") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.soak
def test_the_nodes_of_a_real_head_are_counted_and_those_that_are_missing_are_told(tmp_path: Path) -> None:
    cluster = start_cluster(tmp_path, survives=False, cpus=1, mlflow=False)
    try:
        assert cluster.address is not None
        done = call(cluster.address, 1, cluster.token_path)
        assert (done.returncode, done.stdout) == (0, f"1 node at {cluster.address}\n")
        missing = call(cluster.address, 2, cluster.token_path, seconds=2)
        assert missing.returncode == 1
        assert "1 of 2 nodes joined" in missing.stderr
        wrong = tmp_path / "wrong"
        wrong.write_text("another")
        refused = call(cluster.address, 1, wrong)
        assert refused.returncode == 1
        assert "refuses the token of RAY_AUTH_TOKEN_PATH (403)" in refused.stderr
    finally:
        cluster.stop()
