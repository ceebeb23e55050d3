"""The pretraining of one rank: what it brings to the loop that all trainings share."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.config import Pipeline, names
from jobs.data.loading import Batch, pretraining_batches
from jobs.data.prepared import PreparedDataset
from jobs.losses.objective import needs_grey
from jobs.pretraining import checkpoint
from jobs.pretraining.ranks import Ranks
from jobs.pretraining.step import Training, build_training, train_step
from jobs.training.loop import Outside, Pace
from jobs.training.loop import run as run_course

COLUMNS = (names.LOSS, names.LOSS_INTRA, names.LOSS_CROSS, names.WEIGHT_INTRA, names.WEIGHT_CROSS, names.LEARNING_RATE)


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
    course = Pretraining(config, dataset, build_training(config, ranks, iterations=steps * pretrain.epochs))
    pace = Pace(config.seed, pretrain.epochs, steps, pretrain.batch, pretrain.accumulate, pretrain.log_every)
    run_course(course, pace, ranks, outside, resume_from)
    return course.training


class Pretraining:
    """Batches of two augmented views and images, the weighted losses' step, and checkpoints that are validated outside."""

    columns: tuple[str, ...] = COLUMNS

    def __init__(self, config: Pipeline, dataset: PreparedDataset, training: Training) -> None:
        self.config, self.dataset, self.training = config, dataset, training

    @property
    def step(self) -> int:
        return self.training.step

    def start_epoch(self) -> None:
        self.training.forward.train()

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        pretrain, ranks = self.config.pretrain, self.training.ranks
        return pretraining_batches(
            self.dataset,
            seed=self.config.seed,
            epoch=epoch,
            first=first,
            batch=pretrain.batch,
            rank=ranks.rank,
            world=ranks.world,
            points=pretrain.points,
            image_size=pretrain.image.size,
            grey=needs_grey(pretrain.objective.cross),
            workers=pretrain.loader_workers,
        )

    def take(self, batches: list[Batch]) -> torch.Tensor:
        return train_step(self.training, batches)

    def told(self, row: Sequence[float] | np.ndarray) -> str:
        return f"loss {row[0]:.3f} (intra {row[1]:.3f}, cross {row[2]:.3f})"

    def end_epoch(self, epoch: int) -> dict[str, float]:
        return {}

    def done(self, epoch: int) -> bool:
        return False

    def validates(self, epoch: int) -> bool:
        pretrain = self.config.pretrain
        kept = pretrain.keep_every and (epoch + 1) % pretrain.keep_every == 0
        return bool(epoch + 1 == pretrain.epochs or kept or (epoch + 1) % pretrain.validate_every == 0)

    def write(self, folder: Path, epochs: int, begun: dict[str, Any] | None) -> None:
        training, backbone = self.training, self.config.pretrain.backbone.model_dump()
        state = {**training.state(), "begun": begun}
        checkpoint.write(folder, state, training.model.encoder, epoch=epochs, step=training.step, backbone=backbone)

    def load(self, state: dict[str, Any]) -> None:
        self.training.load(state)
