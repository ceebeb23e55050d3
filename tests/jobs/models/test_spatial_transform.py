"""DGCNN's spatial transform against every edge and the matrix written out."""
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jobs.bench.textbook import neighbours
from jobs.models.spatial_transform import SpatialTransform
from tests.jobs.models.edges import assert_equal_gradients
from tests.jobs.models.test_edgeconv_two import random_norms, two_layers_edge_by_edge


class ObviousSpatialTransform(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(6, 64, 1, bias=False), nn.BatchNorm2d(64))
        self.conv2 = nn.Sequential(nn.Conv2d(64, 128, 1, bias=False), nn.BatchNorm2d(128))
        self.conv3 = nn.Sequential(nn.Conv1d(128, 1024, 1, bias=False), nn.BatchNorm1d(1024))
        self.linear1, self.bn3 = nn.Linear(1024, 512, bias=False), nn.BatchNorm1d(512)
        self.linear2, self.bn4 = nn.Linear(512, 256, bias=False), nn.BatchNorm1d(256)
        self.transform = nn.Linear(256, 9)

    def forward(self, points_BNC: Tensor, idx_BNK: Tensor) -> Tensor:
        y_BNF = two_layers_edge_by_edge(points_BNC, idx_BNK, self.conv1, self.conv2)
        y_BD = F.leaky_relu(self.conv3(y_BNF.transpose(1, 2)), 0.2).max(2).values
        y_BD = F.leaky_relu(self.bn3(self.linear1(y_BD)), 0.2)
        y_BD = F.leaky_relu(self.bn4(self.linear2(y_BD)), 0.2)
        return torch.einsum("bnc,bcd->bnd", points_BNC, self.transform(y_BD).reshape(-1, 3, 3))


def random_matrix(transform: SpatialTransform) -> None:
    """Away from the identity, so that gradients reach the layers below."""
    nn.init.normal_(transform.transform.weight, std=0.05)


def test_a_training_step_equals_the_edges_and_the_matrix_written_out() -> None:
    torch.manual_seed(0)
    ours, obvious = SpatialTransform().double(), ObviousSpatialTransform().double()
    random_norms(ours)
    random_matrix(ours)
    obvious.load_state_dict(ours.state_dict())
    points_BNC = torch.randn(4, 20, 3, dtype=torch.float64)
    idx_BNK = neighbours(points_BNC, 5)
    x_ours, x_obvious = points_BNC.clone().requires_grad_(), points_BNC.clone().requires_grad_()
    found, expected = ours(x_ours, idx_BNK), obvious(x_obvious, idx_BNK)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)
    slope = torch.randn_like(found)
    (found * slope).sum().backward()
    (expected * slope).sum().backward()
    torch.testing.assert_close(x_ours.grad, x_obvious.grad, rtol=1e-8, atol=1e-9)
    assert_equal_gradients(ours, obvious, rtol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(points_BNC, idx_BNK), obvious.eval()(points_BNC, idx_BNK), rtol=1e-10, atol=1e-11)


def test_a_new_transform_is_the_identity_to_the_last_bit_also_under_bf16_autocast() -> None:
    points_BNC = torch.randn(2, 10, 3)
    idx_BNK = neighbours(points_BNC, 4)
    assert torch.equal(SpatialTransform()(points_BNC, idx_BNK), points_BNC)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(SpatialTransform()(points_BNC, idx_BNK), points_BNC)


def test_a_transform_away_from_the_identity_moves_points() -> None:
    torch.manual_seed(1)
    transform = SpatialTransform()
    random_matrix(transform)
    points_BNC = torch.randn(2, 10, 3)
    moved_BNC = transform(points_BNC, neighbours(points_BNC, 4))
    assert moved_BNC.dtype == torch.float32 and not torch.allclose(moved_BNC, points_BNC, atol=0.1)
