"""Learned log-variances against autograd on the paper's loss."""
import torch

from jobs.losses.weighting.uncertainty import UncertaintyWeights


def test_weights_and_gradients_are_those_of_the_papers_loss() -> None:
    weighting = UncertaintyWeights(3, device="cpu", dtype=torch.float64)
    with torch.no_grad():
        weighting.log_variance_K.copy_(torch.tensor([0.3, -0.7, 1.1]))
    losses_K = torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    log_variance_K = weighting.log_variance_K.detach().clone().requires_grad_()
    sigma_K = torch.exp(log_variance_K).sqrt()
    (losses_K / (2 * sigma_K**2) + torch.log(sigma_K)).sum().backward()

    weights_K = weighting.weigh(losses_K.detach())
    torch.testing.assert_close(weights_K, losses_K.grad)
    torch.testing.assert_close(weighting.log_variance_K.grad, log_variance_K.grad)


def test_under_an_optimizer_it_comes_to_the_minimum_at_the_logarithm_of_the_loss() -> None:
    weighting = UncertaintyWeights(2, device="cpu", dtype=torch.float64)
    optimizer = torch.optim.Adam(weighting.parameters(), lr=0.02)
    losses_K = torch.tensor([3.0, 0.4], dtype=torch.float64)
    for _ in range(800):
        optimizer.zero_grad()
        weighting.weigh(losses_K)
        optimizer.step()
    torch.testing.assert_close(weighting.weigh(losses_K), 0.5 / losses_K, rtol=1e-3, atol=0)
