"""From a config to an ended pipeline: checked, recorded, followed, summed up; and what Ctrl-C means on the way."""
from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from rich.console import Console

from jobs.config import Pipeline as Config
from service import summary
from service.display import Display
from service.endpoints import Endpoint, Target, resolve
from service.follow import follow
from service.home import Home, project_tree
from service.ledger import Ledger
from service.preflight import check_cluster, check_local
from service.ray_jobs import ClusterAway, RayJobs
from service.reconcile import open_attempt
from service.session import Hold, Interrupted
from service.submitter import SHARED, Submitter, living_holder
from service.tables import CANCELLED, ENDED, PRIVATE, RUNNING, SUCCEEDED, UP, Pipeline

_CANCEL_S = 25.0  # how long Ctrl-C waits for the running job to stop before the cluster is stopped with it


class PipelineFailed(RuntimeError):
    """The pipeline ended without success; the pipeline's row tells why."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline.message or pipeline.state)
        self.pipeline = pipeline


def check(config: Config, target: Target, endpoint: Endpoint) -> None:
    """Everything that can be known to be wrong before anything is queued. Raises Unfit or ClusterAway."""
    local = target.cluster in (PRIVATE, UP)
    if local:
        check_local(config)
    check_cluster(config, endpoint, project_tree(), local)


def queue(config: Config, target: Target, ledger: Ledger, priority: int = 0) -> str:
    """Records the pipeline; a submitter does the rest. Returns its id."""
    return ledger.add_new(config.name, json.loads(config.to_json()), config.stages, target.cluster, target.tracking, priority=priority)


def carry_through(pipeline_id: str, held: Hold, ledger: Ledger, home: Home, console: Console) -> dict[str, Any]:
    """Follows a recorded pipeline to its end and returns its summary.

    Raises PipelineFailed when it ends otherwise, Interrupted after Ctrl-C: with an own cluster the pipeline is then cancelled.
    """
    submitter = Submitter(ledger, home, only=pipeline_id if held.own else None, own=held.own)
    if held.own is not None:
        submitter.close_abandoned()
    try:
        with Display(console) as display:
            pipeline = follow(submitter, pipeline_id, display)
        result = summary.read(pipeline_id, home)  # whoever closed the pipeline collected it, if MLflow answered
        if result is None or result["state"] != pipeline.state:
            result = summary.collect(pipeline, submitter.clients(held.endpoint)[1], home)
    except KeyboardInterrupt:
        raise _interrupted(submitter, pipeline_id) from None
    except BaseException as error:
        if held.own is not None:  # the cluster ends with us, so the pipeline cannot go on as it is
            submitter.give_up(ledger.get(pipeline_id), str(error))
        raise
    finally:
        submitter.release()
    if pipeline.state != SUCCEEDED:
        raise PipelineFailed(pipeline)
    return result


def _interrupted(submitter: Submitter, pipeline_id: str) -> Interrupted:
    ledger = submitter.ledger
    if submitter.own is None:
        submitter.release()
        alone = living_holder(ledger, SHARED) is None
        more = "; no submitter is alive, so after the running stage it waits: `adacrossnet up` starts one" if alone else ""
        orders = f"  adacrossnet resume {pipeline_id}\n  adacrossnet cancel {pipeline_id}"
        return Interrupted(f"{pipeline_id} goes on without us{more}\n{orders}")
    ledger.set_pipeline(pipeline_id, cancel_requested=True)
    try:
        until = time.monotonic() + _CANCEL_S
        while ledger.get(pipeline_id).state not in ENDED and time.monotonic() < until:
            submitter.tick()
            time.sleep(0.2)
    except KeyboardInterrupt:  # the second one: do not wait for the job
        pass
    submitter.give_up(ledger.get(pipeline_id), "cancelled by Ctrl-C")
    if ledger.get(pipeline_id).state == CANCELLED:  # by the job's own end, which knows no reason
        ledger.set_pipeline(pipeline_id, message="cancelled by Ctrl-C")
    return Interrupted(f"{pipeline_id} is cancelled; its finished stages and checkpoints are kept\n  adacrossnet resume {pipeline_id}")


def reopen(pipeline: Pipeline, held: Hold, ledger: Ledger, home: Home) -> None:
    """Makes an ended or interrupted pipeline go on where it stands, with the same MLflow runs.

    Raises ValueError when it succeeded, is being carried by another process, runs on another cluster, or has its records in another MLflow.
    """
    if pipeline.state == SUCCEEDED:
        raise ValueError(f"{pipeline.id} has succeeded; `adacrossnet show {pipeline.id}` shows it, `adacrossnet reproduce` runs it again")
    shared = pipeline.cluster != PRIVATE
    if pipeline.state not in ENDED and not shared and living_holder(ledger, pipeline.id) is not None:
        raise ValueError(f"{pipeline.id} is being run by another command: `adacrossnet show {pipeline.id}`")
    moved = shared and pipeline.cluster != held.target.cluster
    if pipeline.state not in ENDED and moved and resolve(pipeline.cluster, pipeline.tracking, home) is not None:
        where = "the cluster of `adacrossnet up`" if pipeline.cluster == UP else pipeline.cluster
        follow_it = "unset RAY_ADDRESS" if pipeline.cluster == UP else "set RAY_ADDRESS to it"
        raise ValueError(  # there its job would go on, and two would write the same storage
            f"{pipeline.id} runs on {where}: {follow_it} to follow it, or `adacrossnet cancel {pipeline.id}` first"
        )
    if pipeline.run_id is not None:
        client = Submitter(ledger, home, own=held.own).clients(held.endpoint)[1]
        try:
            client.status(pipeline.run_id)
        except RuntimeError as error:
            raise ValueError(
                f"the records of {pipeline.id} are not in the MLflow at {held.endpoint.mlflow} ({error}): "
                "point MLFLOW_TRACKING_URI to the one that it began with"
            ) from None
    if pipeline.state in ENDED or not shared or moved:
        ledger.reopen(pipeline.id, held.target.cluster, held.target.tracking)


def keep_logs(ledger: Ledger, home: Home) -> None:
    """Keeps what the running jobs of the cluster of `up` have printed so far: it goes with the cluster's head."""
    for pipeline in ledger.unfinished():
        endpoint = resolve(UP, pipeline.tracking, home) if pipeline.cluster == UP else None
        if endpoint is None:
            continue
        jobs = RayJobs(endpoint.ray, endpoint.token)
        for stage in pipeline.stages:
            attempt = open_attempt(stage)
            if attempt is None or attempt.state != RUNNING:
                continue
            with contextlib.suppress(ClusterAway):
                home.keep_log(pipeline.id, stage.name, attempt.number, jobs.logs(attempt.job_id))


def cancel(pipeline: Pipeline, ledger: Ledger, home: Home, seconds: float = 60.0) -> Pipeline:
    """Asks for cancelling and sees to it where no submitter is alive; returns the pipeline as it then is. ValueError when it has ended."""
    if pipeline.state in ENDED:
        raise ValueError(f"{pipeline.id} has ended already ({pipeline.state})")
    ledger.set_pipeline(pipeline.id, cancel_requested=True)
    submitter = Submitter(ledger, home)
    if pipeline.cluster == PRIVATE and living_holder(ledger, pipeline.id) is None:
        submitter.give_up(ledger.get(pipeline.id), "cancelled on request after its command was killed")
    elif pipeline.cluster == UP and resolve(UP, pipeline.tracking, home) is None:
        submitter.give_up(ledger.get(pipeline.id), "cancelled on request while its cluster was down")
    until = time.monotonic() + seconds
    try:
        while ledger.get(pipeline.id).state not in ENDED and time.monotonic() < until:
            if pipeline.cluster != PRIVATE:
                submitter.tick()
            time.sleep(0.3)
    finally:
        submitter.release()
    now = ledger.get(pipeline.id)
    if now.state not in ENDED and pipeline.cluster != PRIVATE and living_holder(ledger, SHARED) is None:
        submitter.give_up(now, "cancelled on request; its cluster did not answer")
    return ledger.get(pipeline.id)
