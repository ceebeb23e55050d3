"""Which failed jobs are tried again, after how long, with what changed. The words are those that Ray and PyTorch print."""
from __future__ import annotations

import time
from typing import Any

import pytest

from jobs.config import check
from service.failures import GPU_MEMORY, KILLED, MEMORY, NODE_LOST, PREEMPTED, curable
from service.ray_jobs import FAILED, Job
from service.retries import again, changed, overdue, waits
from service.tables import RETRIED, Attempt, Pipeline, Stage

EXITED = "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\nthe node died of old age"


def job(message: str) -> Job:
    return Job(FAILED, message, None, None)


def pipeline(
    limits: dict[str, Any] | None = None, stage: str = "pretrain", tries: int = 0, workers: Any = 1, **pretrain: Any
) -> tuple[Pipeline, Stage]:
    values = {"data": {"kind": "synthetic"}, "cluster": {"workers": workers}, "pretrain": {"batch": 32, **pretrain}, "limits": limits or {},
              "evaluations": [{"task": "fewshot"}, {"task": "parts", "batch": 16}]}  # fmt: skip
    config = check(values, "test")
    row = Pipeline(id="p", config=config.model_dump(mode="json"))
    row.stages = [Stage(name=name, position=position, changes=None, attempts=[]) for position, name in enumerate(config.stages)]
    chosen = next(one for one in row.stages if one.name == stage)
    chosen.attempts = [Attempt(number=number + 1, state=RETRIED, message="a node was lost") for number in range(tries)]
    return row, chosen


@pytest.mark.parametrize(
    ("message", "error", "kind"),
    [
        ("Job supervisor actor died: The actor died because its node has died.", "pretrain: epoch 3/9", NODE_LOST),
        ("Job supervisor actor could not be scheduled: no node", "", NODE_LOST),
        (EXITED, "ActorDiedError: The actor died unexpectedly before finishing this task.", NODE_LOST),
        (EXITED, "OutOfMemoryError: Task was killed due to the node running low on memory.", MEMORY),
        (EXITED, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", GPU_MEMORY),
        (EXITED, "PreemptionError: training was interrupted", PREEMPTED),
        ("Job entrypoint command failed with exit code -9. No logs available.", "pretrain: epoch 3/9", KILLED),
        (EXITED, "pretrain.optimizer.lr: the loss of rank 0 is not finite at step 3; lower the rate", None),
        (EXITED, "data.source: /data/preempted holds no classes; name the folder that holds one folder a class", None),
        (EXITED, "", None),
        ("", "FileNotFoundError: [Errno 2] no such file", None),
    ],
)
def test_only_lost_nodes_processes_and_memory_are_worth_another_try(message: str, error: str, kind: str | None) -> None:
    cause = curable(job(message), error)
    assert (cause.kind if cause else None) == kind


def test_waits_double_up_to_a_quarter_of_an_hour_and_end_with_the_retries() -> None:
    waited = []
    for tries in range(8):
        row, stage = pipeline({"retries": 7, "backoff_s": 20.0}, tries=tries)
        found = again(row, stage, job("Job supervisor actor died: node"), "")
        waited.append(round(found.not_before - time.time()) if found else None)
    assert waited == [20, 40, 80, 160, 320, 640, 900, None]


def test_a_full_gpu_is_tried_again_only_where_the_config_allows_a_smaller_batch_and_only_with_one() -> None:
    full = "OutOfMemoryError: CUDA out of memory."
    assert again(*pipeline(), job(EXITED), full) is None
    row, stage = pipeline({"smaller_batch": True})
    first = again(row, stage, job(EXITED), full)
    assert first is not None
    assert first.changes == {"pretrain.batch": 16}
    assert "pretrain.batch is 16 from now on" in first.words
    stage.changes = first.changes
    second = again(row, stage, job(EXITED), full)
    assert second is not None
    assert second.changes == {"pretrain.batch": 8}
    assert again(*pipeline({"smaller_batch": True}, batch=2), job(EXITED), full) is None, "two is the least a batch can be"
    for workers, fits in ((4, True), (5, False), ({"min": 1, "max": 4}, True), ({"min": 1, "max": 5}, False)):
        found = again(*pipeline({"smaller_batch": True}, batch=8, workers=workers), job(EXITED), full)
        assert (found is not None) == fits, "each worker there may be has a shape of every batch"
    parts = again(*pipeline({"smaller_batch": True}, stage="parts"), job(EXITED), full)
    assert parts is not None
    assert parts.changes == {"evaluations.1.batch": 8}
    assert again(*pipeline({"smaller_batch": True}, stage="fewshot"), job(EXITED), full) is None, "it has no batch of its own"


def test_changes_reach_lists_and_leave_the_stored_config_alone() -> None:
    config = {"pretrain": {"batch": 32}, "evaluations": [{"batch": 8}, {"batch": 16}]}
    assert changed(config, {"pretrain.batch": 16, "evaluations.1.batch": 4}) == {
        "pretrain": {"batch": 16}, "evaluations": [{"batch": 8}, {"batch": 4}],
    }  # fmt: skip
    assert config["pretrain"] == {"batch": 32}


def test_what_waits_for_its_next_attempt_says_why_when_and_which_one_it_is() -> None:
    row, stage = pipeline(tries=1)
    stage.not_before = time.time() + 60
    at = time.strftime("%H:%M:%S", time.localtime(stage.not_before))
    assert waits(row, stage) == f"pretrain: a node was lost; tries again at {at} (retry 1 of 2)"


def test_a_job_is_overdue_only_past_its_pipelines_limit() -> None:
    attempt = Attempt(started=time.time() - 1800)
    assert overdue(pipeline()[0], attempt) is None
    assert overdue(pipeline({"stage_hours": 1.0})[0], attempt) is None
    assert overdue(pipeline({"stage_hours": 0.25})[0], attempt) == "it ran longer than limits.stage_hours (0.25 h) and was stopped"


def test_a_stored_config_without_limits_gets_the_usual_ones() -> None:
    row, stage = pipeline()
    del row.config["limits"]
    assert again(row, stage, job("Job supervisor actor died: node"), "") is not None
