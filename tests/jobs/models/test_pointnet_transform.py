"""PointNet's transform against the matrix written out."""
from functools import partial

import torch
from torch import Tensor, nn

from jobs.models.pointnet_transform import PointNetTransform


class ObviousTransform(nn.Module):
    """Makes the matrix, the identity added, and multiplies each point by it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv1d(channels, 64, 1), nn.Conv1d(64, 128, 1), nn.Conv1d(128, 1024, 1)
        self.fc1, self.fc2, self.fc3 = nn.Linear(1024, 512), nn.Linear(512, 256), nn.Linear(256, channels**2)
        self.bn1, self.bn2, self.bn3, self.bn4, self.bn5 = (nn.BatchNorm1d(width) for width in (64, 128, 1024, 512, 256))

    def forward(self, x_BNC: Tensor) -> Tensor:
        y_BCN = x_BNC.transpose(1, 2)
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            y_BCN = norm(convolution(y_BCN)).relu()
        y_BC = self.bn5(self.fc2(self.bn4(self.fc1(y_BCN.max(2).values)).relu())).relu()
        channels = x_BNC.shape[2]
        matrix_BCC = self.fc3(y_BC).reshape(-1, channels, channels) + torch.eye(channels, dtype=x_BNC.dtype)
        return torch.einsum("bnc,bcd->bnd", x_BNC, matrix_BCC)


def random_last_layer(transform: PointNetTransform) -> None:
    """Away from the identity, so that gradients reach the layers below."""
    nn.init.normal_(transform.fc3.weight, std=0.05)
    nn.init.normal_(transform.fc3.bias, std=0.05)


def test_a_training_step_equals_the_matrix_written_out() -> None:
    torch.manual_seed(0)
    ours, obvious = PointNetTransform(4).double(), ObviousTransform(4).double()
    random_last_layer(ours)
    obvious.load_state_dict(ours.state_dict())
    x_BNC = torch.randn(3, 20, 4, dtype=torch.float64)
    x_ours, x_obvious = x_BNC.clone().requires_grad_(), x_BNC.clone().requires_grad_()
    found, expected = ours(x_ours), obvious(x_obvious)
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


def test_a_new_transform_is_the_identity_to_the_last_bit() -> None:
    x_BNC = torch.randn(2, 10, 8)
    assert torch.equal(PointNetTransform(8)(x_BNC), x_BNC)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(PointNetTransform(8)(x_BNC), x_BNC)
