"""DGCNN's classification encoder. B clouds, N points, C channels, M rows (points, copies aside), D = 2,048 pooled features,
E = 512 features of a point."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from .batchnorm import BatchNorm
from .clouds import check_clouds
from .copies import Layout, without_copies
from .edgeconv import SLOPE, EdgeConv
from .neighbours import nearest_rows
from .pooling import pool_product

PIECE_POINTS = 2048  # answered at once on a CPU where nothing is kept for a backward pass: their layers stay in a core's cache


class DGCNN(nn.Module):
    """Wang et al. 2019, "Dynamic Graph CNN for Learning on Point Clouds", as CrossPoint pretrains it; names of the published state dict."""

    feature_dim = 2048
    local_dim = 64 + 64 + 128 + 256

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.conv1 = EdgeConv(3, 64)
        self.conv2 = EdgeConv(64, 64)
        self.conv3 = EdgeConv(64, 128)
        self.conv4 = EdgeConv(128, 256)
        self.conv5 = nn.Sequential(nn.Conv1d(512, 1024, 1, bias=False), BatchNorm(1024))

    def forward(self, points_BNC: Tensor) -> Tensor:
        """[B, N, 3] -> feat_BD [B, 2048]: maximum over points, then mean. Raises ValueError for N < k and as check_clouds does."""
        check_clouds(points_BNC, 3, "DGCNN")
        if self.training or torch.is_grad_enabled() or points_BNC.is_cuda:
            return self._features(points_BNC)
        some = max(1, PIECE_POINTS // points_BNC.shape[1])  # clouds do not depend on each other here
        return torch.cat([self._features(clouds_PNC) for clouds_PNC in points_BNC.split(some)])

    def _features(self, points_BNC: Tensor) -> Tensor:
        x_MC, layout = without_copies(points_BNC)
        return self._pooled(self._layers(x_MC, layout), layout)

    def per_point(self, points_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, 3] -> feat_BD [B, 2048] and local_BNE [B, N, 512], the four EdgeConvs' outputs."""
        check_clouds(points_BNC, 3, "DGCNN")
        clouds, points = points_BNC.shape[:2]
        layout = Layout((points,) * clouds, (0,) * clouds)
        local_ME = self._layers(points_BNC.reshape(clouds * points, -1), layout)
        return self._pooled(local_ME, layout), local_ME.view(clouds, points, -1)

    def _layers(self, x_MC: Tensor, layout: Layout) -> Tensor:
        times_M = layout.times(self.conv1.get_parameter("0.weight"))
        layers: list[Tensor] = []
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x_MC = layer.rows(x_MC, nearest_rows(x_MC, layout, self.k), times_M)  # neighbours anew in each layer's feature space
            layers.append(x_MC)
        return torch.cat(layers, 1)

    def _pooled(self, local_ME: Tensor, layout: Layout) -> Tensor:
        convolution, norm = self.conv5[0], self.conv5[1]
        assert isinstance(convolution, nn.Conv1d) and isinstance(norm, BatchNorm)
        return torch.cat(pool_product(local_ME, convolution.weight[:, :, 0], layout, norm, SLOPE), 1)
