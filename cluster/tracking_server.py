"""The embedded MLflow server: SQLite and artifacts below one folder, one worker, loopback."""
from __future__ import annotations

import os
import sys
from pathlib import Path

import requests

from cluster.ports import claim
from cluster.server import Server, start, wait_until

_START_S = 120.0


def start_tracking(folder: Path, port: int | None, survives: bool) -> Server:
    """An MLflow server over `folder`/mlflow.sqlite on `port` (none: a free one). Returns before it answers.

    Raises ValueError when the port is taken.
    """
    chosen = claim(port, "the MLflow server", "--mlflow-port")
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(chosen), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{(folder / 'mlflow.sqlite').resolve()}",
        "--serve-artifacts", "--artifacts-destination", artifacts.resolve().as_uri(),
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")}
    env.update(
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",  # its job runners triple the memory and the start, and nothing here uses them
        MLFLOW_DISABLE_TELEMETRY="true",
        PYTHONUNBUFFERED="1",
    )
    return start("the MLflow server", command, env, folder / "mlflow.log", chosen, survives, grace=5.0)


def wait_for_tracking(server: Server) -> None:
    """Returns when the server answers; StartError otherwise."""
    url = f"http://127.0.0.1:{server.port}/health"
    wait_until(server, lambda: requests.get(url, timeout=5).status_code == 200, _START_S)
