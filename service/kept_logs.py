"""What the jobs of a pipeline printed: kept beside the results once they have ended, asked of the job server while they run."""
from __future__ import annotations

import time
from collections.abc import Iterator

from cluster.local import find_cluster
from service.endpoints import resolve
from service.home import Home
from service.ledger import Ledger
from service.ray_jobs import ClusterAway, RayJobs
from service.tables import ENDED, LOST, PRIVATE, Attempt, Pipeline, Stage

BYTES_PER_S = 300_000  # the job server gives logs whole: the longer they are, the less often they are read


def texts(
    pipeline: str, stage: str | None, follow: bool, printed: dict[str, int], ledger: Ledger, home: Home, once: bool = False
) -> Iterator[str]:
    """What was not printed yet; `printed` counts the characters of each job. `once`: one look, by a caller who comes again."""
    while True:
        row = ledger.get(pipeline)
        size = 0
        for one, attempt in attempts_of(row, stage):
            if attempt.job_id in printed and attempt.state in ENDED and follow and attempt.ended and time.time() - attempt.ended > 60:
                continue  # all of it was read after its end
            log = log_of(row, one, attempt, home)
            size += len(log)
            if attempt.job_id not in printed:
                printed[attempt.job_id] = 0
                yield f"--- {attempt.job_id}\n"
            yield log[printed[attempt.job_id] :]
            printed[attempt.job_id] = max(printed[attempt.job_id], len(log))  # a server that did not answer gives an empty one
        if once or not follow or row.state in ENDED:
            return
        time.sleep(1 + size / BYTES_PER_S)


def attempts_of(row: Pipeline, stage: str | None) -> list[tuple[Stage, Attempt]]:
    """The attempts of every stage, or of one, in order."""
    return [(one, attempt) for one in row.stages if stage in (None, one.name) for attempt in one.attempts]


def log_of(row: Pipeline, stage: Stage, attempt: Attempt, home: Home) -> str:
    """The kept log of an ended job, or what the job server has of a running one."""
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
