"""Sharp and gentle points, and attention to them, against their definitions point by point."""
import math

import pytest
import torch
from torch import Tensor, nn

from jobs.models import geometry_disentangled, maximum
from jobs.models.geometry_disentangled import SharpGentleAttention, sharp_and_gentle


def groups_by_definition(x_BNC: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the 256 largest and 256 smallest variations, each point's sum written out over its 63 nearest others."""
    groups = []
    for cloud_NC in x_BNC:
        distances_NN = (cloud_NC[:, None] - cloud_NC).norm(dim=2)
        weights_NN = torch.where(distances_NN < 0.2, torch.exp(-distances_NN.square() / 4), 0.0)
        variation = []
        for point, row_N in enumerate(distances_NN):
            others = [other for other in row_N.argsort().tolist() if other != point][:63]
            weights = weights_NN[point, others] / weights_NN[point].sum()
            variation.append((cloud_NC[point] - weights @ cloud_NC[others]).square().sum())
        order_N = torch.stack(variation).argsort(descending=True)
        groups.append((order_N[:256], order_N[-256:]))
    return torch.stack([sharp for sharp, _ in groups]), torch.stack([gentle for _, gentle in groups])


class ObviousAttention(nn.Module):
    """The attention of every point to every chosen one stands in memory."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.g, self.theta, self.phi = (nn.Conv1d(channels, inner, 1) for _ in range(3))
        self.W = nn.Sequential(nn.Conv1d(inner, channels, 1), nn.BatchNorm1d(channels))

    def forward(self, x_BNC: Tensor, idx_BS: Tensor) -> Tensor:
        group_BCS = torch.stack([cloud_NC[idx_S] for cloud_NC, idx_S in zip(x_BNC, idx_BS, strict=True)]).transpose(1, 2)
        x_BCN = x_BNC.transpose(1, 2)
        attention_BNS = torch.einsum("ben,bes->bns", self.theta(x_BCN), self.phi(group_BCS)) / idx_BS.shape[1]
        return (self.W(torch.einsum("bns,bes->ben", attention_BNS, self.g(group_BCS))) + x_BCN).transpose(1, 2)


def clusters(clouds: int, points: int) -> Tensor:
    """Clouds whose distances lie on both sides of the reach, with more than 64 points within it."""
    centres = torch.randn(clouds, 3, 5, dtype=torch.float64)
    widths = torch.tensor([0.03, 0.08, 0.3], dtype=torch.float64)
    group = torch.arange(points) % 3
    return centres[:, group] + torch.randn(clouds, points, 5, dtype=torch.float64) * widths[group, None]


@pytest.mark.parametrize("points", [256, 300, 600])
def test_the_groups_are_those_of_the_definition(points: int) -> None:
    torch.manual_seed(points)
    x_BNC = clusters(2, points)
    for found, expected in zip(sharp_and_gentle(x_BNC), groups_by_definition(x_BNC), strict=True):
        assert found.shape == (2, 256) and found.dtype == torch.int64
        assert torch.equal(found.sort(1).values, expected.sort(1).values)


def test_the_outliers_are_sharp_and_the_crowd_is_gentle() -> None:
    torch.manual_seed(0)
    x_BNC = torch.randn(1, 600, 4) * 0.01 + 3
    x_BNC[0, :100] += torch.randn(100, 4) * 5
    x_BNC[0, :100] += 20 * x_BNC[0, :100].sign()
    sharp, gentle = (set(idx_BS[0].tolist()) for idx_BS in sharp_and_gentle(x_BNC))
    assert set(range(100)) <= sharp and not gentle & set(range(100))


def test_pieces_and_autocast_do_not_change_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    x_BNC = clusters(5, 300).float()
    whole = [idx_BS.sort(1).values for idx_BS in sharp_and_gentle(x_BNC)]
    for piece_bytes in (2 * 300 * 300 * 4, 70 * 300 * 4):  # two clouds at once; 70 rows of one
        monkeypatch.setattr(maximum, "PIECE_BYTES", piece_bytes)
        with torch.autocast("cpu", torch.bfloat16):
            found = sharp_and_gentle(x_BNC)
        assert all(torch.equal(idx_BS.sort(1).values, expected) for idx_BS, expected in zip(found, whole, strict=True))


def test_many_copies_of_one_point_vary_alike() -> None:
    torch.manual_seed(2)
    x_BNC = clusters(1, 400)
    x_BNC[0, 100:] = x_BNC[0, 0] + 10  # 300 copies: more than the neighbours counted
    expected = (x_BNC[0, 100] * (1 - 63 / 300)).square().sum()
    torch.testing.assert_close(geometry_disentangled._variation(x_BNC, slice(100, 400))[0], expected.expand(300), rtol=1e-6, atol=1e-9)


def test_attention_from_the_right_equals_the_whole_matrix() -> None:
    torch.manual_seed(3)
    ours, obvious = SharpGentleAttention(8).double(), ObviousAttention(8).double()
    with torch.no_grad():
        ours.W.get_parameter("1.weight").normal_(), ours.W.get_parameter("1.bias").normal_()
    obvious.load_state_dict(ours.state_dict())
    x_BNC = torch.randn(3, 20, 8, dtype=torch.float64)
    idx_BS = torch.stack([torch.randperm(20)[:7] for _ in range(3)])
    x_ours, x_obvious = x_BNC.clone().requires_grad_(), x_BNC.clone().requires_grad_()
    found, expected = ours(x_ours, idx_BS), obvious(x_obvious, idx_BS)
    torch.testing.assert_close(found, expected)
    slope = torch.randn_like(found)
    (found * slope).sum().backward()
    (expected * slope).sum().backward()
    torch.testing.assert_close(x_ours.grad, x_obvious.grad)
    expected_gradients = dict(obvious.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected_gradients[name].grad, msg=lambda text, name=name: f"{name}: {text}")


def test_a_new_layer_is_the_identity() -> None:
    x_BNC = torch.randn(2, 10, 8)
    assert torch.equal(SharpGentleAttention(8)(x_BNC, torch.arange(5).expand(2, 5)), x_BNC)


def test_weights_at_the_reach_and_at_zero() -> None:
    squares = torch.tensor([0.0, 0.19**2, 0.21**2, -1e-7])
    found = geometry_disentangled._edge_weights(squares)
    torch.testing.assert_close(found, torch.tensor([1.0, math.exp(-(0.19**2) / 4), 0.0, 1.0]))
