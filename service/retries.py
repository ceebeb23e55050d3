"""Whether a stage that failed is tried again, when, and with what changed; and the time that a stage may take."""
from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

from jobs.config.sections import Cluster, Limits
from service.failures import GPU_MEMORY, curable, halved
from service.ray_jobs import Job
from service.tables import RETRIED, Attempt, Pipeline, Stage

_LONGEST_S = 900.0  # between two attempts
_LEAST_BATCH = 2  # BatchNorm and the contrastive loss need two


@dataclass(frozen=True)
class Again:
    """The next attempt: why, not before when (seconds since 1970), and the config's values that it changes, by dotted keys."""

    cause: str
    words: str
    not_before: float
    changes: dict[str, Any] | None


def again(pipeline: Pipeline, stage: Stage, job: Job, error: str) -> Again | None:
    """The next attempt of a stage whose job failed; none where no attempt can cure it, or all that are allowed were made."""
    cause = curable(job, error)
    limits = limits_of(pipeline)
    tries = _tries(stage)
    if cause is None or tries >= limits.retries:
        return None
    words, changes = f"{cause.words}: {error.splitlines()[0] if error else 'no more is known'}", stage.changes
    if cause.kind == GPU_MEMORY:
        smaller = _smaller_batch(pipeline, stage) if limits.smaller_batch else None
        if smaller is None:
            return None
        key, batch = smaller
        words, changes = f"{cause.words}; {key} is {batch} from now on", {**(stage.changes or {}), key: batch}
    return Again(cause.kind, words, time.time() + min(_LONGEST_S, limits.backoff_s * 2**tries), changes)


def waits(pipeline: Pipeline, stage: Stage) -> str:
    """What a stage whose next attempt is due later says of it."""
    assert stage.not_before is not None
    at = time.strftime("%H:%M:%S", time.localtime(stage.not_before))
    return f"{stage.name}: {stage.attempts[-1].message}; tries again at {at} (retry {_tries(stage)} of {limits_of(pipeline).retries})"


def overdue(pipeline: Pipeline, attempt: Attempt) -> str | None:
    """That a job has run longer than its pipeline allows; none while it has not. Counted from its submission to Ray."""
    hours = limits_of(pipeline).stage_hours
    if hours is None or attempt.started is None or time.time() - attempt.started < hours * 3600:
        return None
    return f"it ran longer than limits.stage_hours ({hours:g} h) and was stopped"


def changed(config: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    """The config with the values under dotted keys replaced; the position in a list is a key too."""
    result = copy.deepcopy(config)
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        place: Any = result
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        place[last] = value
    return result


def limits_of(pipeline: Pipeline) -> Limits:
    """Of a stored config, which may be older than the section."""
    return Limits.model_validate(pipeline.config.get("limits") or {})


def _tries(stage: Stage) -> int:
    return sum(one.state == RETRIED for one in stage.attempts)


def _smaller_batch(pipeline: Pipeline, stage: Stage) -> tuple[str, int] | None:
    """The key of the stage's batch and half of what it is now; none for a stage without one, or where no smaller one can be."""
    config = changed(pipeline.config, stage.changes)
    if stage.name == "pretrain":
        key, section = "pretrain.batch", config["pretrain"]
        least = max(_LEAST_BATCH, Cluster(workers=config["cluster"]["workers"]).most)
    elif stage.name == "evaluate":
        key, section, least = "evaluate.batch", config["evaluate"], 1
    else:
        first = len(pipeline.stages) - len(config.get("evaluations") or [])
        number = stage.position - first
        if number < 0:
            return None
        key, section, least = f"evaluations.{number}.batch", config["evaluations"][number], _LEAST_BATCH
    batch = section.get("batch")
    half = halved(int(batch), least) if batch else None
    return (key, half) if half is not None else None
