"""Random loss weighting: the distribution, and what the draws depend on."""
import torch

from jobs.losses.weighting.random import RandomWeights


def draws(seed: int, count: int) -> torch.Tensor:
    weighting = RandomWeights(2, seed=seed, device="cpu", dtype=torch.float64)
    return torch.stack([weighting.weigh(torch.zeros(2)) for _ in range(count)])


def test_the_weights_are_a_softmax_of_normal_draws_times_k() -> None:
    weights = draws(0, 4000)
    torch.testing.assert_close(weights.sum(1), torch.full((4000,), 2.0, dtype=torch.float64))
    logits = torch.log(weights[:, 0] / weights[:, 1])  # a difference of two standard normal draws
    assert abs(float(logits.mean())) < 0.1
    assert abs(float(logits.std()) - 2**0.5) < 0.05


def test_the_draws_depend_on_the_seed_and_not_on_the_losses() -> None:
    assert torch.equal(draws(3, 5), draws(3, 5))
    assert not torch.equal(draws(3, 5), draws(4, 5))
