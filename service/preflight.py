"""What is checked before anything is queued: that the cluster can ever run the pipeline, and that paths and disk are there."""
from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import time
from pathlib import Path

from jobs.config import Data
from jobs.config import Pipeline as Config
from service.endpoints import Endpoint
from service.ray_jobs import FAILED, TERMINAL, ClusterAway, RayJobs
from service.working_dir import clean_copy

_REACH_S = 180.0  # the storage check is a Ray job; the first one on a node takes some seconds


class Unfit(ValueError):
    """The pipeline cannot run there; the message says what is missing and what to change."""


def check_fits(config: Config, nodes: list[dict[str, float]], where: str) -> None:
    """Raises Unfit when the workers never find room on these nodes (a worker does not span nodes), however long one waits."""
    asked = config.cluster
    wish = {"CPU": asked.cpus_per_worker, "GPU": asked.gpus_per_worker}
    needs = {kind: amount for kind, amount in wish.items() if amount > 0}
    room = sum(min(int(node.get(kind, 0) / amount + 1e-9) for kind, amount in needs.items()) for node in nodes)
    if room >= asked.workers:
        return
    wanted = " and ".join(f"{amount:g} {kind}" for kind, amount in needs.items())
    have = ", ".join(f"{sum(node.get(kind, 0) for node in nodes):g} {kind}" for kind in needs)
    raise Unfit(
        f"the pipeline asks for {asked.workers} workers x {wanted}; {where} has {have} on {len(nodes)} node{'s'[: len(nodes) != 1]}, "
        f"room for {room}: lower cluster.workers or cluster.cpus_per_worker (--set cluster.workers={max(room, 1)})"
    )


def check_local(config: Config) -> None:
    """For jobs on this machine: sources exist, storage can be written, the disk has the room asked for. Raises Unfit."""
    for section, data in (("data", config.data), ("probe", config.probe)):
        if data is not None:
            _check_source(section, data)
    storage = config.cluster.storage
    try:
        storage.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unfit(f"cluster.storage: {storage} cannot be made ({error.strerror}); name a folder that you may write") from None
    if not os.access(storage, os.W_OK):
        raise Unfit(f"cluster.storage: {storage} cannot be written; name a folder that you may write")
    free = shutil.disk_usage(storage).free / 1e9
    if free < config.cluster.min_free_gb:
        raise Unfit(
            f"cluster.storage: {storage} has {free:.1f} GB free, and cluster.min_free_gb asks that {config.cluster.min_free_gb:g} GB "
            "stay free: free some, or name another disk"
        )


def check_cluster(config: Config, endpoint: Endpoint, tree: Path, local: bool) -> None:
    """For a cluster that runs: it answers, it can ever give the workers, and (unless it is `local`) each node reaches the storage.

    Raises Unfit, or ClusterAway when it does not answer.
    """
    jobs = RayJobs(endpoint.ray, endpoint.token)
    nodes = jobs.nodes()
    if not jobs.autoscales():
        check_fits(config, nodes, f"the cluster at {endpoint.ray}")
    if not local and (tree / "jobs" / "preflight.py").exists():
        _check_reach(config.cluster.storage, jobs, tree)


def _check_source(section: str, data: Data) -> None:
    source = getattr(data, "source", None)
    if source is not None and not Path(source).is_dir():
        raise Unfit(f"{section}.source: there is no folder {source}; name the one that holds the {data.kind} dataset")
    if data.kind == "prepared" and not (Path(data.target) / "manifest.json").is_file():
        raise Unfit(f"{section}.target: {data.target} holds no manifest.json; write the dataset with `adacrossnet data prepare` first")


def _check_reach(storage: Path, jobs: RayJobs, tree: Path) -> None:
    job_id = f"preflight-{secrets.token_hex(4)}"
    with clean_copy(tree) as folder:
        jobs.submit(job_id, f"python -m jobs.preflight {shlex.quote(str(storage))}", folder, {"PYTHONUNBUFFERED": "1"}, {})
    until = time.monotonic() + _REACH_S
    while (job := jobs.job(job_id)) is None or job.status not in TERMINAL:
        if time.monotonic() > until:
            jobs.stop(job_id)
            raise ClusterAway(f"the storage check did not end within {_REACH_S:.0f} s on {jobs.address}: is the cluster overloaded?")
        time.sleep(0.5)
    if job.status != FAILED:
        return
    for line in reversed(jobs.logs(job_id).splitlines()):
        if line.startswith("{"):
            faults = "; ".join(f"node {node} {why}" for node, why in json.loads(line)["unreachable"].items())
            raise Unfit(f"cluster.storage: {storage} is not shared by all nodes: {faults}. Name a folder that every node mounts")
    raise Unfit(f"the storage check failed on {jobs.address}: {job.message}")
