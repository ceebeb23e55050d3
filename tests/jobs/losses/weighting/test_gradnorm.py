"""GradNorm against autograd on the paper's loss of gradient norms."""
import pytest
import torch

from jobs.losses.weighting.gradnorm import GradNormWeights


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_one_move_is_adam_on_the_papers_loss_and_a_sum_of_k(alpha: float) -> None:
    weighting = GradNormWeights(3, alpha=alpha, rate=0.02, device="cpu", dtype=torch.float64)
    weights_K = torch.ones(3, dtype=torch.float64)
    parameter = weights_K.clone().requires_grad_()
    adam = torch.optim.Adam([parameter], lr=0.02)
    first_K = None
    draw = torch.Generator().manual_seed(0)
    for _ in range(5):
        losses_K, norms_K = (0.1 + torch.rand(3, generator=draw, dtype=torch.float64) for _ in range(2))
        first_K = losses_K if first_K is None else first_K
        torch.testing.assert_close(weighting.weigh(losses_K), parameter.detach())
        weighting.on_gradients(norms_K)

        weighted_K = parameter * norms_K  # equation 1: |G_k - mean(G) r_k^alpha|, the target constant
        rates_K = (losses_K / first_K) / (losses_K / first_K).mean()
        adam.zero_grad()
        (weighted_K - (weighted_K.mean() * rates_K**alpha).detach()).abs().sum().backward()
        adam.step()
        with torch.no_grad():
            parameter.mul_(3 / parameter.sum())
    torch.testing.assert_close(weighting.weigh(losses_K), parameter.detach())


def test_the_loss_with_the_larger_gradient_loses_weight_but_never_all_of_it() -> None:
    weighting = GradNormWeights(2, alpha=0.0, rate=0.1, device="cpu", dtype=torch.float64)
    for _ in range(200):
        weights_K = weighting.weigh(torch.ones(2, dtype=torch.float64))
        weighting.on_gradients(torch.tensor([1e6, 1.0], dtype=torch.float64))
    assert 0 < weights_K[0] < 0.1 < weights_K[1]
    assert float(weights_K.sum()) == pytest.approx(2.0)
