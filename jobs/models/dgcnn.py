"""DGCNN's classification encoder. B clouds, N points, C channels, D = 2,048 pooled features."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm
from .edgeconv import SLOPE, EdgeConv
from .neighbours import nearest, nearest_features
from .pooling import pool_points


class DGCNN(nn.Module):
    """Wang et al. 2019, "Dynamic Graph CNN for Learning on Point Clouds", as CrossPoint pretrains it; names of the published state dict."""

    feature_dim = 2048

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.conv1 = EdgeConv(3, 64)
        self.conv2 = EdgeConv(64, 64)
        self.conv3 = EdgeConv(64, 128)
        self.conv4 = EdgeConv(128, 256)
        self.conv5 = nn.Sequential(nn.Conv1d(512, 1024, 1, bias=False), BatchNorm(1024))

    def forward(self, points_BNC: Tensor) -> Tensor:
        """[B, N, 3] -> feat_BD [B, 2048]: maximum over points, then mean. Raises ValueError for N < k and for values not finite."""
        if points_BNC.dim() != 3 or points_BNC.shape[2] != 3:
            raise ValueError(f"DGCNN takes clouds [B, N, 3], not {list(points_BNC.shape)}")
        layers = [self.conv1(points_BNC, nearest(points_BNC, self.k))]
        for layer in (self.conv2, self.conv3, self.conv4):
            layers.append(layer(layers[-1], nearest_features(layers[-1], self.k)))  # neighbours anew in each layer's feature space
        clouds, points = points_BNC.shape[:2]
        convolution, norm = self.conv5[0], self.conv5[1]
        assert isinstance(convolution, nn.Conv1d) and isinstance(norm, BatchNorm)
        y_MC = F.linear(torch.cat(layers, 2).flatten(0, 1), convolution.weight[:, :, 0])
        return torch.cat(pool_points(y_MC.reshape(clouds, points, -1), norm, SLOPE), 1)
