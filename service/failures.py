"""Which failures another attempt can cure: a lost node, a killed process, memory that ran out. Bad configs and bad data it cannot."""
from __future__ import annotations

import re
from dataclasses import dataclass

from service.ray_jobs import Job

NODE_LOST, KILLED, MEMORY, GPU_MEMORY, PREEMPTED = "node lost", "killed", "memory", "gpu memory", "preempted"
TIME, OTHER = "time limit", "other"  # what no retry cures

# What Ray says, of a job whose driver it lost and in a driver's traceback; the first that is found tells the cause.
_SAID = (
    (PREEMPTED, re.compile(r"PreemptionError|(?:node|worker|instance) .{0,80}\bpreempted", re.IGNORECASE)),
    (GPU_MEMORY, re.compile(r"torch\.(?:cuda\.)?OutOfMemoryError|(?:CUDA|HIP) (?:error: )?out of memory")),
    (MEMORY, re.compile(r"running low on memory|ray\.exceptions\.OutOfMemoryError|\bOutOfMemoryError: Task was killed")),
    (
        NODE_LOST,
        re.compile(
            r"NodeDiedError|LocalRayletDiedError|WorkerCrashedError|ActorDiedError|ActorUnavailableError|OwnerDiedError|ObjectLostError"
            r"|Job supervisor actor (?:died|could not be scheduled)|[Nn]ode .{0,80}\bdied|has died"
        ),
    ),
)
_EXIT = re.compile(r"Job entrypoint command failed with exit code (-?\d+)")
_SIGKILL = ("-9", "137")
_WORDS = {
    NODE_LOST: "a node or a process of it was lost",
    KILLED: "its driver was killed from outside",
    MEMORY: "the node's memory ran out",
    GPU_MEMORY: "the GPU's memory ran out",
    PREEMPTED: "its node was taken away",
}


@dataclass(frozen=True)
class Cause:
    """Why a job failed, where another attempt may succeed."""

    kind: str

    @property
    def words(self) -> str:
        """For people."""
        return _WORDS[self.kind]


def curable(job: Job, error: str) -> Cause | None:
    """The cause of a failed job that another attempt can cure; none for every other failure.

    `error`: what its log says of the error (`job_log.error_in`).
    """
    exited = _EXIT.search(job.message)
    said = error if exited else f"{job.message}\n{error}"  # after an exit, Ray's message is the end of the log, whatever stands there
    for kind, pattern in _SAID:
        if pattern.search(said):
            return Cause(kind)
    if exited and exited[1] in _SIGKILL:
        return Cause(KILLED)
    return None


def of(job: Job, error: str, overdue: bool) -> str:
    """The kind of a failure, for whoever counts them."""
    cause = curable(job, error)
    return TIME if overdue else cause.kind if cause is not None else OTHER


def halved(batch: int, least: int) -> int | None:
    """Half the batch, rounded up; none where that is no smaller or below `least`."""
    half = (batch + 1) // 2
    return half if least <= half < batch else None
