"""Following a pipeline to its end, and reconciling it here while no other submitter is alive."""
from __future__ import annotations

import contextlib
import time

from service.display import Display
from service.endpoints import resolve
from service.job_log import latest_progress
from service.ray_jobs import ClusterAway, RayJobs
from service.submitter import Submitter
from service.tables import ENDED, RUNNING, Pipeline
from service.typed import typed

_LOOK_S = 0.7
_BYTES_PER_S = 300_000  # the job server gives logs whole: long ones are read less often
_GONE_S = 30.0  # a shared embedded cluster may be down this long (a restart) before following ends


class LogReader:
    """Reads a job's log now and then, the less often the longer it is."""

    def __init__(self, jobs: RayJobs) -> None:
        self._jobs = jobs
        self._job, self._log, self._next = "", "", 0.0

    def read(self, job_id: str) -> str:
        """The log as of the last reading; '' while the server does not answer."""
        if job_id != self._job:
            self._job, self._log, self._next = job_id, "", 0.0
        if time.monotonic() >= self._next:
            with contextlib.suppress(ClusterAway):
                self._log = self._jobs.logs(job_id)
            self._next = time.monotonic() + max(1.0, len(self._log) / _BYTES_PER_S)
        return self._log


def follow(submitter: Submitter, pipeline_id: str, display: Display) -> Pipeline:
    """Shows the pipeline until it has ended and returns it.

    Each round also advances whatever the submitter may (its lease permitting), so it works with and without one in the background.
    Raises ClusterAway when the embedded cluster it runs on has ended.
    """
    ledger = submitter.ledger
    readers: dict[str, LogReader] = {}  # by stage
    gone: float | None = None
    while True:
        submitter.tick()
        pipeline = ledger.get(pipeline_id)
        endpoint = resolve(pipeline.cluster, pipeline.tracking, submitter.home, submitter.own)
        lines: dict[str, str] = {}
        if endpoint is not None:
            gone = None
            for stage in pipeline.stages:
                if stage.state == RUNNING and stage.attempts and stage.attempts[-1].state == RUNNING:
                    reader = readers.setdefault(stage.name, LogReader(submitter.clients(endpoint)[0]))
                    if line := latest_progress(reader.read(stage.attempts[-1].job_id), stage.name):
                        lines[stage.name] = line
        display.show(pipeline, lines)
        if pipeline.state in ENDED:
            return pipeline
        if submitter.own is not None and (dead := submitter.own.dead()):
            raise ClusterAway(
                f"{dead[0].name} has ended by itself, and the pipeline with it; its log: {dead[0].log}\n"
                f"what has ended of the pipeline is kept: {typed(f'adacrossnet resume {pipeline_id}')}"
            )
        if endpoint is None:
            gone = gone or time.monotonic()
            if time.monotonic() - gone > _GONE_S:
                raise ClusterAway("the pipeline's cluster has gone: `adacrossnet up` starts it again, and the pipeline goes on")
            readers = {}
        time.sleep(_LOOK_S)
