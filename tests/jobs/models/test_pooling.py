"""Normalise, activate and pool in one, against the chain of PyTorch's layers."""
import pytest
import torch
from torch import nn

from jobs.models import maximum
from jobs.models.batchnorm import BatchNorm
from jobs.models.copies import Layout
from jobs.models.pooling import pool_points, pool_product


@pytest.mark.parametrize("slope", [0.2, 0.0])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("piece_bytes", [maximum.PIECE_BYTES, 500])
def test_values_gradients_and_running_statistics_equal_the_chain(
    slope: float, training: bool, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(maximum, "PIECE_BYTES", piece_bytes)
    ours, theirs = BatchNorm(6).double(), nn.BatchNorm1d(6).double()
    with torch.no_grad():
        ours.weight.normal_(), ours.bias.normal_(), ours.running_mean.normal_()
    theirs.load_state_dict(ours.state_dict())
    ours.train(training), theirs.train(training)
    y_BNC = torch.randn(5, 11, 6, dtype=torch.float64) * 2 + 30
    y_ours, y_theirs = y_BNC.clone().requires_grad_(), y_BNC.clone().requires_grad_()
    most, mean = pool_points(y_ours, ours, slope)
    z_BCN = nn.functional.leaky_relu(theirs(y_theirs.transpose(1, 2)), slope)
    torch.testing.assert_close(most, z_BCN.amax(2))
    torch.testing.assert_close(mean, z_BCN.mean(2))
    for a, b in ((most, z_BCN.max(2).values), (mean, z_BCN.mean(2))):
        slopes = torch.randn_like(a)
        (a * slopes).sum().backward(retain_graph=True)
        (b * slopes).sum().backward(retain_graph=True)
    torch.testing.assert_close(y_ours.grad, y_theirs.grad, rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)


@pytest.mark.parametrize("slope", [0.2, 0.0])
@pytest.mark.parametrize("piece_bytes", [maximum.PIECE_BYTES, 500, 40])
def test_a_folded_product_is_pooled_as_the_product_normalised(slope: float, piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    monkeypatch.setattr(maximum, "PIECE_BYTES", piece_bytes)
    norm = BatchNorm(6).double().eval()
    with torch.no_grad():
        norm.weight.normal_(), norm.bias.normal_(), norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    layout = Layout((11, 11, 7, 9), (0, 0, 4, 2))
    x_MC, weight_DC = torch.randn(sum(layout.sizes), 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    expected = pool_product(x_MC, weight_DC, layout, norm, slope)
    with torch.no_grad():
        found = pool_product(x_MC, weight_DC, layout, norm, slope)
    assert expected[0].requires_grad and not found[0].requires_grad
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-12)


def test_bf16_rows_are_pooled_in_float32() -> None:
    torch.manual_seed(1)
    norm = BatchNorm(6)
    y_BNC = torch.randn(3, 8, 6).bfloat16().requires_grad_()
    most, mean = pool_points(y_BNC, norm, 0.2)
    exact = pool_points(y_BNC.detach().float(), BatchNorm(6), 0.2)
    assert torch.equal(most, exact[0]) and torch.equal(mean, exact[1])
    (most.sum() + mean.sum()).backward()
    assert y_BNC.grad is not None and y_BNC.grad.dtype == torch.bfloat16


def test_one_row_is_refused_in_training() -> None:
    with pytest.raises(ValueError, match="larger batch"):
        pool_points(torch.randn(1, 1, 4), BatchNorm(4), 0.2)
