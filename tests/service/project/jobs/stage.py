"""What the stand-ins share: the environment that the service gives a job, a mark that it ran, and MLflow's REST API.

The API is called directly because importing MLflow takes longer than everything else that they do.
"""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import requests

CONFIG: dict[str, Any] = json.loads(os.environ.get("ADACROSSNET_CONFIG", "{}"))
STAGE_RUNS: dict[str, str] = json.loads(os.environ.get("ADACROSSNET_STAGE_RUNS", "{}"))
PIPELINE = os.environ.get("ADACROSSNET_PIPELINE", "")
RUN = os.environ.get("MLFLOW_RUN_ID", "")
_SERVER = os.environ.get("MLFLOW_TRACKING_URI", "")


def mark(stage: str) -> int:
    """Adds a line for this job to `<storage>/<pipeline>.ran`; returns how often the stage has run before."""
    path = Path(CONFIG["cluster"]["storage"]) / f"{PIPELINE}.ran"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text().split().count(stage) if path.exists() else 0
    with path.open("a") as file:
        file.write(f"{stage}\n")
    print(f"{stage}: here", flush=True)
    return before


def post(what: str, **values: Any) -> dict[str, Any]:
    """MLflow's answer to a POST of `values`."""
    answer = requests.post(f"{_SERVER}/api/2.0/mlflow/{what}", json=values, timeout=30)
    answer.raise_for_status()
    value: dict[str, Any] = answer.json()
    return value


def artifact_uri(run: str) -> str:
    """Where a run's artifacts are: `mlflow-artifacts:/<experiment>/<run>/artifacts`."""
    answer = requests.get(f"{_SERVER}/api/2.0/mlflow/runs/get", params={"run_id": run}, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["run"]["info"]["artifact_uri"])


def store(path: str, content: bytes) -> None:
    """An artifact of this stage's run."""
    below = artifact_uri(RUN).removeprefix("mlflow-artifacts:/")
    requests.put(f"{_SERVER}/api/2.0/mlflow-artifacts/artifacts/{below}/{path}", data=content, timeout=30).raise_for_status()


def leave(stage: str, facts: dict[str, Any]) -> None:
    """`<stage>.json` in the stage's MLflow run."""
    store(f"{stage}.json", json.dumps(facts).encode())
