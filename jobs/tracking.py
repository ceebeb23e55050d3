"""What a job tells MLflow, and how a stage job begins and ends. `MlflowClient` with explicit run ids throughout."""
from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric

import jobs
from jobs.config import Pipeline, names

MOST_METRICS = 1000  # a log_batch call takes no more


@dataclass(frozen=True)
class Stage:
    """One stage of a pipeline, as its job sees it."""

    name: str
    config: Pipeline
    run_id: str
    stage_runs: dict[str, str]  # stage -> MLflow run id, of the same pipeline
    pipeline: str
    code_digest: str
    client: MlflowClient

    def say(self, line: str) -> None:
        """A progress line: `pretrain: epoch 3/12 ...`."""
        print(f"{self.name}: {line}", flush=True)

    def tag(self, tags: dict[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, value)

    def leave(self, facts: dict[str, Any]) -> None:
        """`<stage>.json`: what the next stages and the summary read."""
        self.client.log_dict(self.run_id, facts, f"{self.name}.json")

    def facts_of(self, stage: str) -> dict[str, Any]:
        """What an earlier stage of this pipeline left."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.client.download_artifacts(self.stage_runs[stage], f"{stage}.json", folder)
            facts: dict[str, Any] = json.loads(Path(path).read_text())
            return facts

    def picture(self, name: str, draw: Callable[[Path], None]) -> None:
        """Draws a PNG and stores it as `pictures/<name>.png`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            draw(path)
            self.client.log_artifact(self.run_id, str(path), "pictures")


def run_stage(name: str, work: Callable[[Stage], None]) -> None:
    """Runs a stage job from its environment and ends its MLflow run as the work ended.

    A ValueError or FloatingPointError that this project raises is the user's to mend: its message alone is shown. Anything else comes
    with its traceback and the name of its type.
    """
    _own_tree_or_exit()
    stage = _stage_from_environment(name)
    name = stage.name
    stage.tag({names.TAG_CODE: stage.code_digest, names.TAG_CONFIG: stage.config.digest()})
    try:
        work(stage)
    except Exception as error:
        cause = _root(error)
        if not _written_for_people(cause):
            traceback.print_exception(error)
        said = _said(cause)
        print(f"{name}: error: {said}\n", flush=True)  # the blank line ends it: what comes with the exit is no part of it
        stage.client.set_tag(stage.run_id, "error", said[:4000])
        stage.client.set_terminated(stage.run_id, "FAILED")
        sys.exit(1)
    stage.client.set_terminated(stage.run_id, "FINISHED")


def _own_tree_or_exit() -> None:
    """Jobs run from the tree that was submitted; another installed `jobs` would silently run other code."""
    here, found = Path.cwd().resolve(), Path(jobs.__file__).resolve()
    if here not in found.parents:
        sys.exit(f"error: the package `jobs` was imported from {found}, not from the job's working directory {here}: "
                 "uninstall the other copy, or start the job with the project's root as its working directory")


def _stage_from_environment(name: str) -> Stage:
    missing = [key for key in (names.ENV_CONFIG, "MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI") if not os.environ.get(key)]
    if missing:
        sys.exit(f"error: {', '.join(missing)} not set: stage jobs are started by the submitter (`adacrossnet run CONFIG`)")
    return Stage(
        name=os.environ.get(names.ENV_STAGE, name),
        config=Pipeline.model_validate_json(os.environ[names.ENV_CONFIG]),
        run_id=os.environ["MLFLOW_RUN_ID"],
        stage_runs=json.loads(os.environ.get(names.ENV_STAGE_RUNS, "{}")),
        pipeline=os.environ.get(names.ENV_PIPELINE, ""),
        code_digest=os.environ.get(names.ENV_CODE_DIGEST, ""),
        client=MlflowClient(),
    )


def _written_for_people(error: BaseException) -> bool:
    """A fault of the input, raised by our own code: a library's ValueError is a bug of ours and needs its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(jobs.__file__).resolve().parent)
    return isinstance(error, (ValueError, FloatingPointError)) and bool(frames) and frames[-1].filename.startswith(ours)


def _said(error: BaseException) -> str:
    """The message, after the type's name unless it is written for people; from a worker, where the traceback is lost, by its type alone."""
    plain = isinstance(error, (ValueError, FloatingPointError)) if error.__traceback__ is None else _written_for_people(error)
    return str(error) if plain and str(error) else f"{type(error).__name__}: {error}"


def _root(error: BaseException) -> BaseException:
    """The worker's own exception inside what Ray and Ray Train wrap it in."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        # Prefer the rank that says what is wrong to those that only saw a collective break.
        known = [f for f in map(_root, failures.values()) if isinstance(f, (ValueError, FloatingPointError))]
        return known[0] if known else _root(next(iter(failures.values())))
    inner = getattr(error, "cause", None) or error.__cause__ or getattr(error, "_base_exc", None)
    return _root(inner) if isinstance(inner, BaseException) else error


class MetricLog:
    """Metrics of one run, each step once: steps that stand in MLflow already (before a resume) are skipped."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client, self.run_id = client, run_id
        self.logged: dict[str, int] = {}  # key -> its last step in MLflow, asked for when the key is first logged

    def log(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        """`rows` of (step, metrics), in ascending steps."""
        now = int(time.time() * 1000)
        fresh = [
            Metric(key, value, now, step)
            for step, metrics in rows
            for key, value in metrics.items()
            if step > self._last(key)
        ]
        for start in range(0, len(fresh), MOST_METRICS):
            self.client.log_batch(self.run_id, metrics=fresh[start : start + MOST_METRICS])
        for metric in fresh:
            self.logged[metric.key] = metric.step


    def _last(self, key: str) -> int:
        if key not in self.logged:
            self.logged[key] = max((point.step for point in self.client.get_metric_history(self.run_id, key)), default=-1)
        return self.logged[key]


def log_once(client: MlflowClient, run_id: str, key: str, value: float, step: int, **judged: str) -> None:
    """One point, unless that step of `key` is there. `judged`: model_id, dataset_name, dataset_digest of what was measured."""
    if all(point.step != step for point in client.get_metric_history(run_id, key)):
        client.log_metric(run_id, key, value, step=step, **judged)  # type: ignore[arg-type]


def curves(client: MlflowClient, run_id: str, keys: Iterable[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(steps, values) of each key, in ascending steps."""
    found = {}
    for key in keys:
        points = sorted(client.get_metric_history(run_id, key), key=lambda point: point.step)
        found[key] = (np.array([p.step for p in points]), np.array([p.value for p in points], dtype=float))
    return found
