"""FAMO against autograd through its softmax, after algorithm 1."""
import torch

from jobs.losses.weighting.famo import FamoWeights


def test_weights_and_moves_are_those_of_algorithm_one() -> None:
    weighting = FamoWeights(3, rate=0.05, decay=0.01, device="cpu", dtype=torch.float64)
    logits_K = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits_K], lr=0.05, weight_decay=0.01)
    draw = torch.Generator().manual_seed(0)
    for _ in range(6):
        before_K, after_K = (0.2 + torch.rand(3, generator=draw, dtype=torch.float64) for _ in range(2))
        share_K = torch.softmax(logits_K, 0)
        expected_K = (share_K / before_K) / (share_K / before_K).sum()
        torch.testing.assert_close(weighting.weigh(before_K), expected_K.detach())
        weighting.after_step(after_K)
        adam.zero_grad()
        (logits_K.grad,) = torch.autograd.grad(share_K, logits_K, (before_K.log() - after_K.log()))
        adam.step()
    torch.testing.assert_close(weighting.logits_K, logits_K.detach())


def test_the_loss_that_falls_slower_gains_weight() -> None:
    weighting = FamoWeights(2, rate=0.05, decay=0.0, device="cpu", dtype=torch.float64)
    for _ in range(50):
        weights_K = weighting.weigh(torch.tensor([1.0, 1.0], dtype=torch.float64))
        weighting.after_step(torch.tensor([0.5, 0.99], dtype=torch.float64))
    assert weights_K[1] > 0.8
