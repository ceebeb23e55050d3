"""A step: what stops it, what accumulates in it, what it costs to ask too much."""
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from jobs.config import Pipeline, check
from jobs.data.loading import Batch
from jobs.models.tf32 import allow_tf32, without_tf32
from jobs.pretraining.checkpoint import bytes_needed
from jobs.pretraining.loop import steps_an_epoch
from jobs.pretraining.ranks import ALONE
from jobs.pretraining.space import check_space, check_temporary
from jobs.pretraining.step import build_model, build_training, train_step


def config(**pretrain: object) -> Pipeline:
    values = {
        "backbone": {"name": "pointnet"},
        "image": {"tower": "resnet18", "size": 32},
        "weighting": {"name": "static", "intra": 1.0, "cross": 0.5},
        "batch": 4,
        "points": 16,
        "precision": "float64",
        **pretrain,
    }
    return check({"data": {"kind": "synthetic"}, "pretrain": values, "evaluate": {"points": 16}}, "test")


def batch(seed: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((8, 16, 3), (4, 3, 32, 32), (4, 1, 32, 32))
    points, rgb, grey = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    return Batch(torch.arange(4) + 10 * seed, points, rgb, grey)


def test_a_loss_that_is_not_finite_stops_the_run_before_the_optimizer_moves() -> None:
    training = build_training(config(), ALONE, iterations=10)
    with torch.no_grad():
        training.model.inv_head[0].weight[0, 0] = float("nan")
    before = {name: value.clone() for name, value in training.model.named_parameters()}
    with pytest.raises(FloatingPointError, match=r"stopped at step 0: the global losses are intra nan.*not finite on rank 0.*did not move"):
        train_step(training, [batch(0)])
    assert all(torch.equal(value, before[name]) or name.startswith("inv_head.0") for name, value in training.model.named_parameters())
    assert training.step == 0


@pytest.mark.parametrize("name, allowed", [("float32", False), ("tf32", True), ("bf16", False)])
def test_products_are_in_tf32_where_the_config_asks_for_it_and_nowhere_else(name: str, allowed: bool) -> None:
    training = build_training(config(precision=name), ALONE, iterations=10)
    assert torch.get_float32_matmul_precision() == ("high" if allowed else "highest")
    assert torch.backends.cudnn.allow_tf32 is allowed
    with without_tf32():
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == ("high" if allowed else "highest")
    assert all(parameter.dtype == torch.float32 for parameter in training.model.parameters())
    assert torch.isfinite(train_step(training, [batch(0)])).all()
    allow_tf32(False)


@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_a_gradient_that_is_not_finite_stops_the_run_before_the_optimizer_moves(clip_norm: float | None) -> None:
    training = build_training(config(optimizer={"clip_norm": clip_norm}), ALONE, iterations=10)
    weight = training.model.rgb_head[-1].weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weight.detach().clone()
    with pytest.raises(FloatingPointError, match="the gradient's norm is"):
        train_step(training, [batch(0)])
    assert torch.equal(weight, before)


def test_accumulated_batches_give_the_mean_of_their_own_gradients() -> None:
    one, both = (build_training(config(), ALONE, iterations=10) for _ in range(2))
    gradients = []
    for number in (0, 1):  # PointNet's and the towers' gradients do not depend on BatchNorm's running statistics
        train_step(one, [batch(number)])
        gradients.append([parameter.grad.clone() for parameter in one.model.parameters() if parameter.grad is not None])
        one = build_training(config(), ALONE, iterations=10)
    train_step(both, [batch(0), batch(1)])
    found = [parameter.grad for parameter in both.model.parameters() if parameter.grad is not None]
    for first, second, mean in zip(*gradients, found, strict=True):
        torch.testing.assert_close(mean, (first + second) / 2, rtol=1e-9, atol=1e-12)


def test_the_seed_alone_decides_the_first_weights_and_the_global_generator_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = build_model(config().pretrain, 1), build_model(config().pretrain, 1), build_model(config().pretrain, 2)
    assert torch.equal(torch.rand(3), expected)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


def test_a_row_of_numbers_holds_the_weighted_loss_the_losses_the_weights_and_the_rate() -> None:
    training = build_training(config(optimizer={"lr": 0.002, "warmup": 4}), ALONE, iterations=10)
    total, intra, cross, weight_intra, weight_cross, rate = train_step(training, [batch(0)]).tolist()
    assert (weight_intra, weight_cross) == (1.0, 0.5)
    assert total == pytest.approx(intra + 0.5 * cross)
    assert rate == pytest.approx(0.0005)


@pytest.mark.parametrize(("accumulate", "most"), [(1, 3), (2, 1)])
def test_a_batch_larger_than_the_dataset_is_refused_with_both_numbers(accumulate: int, most: int) -> None:
    with pytest.raises(ValueError, match=rf"pretrain\.batch is 4 .*the 3 training shapes: lower pretrain\.batch to at most {most}"):
        steps_an_epoch(config(accumulate=accumulate), 3)
    assert steps_an_epoch(config(accumulate=accumulate), 9) == 2 // accumulate


def test_too_little_disk_for_the_checkpoints_is_said_before_the_start(tmp_path: Path) -> None:
    full = config().model_copy(update={"cluster": config().cluster.model_copy(update={"storage": tmp_path, "min_free_gb": 1e9})})
    with pytest.raises(ValueError, match=r"GB free and the checkpoints need .* GB"):
        check_space(full, tmp_path / "run")


def test_a_resumed_run_needs_no_second_room_for_the_checkpoints_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = config().model_copy(update={"cluster": config().cluster.model_copy(update={"storage": tmp_path, "min_free_gb": 0.0})})
    values = sum(value.numel() * value.element_size() for value in build_model(small.pretrain, small.seed).state_dict().values())
    needed, held = bytes_needed(values), 1_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=needed - held))
    with pytest.raises(ValueError, match="the checkpoints need"):
        check_space(small, tmp_path / "run")
    (tmp_path / "run" / "epoch-00001").mkdir()
    (tmp_path / "run" / "epoch-00001" / "state.pt").write_bytes(bytes(held))
    check_space(small, tmp_path / "run")


def test_too_little_room_for_temporary_files_is_said_with_the_variable_that_moves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    check_temporary(config())
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100_000))
    with pytest.raises(ValueError, match=rf"{tempfile.gettempdir()} on .* has 0\.00 GB free and a checkpoint.*set TMPDIR"):
        check_temporary(config())


def test_the_towers_memory_layout_changes_no_loss() -> None:
    rows = []
    for channels_last in (True, False):
        training = build_training(config(image={"tower": "resnet18", "size": 32, "channels_last": channels_last}), ALONE, iterations=10)
        rows.append(torch.stack([train_step(training, [batch(number)]) for number in range(3)]))
    torch.testing.assert_close(*rows, rtol=1e-9, atol=1e-12)
