"""The command line as a person uses it: a process, a state folder of its own, real Ray and real MLflow behind it."""
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run

ROOT = Path(__file__).resolve().parents[2]

TINY = """
name: tiny
data: {kind: synthetic, shapes: 160, points: 64, views: 1, image_size: 32}
pretrain:
  backbone: {name: dgcnn, k: 4}
  image: {tower: resnet18, size: 32}
  optimizer: {lr: 5.0e-4, clip_norm: 5.0}
  epochs: 3
  batch: 16
  points: 48
  loader_workers: 0
  log_every: 1
evaluate: {points: 48}
cluster: {workers: 2, cpus_per_worker: 1, min_free_gb: 0.1}
"""


@dataclass
class Adacrossnet:
    """`adacrossnet` in `folder`, with the state folder `folder/runs`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def config(self, text: str = TINY) -> Path:
        path = self.folder / "config.yaml"
        path.write_text(text)
        return path

    def start(self, *arguments: str, log: Path | None = None) -> subprocess.Popen[str]:
        kept = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "ADACROSSNET_HOME")}
        command = [str(Path(sys.executable).parent / "adacrossnet"), *arguments]
        environment = {**kept, **self.environment}
        with log.open("w") if log else contextlib.nullcontext(subprocess.PIPE) as out:
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=out, stderr=subprocess.STDOUT, text=True)

    def __call__(self, *arguments: str, code: int = 0, timeout: float = 420) -> str:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=timeout)
        assert process.returncode == code, said
        return said

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "runs/latest/summary.json").read_text())
        return found

    def tracking(self) -> MlflowClient:
        """MLflow's own database, when its server is down."""
        return MlflowClient(f"sqlite:///{self.folder / 'runs/mlflow/mlflow.sqlite'}")

    def stage_runs(self, pipeline: str) -> dict[str, Run]:
        """Stage -> its one MLflow run; AssertionError when a stage has two."""
        client = self.tracking()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, f"tags.pipeline = '{pipeline}'")
        stages = [run.data.tags["stage"] for run in runs]
        assert len(stages) == len(set(stages)), stages
        return dict(zip(stages, runs, strict=True))


def wait_for(log: Path, pattern: str, timeout: float = 240) -> re.Match[str]:
    """The first match of `pattern` in a growing log."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found = re.search(pattern, log.read_text() if log.exists() else "")
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{pattern!r} did not come within {timeout} s:\n{log.read_text()}")


def kill_outright(process: subprocess.Popen[str], folder: Path) -> None:
    """SIGKILL, and a minute for what it had started to end by itself; AssertionError when something of it stays."""
    process.kill()
    process.wait()
    end = time.monotonic() + 60
    while processes_of(folder) and time.monotonic() < end:
        time.sleep(0.5)
    assert processes_of(folder) == []


def processes_of(folder: Path) -> list[psutil.Process]:
    """Living processes whose command line or working directory names `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()) or str(folder) in process.cwd():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def with_title(folder: Path, title: str) -> list[psutil.Process]:
    """Processes of the cluster whose state lies in `folder` that show `title` as their command."""
    heads = {process.pid for process in processes_of(folder)}
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline() or [process.name()])
            if title in line and (process.pid in heads or heads & {parent.pid for parent in process.parents()}):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
