"""The pretraining loop of one rank. It knows neither Ray nor MLflow: both come in as functions."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.config import Pipeline, names
from jobs.data.draws import step_seed
from jobs.data.loading import pretraining_batches
from jobs.data.prepared import PreparedDataset
from jobs.losses.objective import needs_grey
from jobs.pretraining import checkpoint
from jobs.pretraining.ranks import Ranks
from jobs.pretraining.step import Training, build_training, train_step

COLUMNS = (names.LOSS, names.LOSS_INTRA, names.LOSS_CROSS, names.WEIGHT_INTRA, names.WEIGHT_CROSS, names.LEARNING_RATE)


@dataclass(frozen=True)
class Outside:
    """What the loop asks of the world around it."""

    # (metrics, writer of a checkpoint into a folder, whether to validate it): called on every rank after every epoch
    report: Callable[[dict[str, Any], Callable[[Path], None], bool], None]
    log: Callable[[list[tuple[int, dict[str, float]]]], None]  # (step, metrics) rows, rank 0 alone
    say: Callable[[str], None]  # a progress line, rank 0 alone


def steps_an_epoch(config: Pipeline, shapes: int) -> int:
    """Optimizer steps an epoch. ValueError when the dataset holds less than one global batch."""
    batch, accumulate = config.pretrain.batch, config.pretrain.accumulate
    if shapes < batch * accumulate:
        raise ValueError(
            f"pretrain.batch is {batch} (x {accumulate} accumulated), more than the {shapes} training shapes: "
            f"lower pretrain.batch to at most {shapes // accumulate}, or prepare more shapes"
        )
    return shapes // batch // accumulate


def run(config: Pipeline, dataset: PreparedDataset, ranks: Ranks, outside: Outside, resume_from: Path | None) -> Training:
    """Trains from `resume_from` (a complete checkpoint; None: from the start) to the last epoch; returns the training.

    Every rank calls it with the same arguments but for `ranks`. Raises FloatingPointError when a loss is not finite.
    """
    pretrain = config.pretrain
    steps = steps_an_epoch(config, len(dataset))
    training = build_training(config, ranks, iterations=steps * pretrain.epochs)
    first_epoch = 0
    if resume_from is not None:
        state = checkpoint.read(resume_from, ranks.device)
        training.load(state)
        first_epoch = state["epoch"]
        if ranks.rank == 0:
            outside.say(f"resuming after epoch {first_epoch}/{pretrain.epochs} (step {training.step}) from {resume_from}")
    clock = Clock(config, steps, training.step)
    for epoch in range(first_epoch, pretrain.epochs):
        metrics = _epoch(config, dataset, training, epoch, clock, outside)
        last = epoch + 1 == pretrain.epochs
        kept = pretrain.keep_every and (epoch + 1) % pretrain.keep_every == 0
        validate = bool(last or kept or (epoch + 1) % pretrain.validate_every == 0)

        def write(folder: Path, done: int = epoch + 1) -> None:
            settings = pretrain.backbone.model_dump()
            checkpoint.write(folder, training.state(), training.model.encoder, epoch=done, step=training.step, backbone=settings)

        outside.report({"epoch": epoch + 1, **metrics}, write, validate)
    return training


def _epoch(
    config: Pipeline, dataset: PreparedDataset, training: Training, epoch: int, clock: Clock, outside: Outside
) -> dict[str, float]:
    """One epoch; returns the means of its columns, the same on every rank."""
    pretrain, ranks = config.pretrain, training.ranks
    batches = pretraining_batches(
        dataset,
        seed=config.seed,
        epoch=epoch,
        batch=pretrain.batch,
        rank=ranks.rank,
        world=ranks.world,
        points=pretrain.points,
        image_size=pretrain.image.size,
        grey=needs_grey(pretrain.objective.cross),
        workers=pretrain.loader_workers,
    )
    waiting: list[torch.Tensor] = []  # rows on the device, fetched only when they are logged
    epoch_rows: list[np.ndarray] = []
    training.forward.train()
    clock.start_epoch()
    for number in range(clock.steps_an_epoch):
        torch.manual_seed(step_seed(config.seed, training.step))  # what a batch draws depends on (seed, step) alone
        group = [next(batches) for _ in range(pretrain.accumulate)]
        waiting.append(train_step(training, group))
        if len(waiting) == pretrain.log_every or number + 1 == clock.steps_an_epoch:
            rows = torch.stack(waiting).double().cpu().numpy()
            clock.tick(len(waiting))
            if ranks.rank == 0:
                outside.log(_metric_rows(training.step, rows, clock.clouds_per_s, epoch))
                outside.say(clock.line(epoch, number + 1, rows[-1]))
            epoch_rows.append(rows)
            waiting = []
    means = np.concatenate(epoch_rows).mean(axis=0)
    return dict(zip(COLUMNS, means.tolist(), strict=True))


def _metric_rows(last_step: int, rows: np.ndarray, clouds_per_s: float, epoch: int) -> list[tuple[int, dict[str, float]]]:
    first = last_step - len(rows) + 1
    metrics: list[tuple[int, dict[str, float]]] = [
        (first + offset, dict(zip(COLUMNS, row.tolist(), strict=True))) for offset, row in enumerate(rows)
    ]
    metrics[-1][1].update({names.CLOUDS_PER_S: clouds_per_s, names.EPOCH: float(epoch + 1)})
    return metrics


class Clock:
    """Speed since the last line and time left at the speed so far."""

    def __init__(self, config: Pipeline, steps_an_epoch: int, first_step: int) -> None:
        self.steps_an_epoch = steps_an_epoch
        self.epochs = config.pretrain.epochs
        self.shapes_a_step = config.pretrain.batch * config.pretrain.accumulate
        self.done, self.first_step = first_step, first_step
        self.start = self.last = time.perf_counter()
        self.clouds_per_s = 0.0  # shapes a second over all ranks; each passes the encoder as two views

    def start_epoch(self) -> None:
        """Leaves what lay between two epochs (the report, the checkpoint) out of the speed, not out of the time left."""
        self.last = time.perf_counter()

    def tick(self, steps: int) -> None:
        now = time.perf_counter()
        self.done += steps
        self.clouds_per_s = self.shapes_a_step * steps / max(1e-9, now - self.last)
        self.last = now

    def line(self, epoch: int, number: int, row: Sequence[float] | np.ndarray) -> str:
        loss, intra, cross = row[0], row[1], row[2]
        left = self.steps_an_epoch * self.epochs - self.done
        seconds = left * (self.last - self.start) / max(1, self.done - self.first_step)
        return (
            f"epoch {epoch + 1}/{self.epochs} step {number}/{self.steps_an_epoch} loss {loss:.3f} "
            f"(intra {intra:.3f}, cross {cross:.3f}) {self.clouds_per_s:.0f} clouds/s, {_duration(seconds)} left"
        )


def _duration(seconds: float) -> str:
    seconds = int(seconds + 0.5)
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
