"""`logs`: what the jobs of a pipeline print."""
from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import AsJson, PipelineId, State
from service.typed import typed

if TYPE_CHECKING:
    from service.home import Home
    from service.ledger import Ledger
    from service.tables import Attempt, Pipeline, Stage


def logs(
    pipeline: PipelineId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the pipeline ends.")] = False,
    stage: Annotated[str | None, typer.Option(help="Of this stage alone.")] = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Print the logs of a pipeline's jobs, in order."""
    from service.home import Home
    from service.ledger import Ledger
    from service.submitter import standstill

    home = Home.find(state)
    ledger = Ledger(home.ledger_url)
    known = [one.name for one in ledger.get(pipeline).stages]
    if stage is not None and stage not in known:
        raise ValueError(f"--stage {stage}: {pipeline} has {', '.join(known)}")
    if as_json:
        row = ledger.get(pipeline)
        typer.echo(json.dumps({attempt.job_id: _log(row, one, attempt, home) for one, attempt in _attempts(row, stage)}))
        return
    if follow and (reason := standstill(ledger, home, ledger.get(pipeline))):
        typer.echo(typed(f"{pipeline}: {reason}"), err=True)
    printed: dict[str, int] = {}
    for text in _texts(pipeline, stage, follow, printed, ledger, home):
        typer.echo(text, nl=False)
    if not printed:
        typer.echo(f"{pipeline} has no logs yet", err=True)


def _texts(
    pipeline: str, stage: str | None, follow: bool, printed: dict[str, int], ledger: Ledger, home: Home
) -> Iterator[str]:
    """What was not printed yet; `printed` counts the characters of each job."""
    from service.tables import ENDED

    while True:
        row = ledger.get(pipeline)
        size = 0
        for one, attempt in _attempts(row, stage):
            if attempt.job_id in printed and attempt.state in ENDED and follow and attempt.ended and time.time() - attempt.ended > 60:
                continue  # all of it was read after its end
            log = _log(row, one, attempt, home)
            size += len(log)
            if attempt.job_id not in printed:
                printed[attempt.job_id] = 0
                yield f"--- {attempt.job_id}\n"
            yield log[printed[attempt.job_id] :]
            printed[attempt.job_id] = max(printed[attempt.job_id], len(log))  # a server that did not answer gives an empty one
        if not follow or row.state in ENDED:
            return
        time.sleep(1 + size / 300_000)  # the job server gives logs whole: the longer, the less often


def _attempts(row: Pipeline, stage: str | None) -> list[tuple[Stage, Attempt]]:
    return [(one, attempt) for one in row.stages if stage in (None, one.name) for attempt in one.attempts]


def _log(row: Pipeline, stage: Stage, attempt: Attempt, home: Home) -> str:
    """The kept log of an ended job, or what the job server has of a running one."""
    from cluster.local import find_cluster
    from service.endpoints import resolve
    from service.ray_jobs import ClusterAway, RayJobs
    from service.tables import LOST, PRIVATE

    kept = home.log(row.id, stage.name, attempt.number)
    if kept.exists():
        return kept.read_text()
    own = find_cluster(home.path) if row.cluster == PRIVATE else None
    endpoint = resolve(row.cluster, row.tracking, home, own)
    if attempt.state == LOST:
        return "(its log went with the cluster's head)\n"
    if endpoint is None:
        return ""
    try:
        return RayJobs(endpoint.ray, endpoint.token).logs(attempt.job_id)
    except ClusterAway:
        return ""
