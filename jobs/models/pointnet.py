"""PointNet's encoder without transforms. B clouds, N points, C channels, D = 1,024 pooled features."""
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm
from .clouds import check_clouds
from .pooling import pool_points


class PointNet(nn.Module):
    """Qi et al. 2017, as CrossPoint pretrains it: five shared layers and a maximum over points; names of the published state dict."""

    feature_dim = 1024

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(3, 64, 1, bias=False)
        self.conv2 = nn.Conv1d(64, 64, 1, bias=False)
        self.conv3 = nn.Conv1d(64, 64, 1, bias=False)
        self.conv4 = nn.Conv1d(64, 128, 1, bias=False)
        self.conv5 = nn.Conv1d(128, 1024, 1, bias=False)
        self.bn1 = BatchNorm(64)
        self.bn2 = BatchNorm(64)
        self.bn3 = BatchNorm(64)
        self.bn4 = BatchNorm(128)
        self.bn5 = BatchNorm(1024)

    def forward(self, points_BNC: Tensor) -> Tensor:
        """[B, N, 3] -> feat_BD [B, 1024]."""
        check_clouds(points_BNC, 3, "PointNet")
        clouds, points = points_BNC.shape[:2]
        x_MC = points_BNC.flatten(0, 1)
        layers = ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3), (self.conv4, self.bn4))
        for convolution, norm in layers:  # rows of channels: a product a layer, and BatchNorm's fast layout
            x_MC = F.relu(norm(F.linear(x_MC, convolution.weight[:, :, 0])))
        y_MC = F.linear(x_MC, self.conv5.weight[:, :, 0])
        return pool_points(y_MC.reshape(clouds, points, -1), self.bn5, 0.0)[0]  # ReLU and maximum
