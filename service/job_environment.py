"""What a stage's job is told: its config and where it stands, MLflow, and how Ray Train and the allocator are to behave."""
from __future__ import annotations

import json
import os
from typing import Any

from jobs.config import names
from jobs.config.sections import Cluster
from service import retries
from service.endpoints import Endpoint
from service.tables import Pipeline, Stage


def environment(pipeline: Pipeline, stage: Stage, run: str, endpoint: Endpoint, digest: str) -> dict[str, str]:
    """The job's variables; no credentials, for whoever may look at the job sees them. `digest`: of the code."""
    return {
        names.ENV_CONFIG: json.dumps(retries.changed(pipeline.config, stage.changes)),
        names.ENV_PIPELINE: pipeline.id,
        names.ENV_STAGE: stage.name,
        names.ENV_STAGE_RUNS: json.dumps({one.name: one.run_id for one in pipeline.stages if one.run_id}),
        names.ENV_CODE_DIGEST: digest,
        **staging(pipeline.config),
        "MLFLOW_TRACKING_URI": endpoint.mlflow,
        "MLFLOW_RUN_ID": run,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "PYTHONUNBUFFERED": "1",
        # Threads that spin for long while they wait starve those they wait for once anything else wants the cores: a step takes
        # seconds. Those that sleep at once halve the speed of a quiet machine.
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "10000"),
        # Trainings run in threads, each of a pool of its own in glibc by default: one trial after another in the same process would
        # leave what it freed in another pool.
        "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "1"),
        **ray_train(pipeline.config["cluster"]),
    }


def ray_train(cluster: dict[str, Any]) -> dict[str, str]:
    """Ray Train's variables, in seconds, for a stage whose config has this `cluster`, unless the submitter's own environment holds them."""
    told = {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # by default one report is taken every 2 s
        "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # between looks for nodes about to be taken away: 5 of the 30 that some clouds give
    }
    if Cluster(workers=cluster["workers"]).elastic:
        # A lost node stays in the count of what there is for up to 20 s. A training that starts again before that asks for its room too,
        # and waits so long (60 by default) before it counts anew. Where nodes are still to come an elastic one counts and does not ask.
        told["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "10"
    return {key: os.environ.get(key, value) for key, value in told.items()}


def staging(config: dict[str, Any]) -> dict[str, str]:
    """Where nodes keep their copies of datasets on shared storage: the environment of all workers of a job, whatever started them."""
    cluster = config.get("cluster") or {}
    given = {names.ENV_CACHE: cluster.get("cache"), names.ENV_CACHE_GB: cluster.get("cache_gb")}
    given[names.ENV_STAGE_MOUNTS] = 1 if cluster.get("stage_mounts") else None
    return {name: str(value) for name, value in given.items() if value is not None}
