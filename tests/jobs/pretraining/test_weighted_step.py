"""A step under each strategy: what it moves and when, what it leaves alone, and the same numbers on two ranks."""
import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from jobs.config import Pipeline
from jobs.config.sections import Weighting
from jobs.data.draws import share
from jobs.data.loading import Batch
from jobs.models import crossmodal
from jobs.models.batchnorm import BatchNorm
from jobs.pretraining.ranks import ALONE, Ranks
from jobs.pretraining.step import Training, batch_losses, build_training, gradient_norms, train_step
from tests.jobs.models.ranks import Answer, assert_ranks_equal_one_process
from tests.jobs.pretraining.test_step import batch, config

NAMES = sorted(get_args(section.model_fields["name"].annotation)[0] for section in get_args(get_args(Weighting)[0]))


class SmallTower(nn.Sequential):
    """In place of a ResNet, which would take most of the tests' time and is weighed like any other tower."""

    feature_dim = 32

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(channels, 8, 3, 2), BatchNorm(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())


@contextlib.contextmanager
def small_towers() -> Iterator[None]:
    with mock.patch.object(crossmodal, "build_tower", lambda name, channels: SmallTower(channels)):
        yield


@pytest.fixture(autouse=True)
def _small_towers() -> Iterator[None]:
    with small_towers():
        yield


def training_of(name: str, settings: dict[str, Any] | None = None, **pretrain: Any) -> Training:
    return build_training(weighted(name, settings or {}, **pretrain), ALONE, iterations=500)


def weighted(name: str, settings: dict[str, Any], **pretrain: Any) -> Pipeline:
    return config(weighting={"name": name, **settings}, epochs=250, **pretrain)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_goes_on_as_the_uninterrupted_one(name: str) -> None:
    whole, second = training_of(name), training_of(name)
    for number in range(3):  # two steps an epoch: it stops in the middle of the second
        train_step(whole, [batch(number)])
    second.load(copy.deepcopy(whole.state()))
    for number in (3, 4):
        assert torch.equal(train_step(second, [batch(number)]), train_step(whole, [batch(number)]))
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_normalised_weights_sum_to_the_number_of_losses(name: str) -> None:
    training = training_of(name, {"normalise": True})
    for number in range(4):
        total, intra, cross, weight_intra, weight_cross, _ = train_step(training, [batch(number)]).tolist()
        assert weight_intra + weight_cross == pytest.approx(2.0)
        assert total == pytest.approx(weight_intra * intra + weight_cross * cross)


def test_log_variances_move_with_the_networks_rate_by_the_mean_gradient_of_a_steps_batches() -> None:
    one, both = training_of("uncertainty"), training_of("uncertainty")
    row = train_step(one, [batch(0)])
    assert row[3:5].tolist() == [0.5, 0.5]
    state = one.optimizer.state_dict()
    assert [group["weight_decay"] for group in state["param_groups"]] == [1e-5, 0.0]
    # Adam's first step is the rate in size: the losses are above 1, so the log-variances rise.
    torch.testing.assert_close(one.weighting.state_dict()["log_variance"], torch.full((2,), 1e-3, dtype=torch.float64), rtol=1e-6, atol=0)
    train_step(both, [batch(0), batch(0)])
    log_variance = both.weighting.parameters()[0]  # type: ignore[attr-defined]
    alone = one.weighting.parameters()[0]  # type: ignore[attr-defined]
    torch.testing.assert_close(log_variance.grad, alone.grad)


def test_gradient_norms_are_those_of_the_losses_at_the_projections_last_layer() -> None:
    training = training_of("gradnorm")
    losses_K = batch_losses(training, batch(0))
    found = gradient_norms(training, losses_K)
    for number in range(2):
        training.model.zero_grad()
        batch_losses(training, batch(0))[number].backward()
        gradient = training.model.inv_head[-1].get_parameter("weight").grad
        assert gradient is not None
        assert float(found[number]) == pytest.approx(float(gradient.norm()), rel=1e-9)


def test_famos_second_look_leaves_running_statistics_and_gradients_alone() -> None:
    famo = training_of("famo")
    own = train_step(famo, [batch(0)])[3:5].tolist()
    static = training_of("static", {"intra": own[0], "cross": own[1]})
    train_step(static, [batch(0)])
    for name, value in static.model.state_dict().items():
        torch.testing.assert_close(famo.model.state_dict()[name], value, rtol=1e-9, atol=1e-12, msg=f"{name} differs")
    assert famo.weighting.state_dict()["logits"].abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_that_is_not_finite_stops_the_run_with_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training = training_of(name)
    monkeypatch.setattr(type(training.weighting), "weigh", lambda self, losses_K: torch.tensor([float("nan"), 1.0], dtype=torch.float64))
    before = [value.clone() for value in training.model.parameters()]
    with pytest.raises(FloatingPointError, match=rf"step 0: the {name} weighting gives intra nan, cross 1 for the losses intra .*cross"):
        train_step(training, [batch(0)])
    assert all(torch.equal(a, b) for a, b in zip(training.model.parameters(), before, strict=True))


SHAPES = 5  # over two ranks 2 + 3
FOLLOWING = ("adacrossnet", "dwa", "famo", "gradnorm", "random", "uncertainty")


def two_steps_of_each_strategy() -> Answer:
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    answer: Answer = {}
    for name in FOLLOWING:
        settings = {"alpha": 5.0, "beta": 0.5} if name == "adacrossnet" else {}
        small = weighted(name, settings, batch=SHAPES, optimizer={"lr": 1e-4})
        with small_towers():
            training = build_training(small, Ranks(rank, world, torch.device("cpu")), iterations=250)
        rows = [train_step(training, [own_rows(number, rank, world)]) for number in range(2)]
        answer[f"same/{name} rows"] = torch.stack(rows)
        answer[f"same/{name} encoder"] = torch.cat([value.detach().flatten()[:50] for value in training.model.encoder.parameters()])
    return answer


def own_rows(seed: int, rank: int, world: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    own = torch.from_numpy(share(np.arange(SHAPES), rank, world))
    shapes = ((SHAPES, 2, 16, 3), (SHAPES, 3, 32, 32), (SHAPES, 1, 32, 32))
    points, rgb, grey = (torch.randn(shape, generator=draw, dtype=torch.float64)[own] for shape in shapes)
    return Batch(torch.arange(SHAPES)[own], points.transpose(0, 1).flatten(0, 1), rgb, grey)


def test_weights_and_parameters_are_the_same_over_one_and_two_processes(tmp_path: Path) -> None:
    assert_ranks_equal_one_process(two_steps_of_each_strategy, tmp_path, atol=1e-7, worlds=(2,))
