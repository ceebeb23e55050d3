"""The loop of one rank, whatever it trains: epochs of steps, rows of numbers, checkpoints. It knows neither Ray nor MLflow."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from jobs.config import names
from jobs.data.draws import step_seed
from jobs.pretraining import checkpoint
from jobs.pretraining.ranks import Ranks


class CalledAway(Exception):
    """The training ended before its last epoch, because the world around it asked for that; a checkpoint of the last step is kept."""


def never(step: int) -> bool:
    """A training that nothing calls away."""
    return False


@dataclass(frozen=True)
class Outside:
    """What the loop asks of the world around it."""

    # (metrics, writer of a checkpoint into a folder, whether to validate it): called on every rank after every epoch
    report: Callable[[dict[str, Any], Callable[[Path], None], bool], None]
    log: Callable[[list[tuple[int, dict[str, float]]]], None]  # (step, metrics) rows, rank 0 alone
    say: Callable[[str], None]  # a progress line, rank 0 alone
    # whether to end here for now: asked on every rank with the steps taken, after each of them, and answered alike on all
    called_away: Callable[[int], bool] = never
    # (metrics, writer of a checkpoint into a folder): called on every rank where it is so; what is kept serves resuming alone
    keep: Callable[[dict[str, Any], Callable[[Path], None]], None] | None = None


@dataclass(frozen=True)
class Pace:
    """How long, how often, how much at once."""

    seed: int
    epochs: int
    steps: int  # optimizer steps an epoch
    batch: int  # shapes a global batch
    accumulate: int  # batches a step
    log_every: int  # steps


class Course(Protocol):
    """What a kind of training brings to the loop."""

    columns: tuple[str, ...]  # of a row

    @property
    def step(self) -> int:
        """Optimizer steps taken."""

    def start_epoch(self) -> None:
        """Called before an epoch's first step."""

    def batches(self, epoch: int, first: int) -> Iterator[Any]:
        """This rank's share of every batch of an epoch, without those before its `first`, counting from 0.

        What a batch holds is the same whatever `first` is, and so is torch's random state afterwards.
        """

    def take(self, batches: list[Any]) -> torch.Tensor:
        """One optimizer step: its row of numbers, on the device, the same on every rank."""

    def told(self, row: Sequence[float] | np.ndarray) -> str:
        """What a progress line says of a row."""

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Called after an epoch's last step, `epoch` counting from 0: further metrics, the same on every rank."""

    def done(self, epoch: int) -> bool:
        """Whether the training ends early with this epoch, counting from 0; asked again after a resume."""

    def validates(self, epoch: int) -> bool:
        """Whether this epoch's checkpoint is to be validated outside."""

    def write(self, folder: Path, epochs: int, begun: dict[str, Any] | None) -> None:
        """A checkpoint after so many epochs; `begun` is what the loop has to know of a further one, and stands in the state."""

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint's state."""


def run(course: Course, pace: Pace, ranks: Ranks, outside: Outside, resume_from: Path | None) -> None:
    """Trains from `resume_from` (a complete checkpoint; None: from the start) to the last epoch, or to where the course ends it.

    Every rank calls it with the same arguments but for `ranks`. Raises what the course's step raises, and CalledAway, on every rank after
    the same step, when it is called away before the end.
    """
    first_epoch, rows = 0, _none(course)
    if resume_from is not None:
        state = checkpoint.read(resume_from, ranks.device)
        course.load(state)
        first_epoch = state["epoch"]
        rows = _begun(course, pace, state)
        if ranks.rank == 0:
            within = f"step {len(rows)}/{pace.steps} of epoch {first_epoch + 1}" if len(rows) else f"epoch {first_epoch}"
            on = f"{ranks.world} worker{'s'[: ranks.world != 1]}"
            outside.say(f"resuming after {within}/{pace.epochs} (step {course.step}) from {resume_from} on {on}")
        if course.done(first_epoch - 1):  # it had ended, but for what comes after the loop
            return
    clock = Clock(pace, course.step)
    for epoch in range(first_epoch, pace.epochs):
        metrics = _epoch(course, pace, ranks, epoch, rows, clock, outside) | course.end_epoch(epoch)
        rows = _none(course)

        def write(folder: Path, done: int = epoch + 1) -> None:
            course.write(folder, done, None)

        outside.report({"epoch": epoch + 1, **metrics}, write, course.validates(epoch))
        if course.done(epoch):
            return
        if epoch + 1 < pace.epochs and outside.called_away(course.step):
            _leave(course, pace, epoch + 1, rows, outside)


def _none(course: Course) -> np.ndarray:
    return np.empty((0, len(course.columns)))


def _begun(course: Course, pace: Pace, state: dict[str, Any]) -> np.ndarray:
    """The rows of an epoch that a checkpoint was written in the middle of, [steps taken, columns].

    Where an epoch has another number of steps by now (a smaller batch, after a GPU's memory ran out), it begins again.
    """
    begun = state.get("begun")
    return _none(course) if begun is None or begun["steps"] != pace.steps else begun["rows"].cpu().numpy()


def _leave(course: Course, pace: Pace, epochs: int, rows: np.ndarray, outside: Outside) -> None:
    """Keeps the state after `epochs` epochs and the steps of `rows`, and raises CalledAway."""

    def write(folder: Path) -> None:
        course.write(folder, epochs, {"rows": torch.from_numpy(rows), "steps": pace.steps} if len(rows) else None)

    assert outside.keep is not None
    outside.keep({"epoch": epochs + len(rows) / pace.steps, "step": course.step}, write)
    raise CalledAway(f"called away after step {course.step}, which is kept")


def _epoch(
    course: Course, pace: Pace, ranks: Ranks, epoch: int, before: np.ndarray, clock: Clock, outside: Outside
) -> dict[str, float]:
    """One epoch, or what is left of it after the rows `before`; returns the means of its columns, the same on every rank."""
    batches = course.batches(epoch, len(before) * pace.accumulate)
    waiting: list[torch.Tensor] = []  # rows on the device, fetched only when they are logged
    epoch_rows: list[np.ndarray] = [before]
    course.start_epoch()
    clock.start_epoch()
    for number in range(len(before), pace.steps):
        torch.manual_seed(step_seed(pace.seed, course.step))  # what a batch draws depends on (seed, step) alone
        group = [next(batches) for _ in range(pace.accumulate)]
        waiting.append(course.take(group))
        last = number + 1 == pace.steps
        leaves = not last and outside.called_away(course.step)  # after the last step the epoch is ended first
        if (number + 1) % pace.log_every == 0 or last or leaves:
            rows = torch.stack(waiting).double().cpu().numpy()
            clock.tick(len(waiting))
            if ranks.rank == 0:
                outside.log(_metric_rows(course, rows, clock.clouds_per_s, epoch))
                outside.say(clock.line(epoch, number + 1, course.told(rows[-1])))
            epoch_rows.append(rows)
            waiting = []
        if leaves:
            _leave(course, pace, epoch, np.concatenate(epoch_rows), outside)
    means = np.concatenate(epoch_rows).mean(axis=0)
    return dict(zip(course.columns, means.tolist(), strict=True))


def _metric_rows(course: Course, rows: np.ndarray, clouds_per_s: float, epoch: int) -> list[tuple[int, dict[str, float]]]:
    first = course.step - len(rows) + 1
    metrics: list[tuple[int, dict[str, float]]] = [
        (first + offset, dict(zip(course.columns, row.tolist(), strict=True))) for offset, row in enumerate(rows)
    ]
    metrics[-1][1].update({names.CLOUDS_PER_S: clouds_per_s, names.EPOCH: float(epoch + 1)})
    return metrics


class Clock:
    """Speed since the last line and time left at the speed so far."""

    def __init__(self, pace: Pace, first_step: int) -> None:
        self.pace = pace
        self.done, self.first_step = first_step, first_step
        self.start = self.last = time.perf_counter()
        self.clouds_per_s = 0.0  # shapes a second over all ranks

    def start_epoch(self) -> None:
        """Leaves what lay between two epochs (the report, the checkpoint) out of the speed, not out of the time left."""
        self.last = time.perf_counter()

    def tick(self, steps: int) -> None:
        now = time.perf_counter()
        self.done += steps
        self.clouds_per_s = self.pace.batch * self.pace.accumulate * steps / max(1e-9, now - self.last)
        self.last = now

    def line(self, epoch: int, number: int, told: str) -> str:
        left = self.pace.steps * self.pace.epochs - self.done
        seconds = left * (self.last - self.start) / max(1, self.done - self.first_step)
        return (
            f"epoch {epoch + 1}/{self.pace.epochs} step {number}/{self.pace.steps} {told} "
            f"{self.clouds_per_s:.0f} clouds/s, {_duration(seconds)} left"
        )


def _duration(seconds: float) -> str:
    seconds = int(seconds + 0.5)
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
