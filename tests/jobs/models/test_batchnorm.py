"""BatchNorm against PyTorch's."""
import pytest
import torch
from torch import nn

from jobs.models.batchnorm import BatchNorm, _GlobalNorm


@pytest.mark.parametrize("shape", [(7, 4), (5, 4, 3), (2, 4, 3, 5)])
def test_training_and_evaluation_equal_pytorchs_layer(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours = BatchNorm(4).double()
    theirs = (nn.BatchNorm2d(4) if len(shape) == 4 else nn.BatchNorm1d(4)).double()
    theirs.load_state_dict(ours.state_dict())
    for _ in range(3):
        x = torch.randn(shape, dtype=torch.float64) * 3 + 5
        torch.testing.assert_close(ours(x), theirs(x))
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("shape", [(7, 4), (2, 4, 3, 5)])
def test_the_global_form_has_the_gradients_of_pytorchs_layer(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    x, slope = torch.randn(shape, dtype=torch.float64) + 100, torch.randn(shape, dtype=torch.float64)
    weight, bias = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    found, expected = ([value.clone().requires_grad_() for value in (x, weight, bias)] for _ in range(2))
    y, mean, var, count = _GlobalNorm.apply(*found, 1e-5)
    (y * slope).sum().backward()
    reference = nn.functional.batch_norm(expected[0], None, None, expected[1], expected[2], True)
    (reference * slope).sum().backward()
    torch.testing.assert_close(y, reference)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    others = [dimension for dimension in range(len(shape)) if dimension != 1]
    torch.testing.assert_close(mean, x.mean(others))
    torch.testing.assert_close(var, x.var(others, correction=0))
    assert count == x.numel() / 4


def test_features_far_from_zero_keep_their_variance_in_float32() -> None:
    torch.manual_seed(2)
    exact = torch.randn(64, 3, dtype=torch.float64) + 1000
    var = _GlobalNorm.apply(exact.float(), torch.ones(3), torch.zeros(3), 1e-5)[2]
    torch.testing.assert_close(var.double(), exact.float().double().var(0, correction=0), rtol=1e-5, atol=0)


def test_bf16_input_keeps_float32_statistics() -> None:
    torch.manual_seed(3)
    norm = BatchNorm(4)
    x = (torch.randn(256, 4) + 2).bfloat16()
    assert norm(x).dtype == torch.bfloat16
    assert norm.running_var.dtype == torch.float32
    torch.testing.assert_close(norm.running_mean, 0.1 * x.float().mean(0))


def test_one_value_a_channel_is_refused_in_training_and_fine_in_evaluation() -> None:
    norm = BatchNorm(4)
    with pytest.raises(ValueError, match="larger batch"):
        norm(torch.randn(1, 4))
    assert norm.eval()(torch.randn(1, 4)).shape == (1, 4)


def test_an_input_with_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"4 channels .*\[2, 3\]"):
        BatchNorm(4)(torch.randn(2, 3))
