"""A training that is called away in the middle of an epoch and resumed is the training that nothing called away."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.config import Pipeline, check, check_data
from jobs.data.prepared import PreparedDataset
from jobs.prepare import prepare
from jobs.pretraining import checkpoint
from jobs.pretraining.loop import run
from jobs.pretraining.ranks import ALONE
from jobs.pretraining.step import Training
from jobs.training.loop import CalledAway, Outside

STEPS, EPOCHS = 4, 3  # of 20 shapes an optimizer step
AWAY = (4, 5, 7, 10)  # with an epoch's last step, twice within the next epoch, and in the last one


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    section = {"kind": "synthetic", "shapes": 144, "points": 48, "views": 1, "image_size": 32, "target": str(folder)}
    prepare(check_data(section, "test"), say=lambda line: None, parallel=False)
    assert len(PreparedDataset(folder, "train")) // 10 // 2 == STEPS
    return folder


def config_of(data: Path, batch: int = 10) -> Pipeline:
    pretrain = {
        "backbone": {"name": "pointnet"},
        "image": {"tower": "resnet18", "size": 32},
        "objective": {"cross": "crosspoint"},
        "weighting": {"name": "dwa"},  # its state holds sums over the epoch so far
        "optimizer": {"lr": 1e-4, "clip_norm": 5.0, "warmup": 3},
        "epochs": EPOCHS,
        "batch": batch,
        "accumulate": 2,
        "points": 32,
        "log_every": 2,
        "loader_workers": 0,
    }
    values = {"data": {"kind": "prepared", "target": str(data)}, "pretrain": pretrain, "evaluate": {"points": 32}}
    return check(values, "test").resolved(data)


class World:
    """What a training tells, and when it is called away: after the steps `away`, once each."""

    def __init__(self, folder: Path, away: tuple[int, ...]) -> None:
        self.folder, self.away = folder, away
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.reported: list[dict[str, Any]] = []
        self.kept: list[tuple[dict[str, Any], Path]] = []
        self.said: list[str] = []

    def outside(self) -> Outside:
        return Outside(lambda metrics, write, validated: self.reported.append(metrics), self.rows.extend, self.said.append,
                       called_away=lambda step: step in self.away[len(self.kept) :][:1], keep=self._keep)  # fmt: skip

    def _keep(self, metrics: dict[str, Any], write: Any) -> None:
        folder = self.folder / f"epoch-{int(metrics['epoch']):05d}-{len(self.kept)}"
        folder.mkdir(parents=True)
        write(folder)
        self.kept.append((metrics, folder))


def train(config: Pipeline, folder: Path, *away: int) -> tuple[Training, World]:
    """To the end, called away after the steps `away` and resumed from what is kept then."""
    world, resume = World(folder, away), None
    dataset = PreparedDataset(config.data.target, "train")
    for step in away:
        with pytest.raises(CalledAway, match=f"after step {step}, which is kept"):
            run(config, dataset, ALONE, world.outside(), resume)
        resume = world.kept[-1][1]
    return run(config, dataset, ALONE, world.outside(), resume), world


def losses(world: World) -> list[tuple[int, dict[str, float]]]:
    """Without the speed, which belongs to no step alone."""
    others = ("train/clouds_per_s", "train/epoch")
    return [(step, {key: value for key, value in row.items() if key not in others}) for step, row in world.rows]


@pytest.fixture(scope="module")
def calm(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, World]:
    """Called away after its last step alone."""
    world = World(tmp_path_factory.mktemp("calm"), (EPOCHS * STEPS,))
    return run(config_of(data), PreparedDataset(data, "train"), ALONE, world.outside(), None), world


@pytest.fixture(scope="module")
def disturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, World]:
    return train(config_of(data), tmp_path_factory.mktemp("disturbed"), *AWAY)


def test_a_training_resumed_within_epochs_has_the_numbers_of_an_undisturbed_one(
    calm: tuple[Training, World], disturbed: tuple[Training, World]
) -> None:
    (whole, undisturbed), (again, world) = calm, disturbed
    assert [step for step, _ in world.rows] == list(range(1, EPOCHS * STEPS + 1)), "each step is told once, none is left out"
    assert losses(world) == losses(undisturbed)
    assert world.reported == undisturbed.reported, "the means of an epoch are those of all its steps"
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=0, atol=0)


def test_what_is_kept_says_where_it_stands_and_resuming_says_so(disturbed: tuple[Training, World]) -> None:
    _, world = disturbed
    # A begun epoch counts by its share: what sorts checkpoints by their epoch keeps them in order.
    assert [metrics for metrics, _ in world.kept] == [{"epoch": step / STEPS, "step": step} for step in AWAY]
    assert [(checkpoint.facts(folder)["epoch"], checkpoint.facts(folder)["step"]) for _, folder in world.kept] == [
        (step // STEPS, step) for step in AWAY
    ]
    assert any(f"resuming after epoch 1/{EPOCHS} (step 4)" in line for line in world.said)
    assert any(f"resuming after step 3/{STEPS} of epoch 2/{EPOCHS} (step 7)" in line for line in world.said)


def test_nothing_calls_away_from_a_training_that_has_ended(calm: tuple[Training, World]) -> None:
    _, world = calm
    assert not world.kept and len(world.reported) == EPOCHS


def test_with_another_number_of_steps_an_epoch_begins_again(data: Path, tmp_path: Path, disturbed: tuple[Training, World]) -> None:
    world, dataset = World(tmp_path, ()), PreparedDataset(data, "train")
    config = config_of(data, batch=5)
    short = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"epochs": 2})})
    run(short, dataset, ALONE, world.outside(), disturbed[1].kept[2][1])
    assert len(world.rows) == len(dataset) // 10 and world.reported[0]["epoch"] == 2, "the second epoch, from its first batch"
