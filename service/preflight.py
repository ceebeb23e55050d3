"""What is checked before anything is queued: that the cluster can ever run the pipeline, and that paths and disk are there."""
from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jobs.config import Pipeline as Config
from jobs.config.places import looks_like_uri
from service.endpoints import Endpoint
from service.home import project_tree
from service.ray_jobs import ACCELERATOR, FAILED, TERMINAL, ClusterAway, RayJobs
from service.working_dir import clean_copy

_MOST = 1e9  # workers; a share so small that more fit is none
_REACH_S = 180.0  # the storage check is a Ray job; the first one on a node takes some seconds


class Unfit(ValueError):
    """The pipeline cannot run there; the message says what is missing and what to change."""


def check_fits(config: Config, nodes: list[dict[str, float]], where: str) -> None:
    """Raises Unfit when the workers (none spans nodes), the validation beside them or a driver never find room, however long one waits."""
    asked = config.cluster
    _check_drivers(config, nodes, where)
    if asked.accelerator_type is not None:
        nodes = [node for node in nodes if f"{ACCELERATOR}{asked.accelerator_type}" in node]
        where = f"of type {asked.accelerator_type}, {where}"
    wish = {"CPU": asked.cpus_per_worker, "GPU": asked.gpus_per_worker}
    needs = {kind: amount for kind, amount in wish.items() if amount > 0}
    room = _room(needs, nodes)
    if room >= asked.fewest:
        _check_validator(config, needs, nodes, where)
        return
    wanted = " and ".join(f"{amount:g} {kind}" for kind, amount in needs.items())
    have = ", ".join(f"{sum(node.get(kind, 0) for node in nodes):g} {kind}" for kind in needs)
    key = "cluster.workers.min" if asked.elastic else "cluster.workers"
    advice = f"lower {key} or cluster.cpus_per_worker (--set {key}={room})"
    if room == 0:
        advice = _advice(asked.fewest, needs, nodes, key)
    raise Unfit(
        f"the pipeline asks for {'at least '[: 9 * asked.elastic]}{asked.fewest} worker{'s'[: asked.fewest != 1]} x {wanted}; "
        f"{where} has {have} on {len(nodes)} node{'s'[: len(nodes) != 1]}, room for {room}: {advice}"
    )


def _check_drivers(config: Config, nodes: list[dict[str, float]], where: str) -> None:
    """Raises Unfit when the driver of a stage asks for what no node has."""
    for stage, driver in config.cluster.drivers.items():
        needs = {"CPU": driver.cpus, "GPU": driver.gpus}
        kind = f"{ACCELERATOR}{driver.accelerator_type}" if driver.accelerator_type is not None else None
        if any(all(node.get(name, 0) >= amount for name, amount in needs.items()) and (kind is None or kind in node) for node in nodes):
            continue
        wanted = " and ".join(f"{amount:g} {name}" for name, amount in needs.items() if amount)
        typed = f" of type {driver.accelerator_type}" if kind is not None else ""
        raise Unfit(f"cluster.drivers.{stage} asks for {wanted or 'a GPU'}{typed}, and no node of {where} has that: lower it, or add one")


def _check_validator(config: Config, needs: dict[str, float], nodes: list[dict[str, float]], where: str) -> None:
    """Raises Unfit when no node can keep the validator's share of a GPU free: training would wait for it without end."""
    share = config.cluster.validator_gpus
    if not share:
        return
    room = 0  # for workers, where the validator has the best place
    for number, node in enumerate(nodes):
        if (has := node.get("GPU", 0.0)) >= share:
            room = max(room, _room(needs, [*nodes[:number], {**node, "GPU": has - share}, *nodes[number + 1 :]]))
    cluster = config.cluster
    taken = min(cluster.most, _room(needs, nodes))  # an elastic training takes all the room there is
    if room >= taken:
        return
    key = "cluster.workers.max" if cluster.elastic and room >= cluster.fewest else "cluster.workers"
    fewer = f"--set {key}={room}, or " if room else ""
    raise Unfit(
        f"cluster.validator_gpus asks for {share:g} GPU beside the workers, and {where} has "
        f"{sum(node.get('GPU', 0) for node in nodes):g} GPU on {len(nodes)} node{'s'[: len(nodes) != 1]}, room for {room} of "
        f"{taken} workers with it: {fewer}--set cluster.validator_gpus=0 for a validation on the CPU"
    )


def _room(needs: dict[str, float], nodes: list[dict[str, float]]) -> int:
    return sum(min(int(min(_MOST, node.get(kind, 0) / amount + 1e-9)) for kind, amount in needs.items()) for node in nodes)


def _advice(workers: int, needs: dict[str, float], nodes: list[dict[str, float]], key: str) -> str:
    """What to change where not even one worker finds room: the resource that is short, and values that fit."""
    most = {kind: max((node.get(kind, 0.0) for node in nodes), default=0.0) for kind in needs}
    short = [kind for kind in needs if most[kind] < needs[kind]]
    if not short:
        return f"no single node has {' and '.join(needs)} together as a worker needs them: add such a node"
    if not most["CPU"]:
        return "no node gives CPUs to jobs: add one that does"
    fitting = {kind: min(amount, most[kind]) for kind, amount in needs.items()}
    lower = [f"--set cluster.{kind.lower()}s_per_worker={fitting[kind]:g}" for kind in short]
    room = _room({kind: amount for kind, amount in fitting.items() if amount > 0}, nodes)
    if 0 < room < workers:
        lower.append(f"--set {key}={room}")
    largest = " and ".join(f"{most[kind]:g} {kind}" for kind in short)
    run = " for a run on the CPU" if fitting.get("GPU") == 0 else ""
    return f"too little {' and '.join(short)}, no node has more than {largest}: lower that ({' '.join(lower)}{run})"


def check_local(config: Config) -> None:
    """For jobs on this machine: sources exist, storage can be written, the disk has the room asked for. Raises Unfit."""
    for path, fault in _needed(config).items():
        if looks_like_uri(path):
            _check_store(path, fault)
        elif not (Path(path).is_file() if path.endswith("manifest.json") else Path(path).is_dir()):
            raise Unfit(fault)
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
    """For a cluster that runs: it answers, it can ever give the workers, and (unless it is `local`) each node reaches the storage
    and the datasets are there.
    Raises Unfit, or ClusterAway when it does not answer.
    """
    jobs = RayJobs(endpoint.ray, endpoint.token)
    nodes = jobs.nodes()
    if not grows(config, jobs.autoscales()):
        check_fits(config, nodes, f"the cluster at {endpoint.ray}")
    if not local and (tree / "jobs" / "preflight.py").exists():
        _check_reach(config, jobs, tree)


def grows(config: Config, seen: bool) -> bool:
    """Whether the cluster's present size is no limit; `seen`: what the job server tells of it."""
    return seen if config.cluster.autoscales is None else config.cluster.autoscales


def _needed(config: Config, where: str = "") -> dict[str, str]:
    """Path -> what is wrong when it is not there, `where` naming the place."""
    faults = {}
    for section, data in config.datasets.items():
        source, table = getattr(data, "source", None), getattr(data, "table", None)
        if table is not None:
            faults[str(table)] = f"{section}.table: there is no file {table}{where}; it names categories and parts"
        if source is not None:
            faults[str(source)] = f"{section}.source: there is no folder {source}{where}; name the one that holds the {data.kind} dataset"
        if data.kind == "prepared":
            way_out = "write the dataset with `adacrossnet data prepare` first"
            faults[str(data.target / "manifest.json")] = f"{section}.target: {data.target} holds no manifest.json{where}; {way_out}"
    return faults


def _check_store(manifest: str, fault: str) -> None:
    """Raises Unfit when this machine cannot read a manifest at a URI. A process asks: the clients of object stores are the jobs' own."""
    asked = subprocess.run(
        [sys.executable, "-m", "jobs.data.stores", manifest], cwd=project_tree(), capture_output=True, text=True, timeout=_REACH_S
    )
    if asked.returncode:
        said = (asked.stderr.strip().splitlines() or ["the process that looked ended without a word"])[-1]
        raise Unfit(f"{fault} ({said})")


def _check_reach(config: Config, jobs: RayJobs, tree: Path) -> None:
    storage, needed = config.cluster.storage, _needed(config, " on the cluster")
    job_id = f"preflight-{secrets.token_hex(4)}"
    command = ["python", "-m", "jobs.preflight", str(storage), *(["--exists", *needed] if needed else [])]
    with clean_copy(tree) as folder:
        jobs.submit(job_id, shlex.join(command), folder, {"PYTHONUNBUFFERED": "1"}, {})
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
            raise Unfit(_reported(json.loads(line), storage, needed))
    raise Unfit(f"the storage check failed on {jobs.address}: {job.message}")


def _reported(found: dict[str, Any], storage: Path, needed: dict[str, str]) -> str:
    """The faults that the check job found, one a line."""
    lines = [needed.get(path, f"there is no {path} on the cluster") for path in found.get("missing", [])]
    lines += [f"{needed.get(uri, uri)} ({reason})" for uri, reason in found.get("stores", {}).items()]
    if found["unreachable"]:
        faults = "; ".join(f"node {node} {why}" for node, why in found["unreachable"].items())
        lines.insert(0, f"cluster.storage: {storage} is not shared by all nodes: {faults}. Name a folder that every node mounts")
    return "\n".join(lines)
