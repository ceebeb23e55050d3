"""The fused neighbour maximum against PyTorch's path: values, chosen rows and gradients."""
import pytest
import torch
from torch import Tensor

from jobs.models import maximum
from jobs.models.edgeconv import EdgeConv
from jobs.models.maximum import neighbour_maximum
from tests.jobs.models.kernels import device_of_kernels

DEVICE = device_of_kernels()
SLOPE = 0.2

from jobs.models.triton_maximum import fused_neighbour_maximum  # noqa: E402  # once it is known that Triton is there


def inputs(rows: int, k: int, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Multiples of 1/4: sums are exact, equals many, and every sum of gradients has one answer whatever its order."""
    torch.manual_seed(rows + k + channels)
    near_MD, own_MD = (torch.randint(-8, 9, (rows, channels)) / 4 for _ in range(2))
    return near_MD, own_MD, torch.randint(0, rows, (rows, k))


def outcome(kernel: bool, near_MD: Tensor, own_MD: Tensor, idx_MK: Tensor, grad_MD: Tensor) -> list[Tensor]:
    """Value and both gradients, of the kernel or of PyTorch on the CPU."""
    device = DEVICE if kernel else "cpu"
    near_MD, own_MD = (x.to(device).requires_grad_() for x in (near_MD.detach().clone(), own_MD.detach().clone()))
    out_MD = (fused_neighbour_maximum if kernel else neighbour_maximum)(near_MD, own_MD, idx_MK.to(device), SLOPE)
    out_MD.backward(grad_MD.to(device))
    assert near_MD.grad is not None and own_MD.grad is not None
    return [x.detach().cpu() for x in (out_MD, near_MD.grad, own_MD.grad)]


@pytest.mark.parametrize(
    ("rows", "k", "channels"), [(1, 1, 1), (37, 1, 3), (50, 20, 3), (33, 20, 64), (20, 7, 128), (9, 5, 200), (5, 5, 256), (3, 256, 2)]
)
def test_values_and_gradients_equal_pytorchs(rows: int, k: int, channels: int) -> None:
    given = inputs(rows, k, channels)
    grad_MD = torch.randint(-8, 9, (rows, channels)).float()
    for found, expected in zip(outcome(True, *given, grad_MD), outcome(False, *given, grad_MD), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # the slope, 0.2, is no sum of powers of two


def test_the_gradient_goes_to_the_first_of_the_equal_neighbours_as_autograd_has_it() -> None:
    near_MD, own_MD = torch.zeros(6, 4), torch.ones(6, 4)
    idx_MK = torch.tensor([[5, 2, 4], [4, 5, 2], [2, 2, 2], [3, 0, 3], [1, 5, 5], [5, 4, 5]])
    _, near_grad_MD, _ = outcome(True, near_MD, own_MD, idx_MK, torch.ones(6, 4))
    assert near_grad_MD[:, 0].tolist() == [0, 1, 1, 1, 1, 2]


def test_without_gradients_the_value_is_the_same() -> None:
    near_MD, own_MD, idx_MK = inputs(21, 6, 70)
    with torch.no_grad():
        found = fused_neighbour_maximum(near_MD.to(DEVICE), own_MD.to(DEVICE), idx_MK.to(DEVICE), SLOPE)
        assert torch.equal(found.cpu(), neighbour_maximum(near_MD, own_MD, idx_MK, SLOPE))


def test_rows_that_are_views_of_something_else_are_read_right() -> None:
    near_MD, own_MD, idx_MK = inputs(12, 4, 5)
    wide_MD, tall_DM, idx_KM = torch.cat([near_MD, near_MD], 1), own_MD.t().contiguous(), idx_MK.t().contiguous()
    views = [x.to(DEVICE) for x in (wide_MD, tall_DM, idx_KM)]
    found = fused_neighbour_maximum(views[0][:, :5], views[1].t(), views[2].t(), SLOPE)
    assert torch.equal(found.cpu(), neighbour_maximum(near_MD, own_MD, idx_MK, SLOPE))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_not_finite_come_out_as_of_amax_and_the_gradient_stays_in_range(value: float) -> None:
    near_MD, own_MD, idx_MK = inputs(15, 4, 9)
    near_MD[3], near_MD[7, 2], near_MD[8] = value, value, -float("inf")
    idx_MK[2], idx_MK[4] = torch.tensor([3, 7, 3, 8]), torch.tensor([8, 8, 8, 8])
    found, near_grad_MD, _ = outcome(True, near_MD, own_MD, idx_MK, torch.ones(15, 9))
    expected = torch.nn.functional.leaky_relu(near_MD[idx_MK].amax(1) + own_MD, SLOPE)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    own_grad_MD = torch.where(expected > 0, 1.0, SLOPE)
    torch.testing.assert_close(near_grad_MD.sum(0), own_grad_MD.sum(0))


def test_the_same_gradient_comes_out_bit_by_bit_each_time() -> None:
    torch.manual_seed(0)
    given = torch.randn(40, 6), torch.randn(40, 6), torch.randint(0, 3, (40, 5)), torch.randn(40, 6)
    assert all(torch.equal(first, again) for first, again in zip(outcome(True, *given), outcome(True, *given), strict=True))


def test_a_whole_layer_takes_the_kernels_and_keeps_its_values_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    layer, x_BNC, idx_BNK = EdgeConv(5, 12), torch.randn(2, 16, 5), torch.randint(0, 16, (2, 16, 6))
    calls: list[int] = []
    monkeypatch.setattr(maximum, "fused_neighbour_maximum", lambda *given: calls.append(1) or fused_neighbour_maximum(*given))

    def step(device: str) -> list[Tensor]:
        x = x_BNC.clone().to(device).requires_grad_()
        layer.to(device).zero_grad()
        y = layer(x, idx_BNK.to(device))
        (y.sin() ** 2).sum().backward()
        return [t.detach().cpu().clone() for t in (y, x.grad, *(p.grad for p in layer.parameters()))]

    answers = [step("cpu")]
    assert not calls
    for module in ("maximum", "moments"):
        monkeypatch.setattr(f"jobs.models.{module}.can_launch", lambda x: True)
    answers.append(step(DEVICE))
    assert calls == [1]
    for found, expected in zip(answers[1], answers[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
