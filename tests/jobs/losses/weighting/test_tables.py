"""What holds for every strategy: the table, resuming, not waiting for the device, more than two losses."""
import io
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch.utils._python_dispatch import TorchDispatchMode

from jobs.config.sections import Weighting as Section
from jobs.losses.weighting.protocol import FollowsGradients, Learned, LooksAgain, Weighting, to_constant_sum
from jobs.losses.weighting.tables import WEIGHTINGS, Setting, build_weighting

NAMES = sorted(WEIGHTINGS)


def build(name: str, losses: tuple[str, ...] = ("intra", "cross"), seed: int = 0, **values: Any) -> Weighting:
    section = TypeAdapter(Section).validate_python({"name": name, **values})
    setting = Setting(losses, epoch_batches=2, seed=seed, device="cpu", dtype=torch.float64)
    settings = section.model_dump(exclude={"name", "normalise"})
    return build_weighting(name, setting, **(dict.fromkeys(losses, 1.0) if name == "static" else settings))


def batches(losses: int, count: int = 7) -> Iterator[torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    for _ in range(count):
        yield 0.5 + torch.rand(losses, generator=draw, dtype=torch.float64)


def drive(weighting: Weighting, losses_K: torch.Tensor, optimizer: torch.optim.Optimizer | None = None) -> torch.Tensor:
    """One step as the training takes it; the losses stand in for gradient norms and for the losses after it."""
    if optimizer is not None:
        optimizer.zero_grad(set_to_none=True)
    weights_K = weighting.weigh(losses_K)
    if isinstance(weighting, FollowsGradients):
        weighting.on_gradients(losses_K.flip(0))
    if optimizer is not None:
        optimizer.step()
    if isinstance(weighting, LooksAgain):
        weighting.after_step(0.9 * losses_K.square().sqrt().flip(0))
    return weights_K


def moved_by(weighting: Weighting) -> torch.optim.Optimizer | None:
    return torch.optim.Adam(weighting.parameters(), lr=0.01, fused=True) if isinstance(weighting, Learned) else None


def test_the_table_holds_the_schemas_choices() -> None:
    sections = get_args(get_args(Section)[0])
    assert set(WEIGHTINGS) == {name for section in sections for name in get_args(section.model_fields["name"].annotation)}


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_strategy_goes_on_as_the_uninterrupted_one(name: str) -> None:
    whole, first, second = build(name), build(name), build(name)
    moves = moved_by(whole)
    expected = [drive(whole, losses_K, moves) for losses_K in batches(2)]
    moves = moved_by(first)
    for losses_K in list(batches(2))[:3]:  # in the middle of an epoch of two
        drive(first, losses_K, moves)
    written = io.BytesIO()
    torch.save((first.state_dict(), moves.state_dict() if moves else None), written)
    written.seek(0)
    state, moments = torch.load(written, weights_only=True)
    second.load_state_dict(state)
    again = moved_by(second)
    if again is not None:
        again.load_state_dict(moments)
    for losses_K, want in list(zip(batches(2), expected, strict=True))[3:]:
        assert torch.equal(drive(second, losses_K, again), want)


class NoWaiting(TorchDispatchMode):
    """Fails when a value is read back from the device."""

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "the step waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", NAMES)
def test_no_step_waits_for_the_device(name: str) -> None:
    weighting = build(name)
    moves, given = moved_by(weighting), list(batches(2))
    with pytest.raises(AssertionError, match="waits"), NoWaiting():
        float(given[0][0])
    with NoWaiting():
        for losses_K in given:
            drive(weighting, losses_K, moves)


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_losses_is_weighed(name: str) -> None:
    weighting = build(name, ("one", "two", "three"))
    moves = moved_by(weighting)
    for losses_K in batches(3):
        weights_K = drive(weighting, losses_K, moves)
        assert weights_K.shape == (3,) and weights_K.dtype == torch.float64 and not weights_K.requires_grad
        assert (weights_K > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_given_out_can_be_changed_without_harm(name: str) -> None:
    one, other = build(name), build(name)
    for losses_K in list(batches(2))[:4]:
        drive(one, losses_K, moved_by(one)).zero_()
        drive(other, losses_K, moved_by(other))
    assert torch.equal(one.weigh(next(batches(2))), other.weigh(next(batches(2))))


def test_a_constant_sum_keeps_the_ratio() -> None:
    weights_K = to_constant_sum(torch.tensor([0.2, 0.6]))
    torch.testing.assert_close(weights_K, torch.tensor([0.5, 1.5]))


def test_static_weights_stay_whatever_the_losses() -> None:
    weighting = build_weighting("static", Setting(("a", "b"), 2, 0, "cpu", torch.float32), b=1.5, a=0.5)
    for losses in (torch.tensor([1.0, 9.0]), torch.tensor([5.0, 0.1])):
        assert weighting.weigh(losses).tolist() == [0.5, 1.5]


def test_unknown_names_foreign_states_and_other_losses_are_refused() -> None:
    setting = Setting(("intra", "cross"), 2, 0, "cpu", torch.float32)
    with pytest.raises(ValueError, match="'pcgrad'; there are adacrossnet, dwa"):
        build_weighting("pcgrad", setting)
    with pytest.raises(ValueError, match="weights of intra, cross, but the losses are intra, grey"):
        build_weighting("static", Setting(("intra", "grey"), 2, 0, "cpu", torch.float32), intra=1.0, cross=1.0)
    for name in NAMES:
        with pytest.raises(ValueError, match="resume with the weighting it had"):
            build(name).load_state_dict({"foreign": torch.zeros(2)})
