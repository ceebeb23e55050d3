"""PointNet's part segmentation encoder. B clouds, N points, C channels, D = 2,048 pooled features, E = 2,880 features of a point."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm
from .clouds import check_clouds
from .pointnet_transform import PointNetTransform
from .pooling import pool_points


class PointNetPartSeg(nn.Module):
    """Qi et al. 2017: five shared layers with a transform of coordinates (`stn`) and one of features (`fstn`), and a maximum over points.

    Names of the published state dict without its head (pointnet_parts_head.py). The last layer has no ReLU, as published.
    """

    feature_dim = 2048
    local_dim = 64 + 128 + 128 + 512 + 2048
    published_extras = ("convs1.", "convs2.", "convs3.", "convs4.", "bns1.", "bns2.", "bns3.")  # the part head

    def __init__(self) -> None:
        super().__init__()
        self.stn = PointNetTransform(3)
        self.conv1 = nn.Conv1d(3, 64, 1, bias=False)
        self.conv2 = nn.Conv1d(64, 128, 1, bias=False)
        self.conv3 = nn.Conv1d(128, 128, 1, bias=False)
        self.conv4 = nn.Conv1d(128, 512, 1, bias=False)
        self.conv5 = nn.Conv1d(512, 2048, 1, bias=False)
        self.bn1 = BatchNorm(64)
        self.bn2 = BatchNorm(128)
        self.bn3 = BatchNorm(128)
        self.bn4 = BatchNorm(512)
        self.bn5 = BatchNorm(2048)
        self.fstn = PointNetTransform(128)

    def forward(self, points_BNC: Tensor) -> Tensor:
        """[B, N, 3] -> feat_BD [B, 2048]. Raises ValueError in training when all ranks' batches hold one cloud."""
        y_MD = F.linear(self._layers(points_BNC)[-1], self.conv5.weight[:, :, 0])
        return pool_points(y_MD.view(*points_BNC.shape[:2], -1), self.bn5, 1.0)[0]  # slope 1: the maximum of the values as they are

    def per_point(self, points_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, 3] -> feat_BD [B, 2048], local_BNE [B, N, 2880]: the outputs of all five layers, the first's first."""
        layers = self._layers(points_BNC)
        layers.append(self.bn5(F.linear(layers[-1], self.conv5.weight[:, :, 0])))
        local_BNE = torch.cat(layers, 1).view(*points_BNC.shape[:2], -1)
        return local_BNE[:, :, -self.feature_dim :].amax(1).to(self.bn5.weight.dtype), local_BNE

    def _layers(self, points_BNC: Tensor) -> list[Tensor]:
        """Rows of the first four layers' outputs, those of the third as they are before the transform of features."""
        check_clouds(points_BNC, 3, "PointNet part segmentation")
        layers = [self.stn(points_BNC).flatten(0, 1)]
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            layers.append(F.relu(norm(F.linear(layers[-1], convolution.weight[:, :, 0]))))
        moved_MC = self.fstn(layers[-1].view(*points_BNC.shape[:2], -1)).flatten(0, 1)
        layers.append(F.relu(self.bn4(F.linear(moved_MC, self.conv4.weight[:, :, 0]))))
        return layers[1:]
