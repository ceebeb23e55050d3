"""The published rule against numbers computed by hand."""
import math

import pytest
import torch

from jobs.losses.weighting.adacrossnet import AdaCrossNetWeights


def rule(alpha: float, beta: float, cadence: str = "step", change: str = "raw", epoch_batches: int = 1) -> AdaCrossNetWeights:
    settings = {"alpha": alpha, "beta": beta, "cadence": cadence, "change": change, "epoch_batches": epoch_batches}
    return AdaCrossNetWeights(2, **settings, device="cpu", dtype=torch.float64)  # type: ignore[arg-type]


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_three_steps_give_the_numbers_computed_by_hand() -> None:
    # alpha 1, beta 1/2. Losses (ln 3, 0): sigmoid(ln 3) = 3/4, sigmoid(0) = 1/2, so w = 1/2 + 3/8 = 7/8 and 1/2 + 1/4 = 3/4.
    # Losses (0, ln 3): sigmoid(-ln 3) = 1/4 and 3/4, so w = 7/16 + 1/8 = 9/16 and 3/8 + 3/8 = 3/4.
    # The same losses again: both sigmoids are 1/2, so w = 9/32 + 1/4 = 17/32 and 3/8 + 1/4 = 5/8.
    weighting, ln3 = rule(1.0, 0.5), math.log(3.0)
    torch.testing.assert_close(weighting.weigh(numbers(ln3, 0.0)), numbers(0.875, 0.75))
    torch.testing.assert_close(weighting.weigh(numbers(0.0, ln3)), numbers(0.5625, 0.75))
    torch.testing.assert_close(weighting.weigh(numbers(0.0, ln3)), numbers(0.53125, 0.625))


def test_the_published_settings_settle_at_one_half_each() -> None:
    weighting = rule(0.05, 0.95)
    # By hand: 0.95 + 0.05 / (1 + e^-0.2) = 0.977492, and 0.95 + 0.05 / (1 + e^-0.15) = 0.976871.
    torch.testing.assert_close(weighting.weigh(numbers(4.0, 3.0)), numbers(0.977492, 0.976871), rtol=0, atol=1e-6)
    for _ in range(300):
        weights = weighting.weigh(numbers(4.0, 3.0))
    torch.testing.assert_close(weights, numbers(0.5, 0.5), rtol=0, atol=1e-6)


def test_by_epochs_it_moves_once_an_epoch_by_the_mean_losses() -> None:
    by_step, by_epoch = rule(1.0, 0.5), rule(1.0, 0.5, cadence="epoch", epoch_batches=2)
    epochs = [(numbers(2.0, 1.0), numbers(4.0, 0.0)), (numbers(1.0, 1.0), numbers(1.0, 2.0)), (numbers(0.5, 0.5), numbers(0.5, 0.5))]
    in_force = numbers(1.0, 1.0)
    for first, second in epochs:
        torch.testing.assert_close(by_epoch.weigh(first), in_force)
        torch.testing.assert_close(by_epoch.weigh(second), in_force)
        in_force = by_step.weigh((first + second) / 2)  # what the next epoch gets


def test_relative_changes_are_shares_of_the_loss_before_and_none_at_first() -> None:
    weighting, ln3 = rule(2 * math.log(3.0), 0.0, change="relative"), numbers(4.0, 1.0)
    # No change: sigmoid(0) = 1/2. Then -1/2 and +1/2 of the loss before: sigmoid(-ln 3) = 1/4 and sigmoid(ln 3) = 3/4.
    torch.testing.assert_close(weighting.weigh(ln3), numbers(0.5, 0.5))
    torch.testing.assert_close(weighting.weigh(numbers(2.0, 1.5)), numbers(0.25, 0.75))


def test_a_resumed_rule_goes_on_as_the_uninterrupted_one() -> None:
    torch.manual_seed(0)
    losses = torch.rand(6, 2, dtype=torch.float64)
    whole, first, second = rule(5.0, 0.5), rule(5.0, 0.5), rule(5.0, 0.5)
    expected = [whole.weigh(row) for row in losses]
    for row in losses[:3]:
        first.weigh(row)
    state = first.state_dict()
    first.weigh(losses[3])  # must not reach into the state that was taken
    second.load_state_dict(state)
    assert all(torch.equal(second.weigh(row), want) for row, want in zip(losses[3:], expected[3:], strict=True))


def test_what_is_given_out_can_be_changed_without_harm_and_carries_no_gradient() -> None:
    weighting = rule(1.0, 0.5)
    losses = numbers(1.0, 2.0).requires_grad_()
    weights = weighting.weigh(losses)
    assert not weights.requires_grad
    weights.zero_()
    assert (weighting.state_dict()["weights"] > 0).all()


def test_another_strategys_state_is_refused() -> None:
    with pytest.raises(ValueError, match="needs previous, seen, sum, weights of 2 losses"):
        rule(1.0, 0.5).load_state_dict({})
    with pytest.raises(ValueError, match=r"\[3\]"):
        other = {"weights": torch.ones(3), "previous": torch.zeros(3), "sum": torch.zeros(3), "seen": torch.tensor(0)}
        rule(1.0, 0.5).load_state_dict(other)
