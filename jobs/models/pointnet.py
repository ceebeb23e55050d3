"""PointNet's encoder without transforms. B clouds, N points, C channels, D = 1,024 pooled features, E = 320 features
of a point."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm
from .clouds import check_clouds
from .pooling import pool_points


class PointNet(nn.Module):
    """Qi et al. 2017, as CrossPoint pretrains it: five shared layers and a maximum over points; names of the published state dict."""

    feature_dim = 1024
    local_dim = 64 + 64 + 64 + 128

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
        return self._pooled(self._layers(points_BNC)[-1], points_BNC.shape[0])

    def per_point(self, points_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, 3] -> feat_BD [B, 1024] and local_BNE [B, N, 320], the first four layers' outputs."""
        layers = self._layers(points_BNC)
        return self._pooled(layers[-1], points_BNC.shape[0]), torch.cat(layers, 1).view(*points_BNC.shape[:2], -1)

    def _layers(self, points_BNC: Tensor) -> list[Tensor]:
        check_clouds(points_BNC, 3, "PointNet")
        x_MC = points_BNC.flatten(0, 1)
        found: list[Tensor] = []
        layers = ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3), (self.conv4, self.bn4))
        for convolution, norm in layers:  # rows of channels: a product a layer, and BatchNorm's fast layout
            x_MC = F.relu(norm(F.linear(x_MC, convolution.weight[:, :, 0])))
            found.append(x_MC)
        return found

    def _pooled(self, x_MC: Tensor, clouds: int) -> Tensor:
        y_MC = F.linear(x_MC, self.conv5.weight[:, :, 0])
        return pool_points(y_MC.reshape(clouds, len(x_MC) // clouds, -1), self.bn5, 0.0)[0]  # ReLU and maximum
