"""Asking for notices: about once a second, and on every rank after the same steps, whatever its clock says."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import ray.train
import torch

from jobs.training import preemption
from jobs.training.preemption import Notices, taken_away


class Ranks:
    """One of two ranks, one after the other: the second gets the sums that the first left."""

    device = torch.device("cpu")

    def __init__(self, rank: int, sums: list[int]) -> None:
        self.rank, self.world, self.sums = rank, 2, sums
        self.left = iter(list(sums))

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        if self.rank == 0:
            self.sums.append(int(values))
            return values
        assert int(values) == 0, "rank 0 alone decides"
        return torch.tensor([next(self.left)])


def asked_after(ranks: Any, monkeypatch: pytest.MonkeyPatch, a_step_takes: Iterator[float], noticed: int = 10**9) -> tuple[list[int], int]:
    """The steps after which Ray Train was asked, and the one that ended the training."""
    clock, step, asked = 0.0, 0, []
    monkeypatch.setattr(preemption.time, "monotonic", lambda: clock)
    monkeypatch.setattr(ray.train, "get_preemption_info", lambda: "soon" if step >= noticed else None)
    notices = Notices(ranks)
    for step in range(1, 401):
        clock += next(a_step_takes)
        before = notices.asked
        away = notices.called_away(step)
        if notices.asked != before:
            asked.append(step)
        if away:
            return asked, step
    return asked, 400


def steady(seconds: float) -> Iterator[float]:
    while True:
        yield seconds


def test_all_ranks_ask_after_the_same_steps_whatever_their_clocks_say(monkeypatch: pytest.MonkeyPatch) -> None:
    sums: list[int] = []
    first = asked_after(Ranks(0, sums), monkeypatch, iter([0.05, 0.2, 0.01] * 200))
    assert asked_after(Ranks(1, sums), monkeypatch, steady(7.0)) == first


def test_short_steps_are_not_slowed_by_asking_and_long_ones_ask_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, _ = asked_after(Ranks(0, []), monkeypatch, steady(0.05))
    assert 18 <= len(asked) <= 25, "20 seconds"
    asked, _ = asked_after(Ranks(0, []), monkeypatch, steady(3.0))
    assert asked == list(range(1, 401))


def test_a_notice_ends_the_training_within_a_second_or_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _, end = asked_after(Ranks(0, []), monkeypatch, steady(0.05), noticed=100)
    assert 100 <= end <= 125


def test_what_a_rank_raises_is_a_preemption_to_ray_train_and_no_failure() -> None:
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
    from ray.train.v2._internal.execution.worker_group.poll import WorkerGroupPollStatus, WorkerStatus

    error = UserExceptionWithTraceback(taken_away(ValueError("step 7")), "")
    status = WorkerGroupPollStatus({0: WorkerStatus(running=False, error=error), 1: WorkerStatus(running=False, error=error)})
    assert status.finished and status.has_preempted_worker()


