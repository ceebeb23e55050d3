"""The cluster, datasets, sweeps, configs, the audit trail, and who asks."""
from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from jobs.config import Pipeline as Config
from jobs.config import check
from jobs.config.places import Place, Uri, place_of
from service import audit, summary
from service.context import Admin, TheService, Viewer
from service.facts import pipeline_facts
from service.home import project_tree
from service.operations import Conflict
from service.problems import documented
from service.ray_jobs import ClusterAway, RayJobs
from service.roots import below
from service.submitter import SHARED, living_holder
from service.tables import ENDED
from service.wire import Check, Name, Pipeline, PipelineId, RunningPipeline, SweepFound, config_values

router = APIRouter(prefix="/v1")
_SWEEP = "sweep"
_LISTED_S = 10.0  # that a list of datasets serves
_LOOK_S = 60.0  # that reading manifests may take


class Checked(BaseModel):
    """A config that can be submitted."""

    name: str
    digest: str
    stages: list[str]


@router.get("/me", tags=["people"], responses=documented(401))
def me(person: Viewer) -> dict[str, str]:
    """Who asks, and what they may."""
    return {"name": person.name, "role": person.role}


@router.get("/audit", tags=["people"], responses=documented(401, 403, 422))
def trail(
    service: TheService, _: Admin, limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None, who: Name | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Who asked for what that changes something, newest first; `before` a line's number goes on after it."""
    return [audit.facts(act) for act in audit.recent(service.operations.ledger.database, limit, before=before, who=who)]


@router.get("/cluster", tags=["cluster"], responses=documented(401))
def cluster(service: TheService, _: Viewer) -> dict[str, Any]:
    """Where pipelines run, what that has, whether it answers, and how much is queued."""
    operations = service.operations
    endpoint = operations.endpoint()
    nodes: list[dict[str, float]] = []
    why = "the embedded cluster is down: `adacrossnet up` on the service's machine starts it" if endpoint is None else None
    autoscales = False
    if endpoint is not None:
        jobs = RayJobs(endpoint.ray, endpoint.token)
        try:
            nodes, autoscales = jobs.nodes(), jobs.autoscales()
        except ClusterAway as error:
            why = str(error)
    return {
        "ray": endpoint.ray if endpoint else None, "mlflow": endpoint.mlflow if endpoint else None, "answers": why is None, "message": why,
        "nodes": nodes, "autoscales": autoscales, "at_once": operations.settings.at_once,
        "pipelines": operations.ledger.counts(), "lease": living_holder(operations.ledger, SHARED),
    }  # fmt: skip


@router.get("/running", tags=["cluster"], responses=documented(401))
def running(service: TheService, _: Viewer) -> list[RunningPipeline]:
    """What runs now: the pipelines, and the last line that each running stage said of itself."""
    operations = service.operations
    lines = service.progress.lines()
    found = []
    for row in operations.ledger.active():
        if row.state not in ENDED:
            says = {stage: line for (pipeline, stage), line in lines.items() if pipeline == row.id}
            found.append(RunningPipeline(**pipeline_facts(row, operations.ledger, operations.home), says=says))
    return found


@router.get("/queue", tags=["cluster"], responses=documented(401, 422))
def queue(service: TheService, _: Viewer, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> dict[str, Any]:
    """How many pipelines wait, and the first of them in the order of their turns, with what each waits for."""
    waiting = service.operations.ledger.waiting()
    first = [{"pipeline": one.id, "owner": one.owner, "priority": one.priority, "message": one.message} for one in waiting[:limit]]
    return {"length": len(waiting), "first": first}


@router.get("/datasets", tags=["datasets"], responses=documented(401, 503))
def datasets(service: TheService, _: Viewer) -> list[dict[str, Any]]:
    """The prepared datasets that pipelines have named and those right below the service's folders, as its own machine sees them."""
    operations = service.operations
    folders: dict[Place, None] = dict.fromkeys(operations.roots)
    for row in operations.ledger.recent(200):
        for section in ("data", "probe"):
            target = (row.config.get(section) or {}).get("target")
            if target and any(below(place_of(target), root) for root in operations.roots):
                folders[place_of(target)] = None
    there = [str(folder) for folder in folders if isinstance(folder, Uri) or folder.is_dir()]
    command = [sys.executable, "-m", "jobs.list_data", *there, "--json"]  # the readers are the jobs' own; a service holds no pyarrow
    with service.listing:  # one process of them at a time, and its answer serves whoever asks soon after
        if service.listed is None or time.monotonic() - service.listed[0] > _LISTED_S or service.listed[1] != command:
            service.listed = (time.monotonic(), command, _listed(command))
        return service.listed[2]


def _listed(command: list[str]) -> list[dict[str, Any]]:
    try:
        done = subprocess.run(command, cwd=project_tree(), capture_output=True, text=True, timeout=_LOOK_S)
    except subprocess.TimeoutExpired:
        raise Conflict(f"the datasets cannot be listed: a store or a mount among them does not answer within {_LOOK_S:g} s") from None
    if done.returncode not in (0, 1):
        raise Conflict(f"the datasets cannot be listed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


@router.get("/sweeps", tags=["sweeps"], responses=documented(401, 404, 422))
def sweeps(
    service: TheService, _: Viewer, limit: Annotated[int, Query(ge=1, le=200)] = 20, before: PipelineId | None = None
) -> list[Pipeline]:
    """Pipelines that search the weighting of the losses, newest first."""
    ledger, home = service.operations.ledger, service.operations.home
    return [Pipeline(**pipeline_facts(row, ledger, home)) for row in ledger.recent(limit, before=before, stage=_SWEEP)]


@router.get("/sweeps/{pipeline}", tags=["sweeps"], responses=documented(401, 404, 409, 422))
def sweep(pipeline: PipelineId, service: TheService, _: Viewer) -> SweepFound:
    """A sweep: what it found, and its report as Markdown, once it has ended."""
    ledger, home = service.operations.ledger, service.operations.home
    row = ledger.get(pipeline)
    if all(stage.name != _SWEEP for stage in row.stages):
        raise Conflict(f"{pipeline} is no sweep: GET /v1/pipelines/{pipeline} shows what it is")
    report = home.results(pipeline) / summary.REPORT
    found = (summary.read(pipeline, home) or {}).get("sweep")
    text = report.read_text() if report.is_file() else None
    return SweepFound(**pipeline_facts(row, ledger, home), sweep=found, report=text)


@router.get("/config/schema", tags=["config"], responses=documented(401))
def schema(_: Viewer) -> dict[str, Any]:
    """The JSON Schema of a config."""
    return Config.model_json_schema()


@router.post("/config/check", tags=["config"], responses=documented(401, 413, 422))
def check_config(asked: Check, _: Viewer) -> Checked:
    """Check a config without queueing it."""
    config = check(config_values(asked.config), "config")
    return Checked(name=config.name, digest=config.digest(), stages=list(config.stages))
