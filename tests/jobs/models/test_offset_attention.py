"""Offset attention against the published formula with its whole matrices."""
from functools import partial

import torch
from torch import Tensor, nn

from jobs.models.offset_attention import OffsetAttention, PointTransformer


class ObviousLayer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.k_conv = nn.Conv1d(channels, channels // 4, 1, bias=False)
        self.v_conv, self.trans_conv = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, channels, 1)
        self.after_norm = nn.BatchNorm1d(channels)

    def forward(self, x_BCN: Tensor) -> Tensor:
        query_BEN, key_BEN = self.k_conv(x_BCN), self.k_conv(x_BCN)
        weights_BNN = torch.einsum("bem,ben->bmn", query_BEN, key_BEN).softmax(2)
        weights_BNN = weights_BNN / (1e-9 + weights_BNN.sum(1, keepdim=True))
        attended_BCN = torch.einsum("bcm,bmn->bcn", self.v_conv(x_BCN), weights_BNN)
        return x_BCN + self.after_norm(self.trans_conv(x_BCN - attended_BCN)).relu()


class ObviousTransformer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv1d(channels, channels, 1, bias=False) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)
        self.sa1, self.sa2, self.sa3, self.sa4 = (ObviousLayer(channels) for _ in range(4))

    def forward(self, x_BNC: Tensor) -> Tensor:
        x_BCN = self.bn1(self.conv1(x_BNC.transpose(1, 2))).relu()
        one = self.sa1(self.bn2(self.conv2(x_BCN)).relu())
        two = self.sa2(one)
        three = self.sa3(two)
        return torch.cat([one, two, three, self.sa4(three)], 1).transpose(1, 2)


def test_values_gradients_and_running_statistics_equal_the_published_formula() -> None:
    torch.manual_seed(0)
    ours, obvious = PointTransformer(16).double(), ObviousTransformer(16).double()
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "bn" in name or "norm" in name:
                parameter.normal_()
    obvious.load_state_dict(ours.state_dict())
    x_BNC = torch.randn(3, 20, 16, dtype=torch.float64)
    x_ours, x_obvious = x_BNC.clone().requires_grad_(), x_BNC.clone().requires_grad_()
    found, expected = ours(x_ours), obvious(x_obvious)
    assert found.shape == (3, 20, 64)
    torch.testing.assert_close(found, expected)
    slope = torch.randn_like(found)
    (found * slope).sum().backward()
    (expected * slope).sum().backward()
    torch.testing.assert_close(x_ours.grad, x_obvious.grad, rtol=1e-7, atol=1e-9)
    gradients, statistics = dict(obvious.named_parameters()), obvious.state_dict()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-7, atol=1e-9, msg=partial("{}: {}".format, name))
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, statistics[name], msg=partial("{}: {}".format, name))


def test_points_that_no_key_looks_at_stay_finite() -> None:
    layer = OffsetAttention(8).eval()
    with torch.no_grad():
        layer.k_conv.weight.fill_(10.0)
        x_BNC = torch.rand(1, 6, 8)
        x_BNC[0, 2] = 0.0  # its column of the softmax underflows
        found = layer(x_BNC)
    assert found.isfinite().all()


def test_energies_keep_float32_under_bf16_autocast() -> None:
    torch.manual_seed(1)
    layer = OffsetAttention(8).eval()
    with torch.no_grad():
        layer.k_conv.weight.mul_(8)  # energies of about a hundred: rounded to eight bits they would change weights by e^0.5
        x_BNC = torch.randn(2, 30, 8).bfloat16().float()
        exact = layer(x_BNC)
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(x_BNC.bfloat16())
    torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0.05)
