"""DGCNN's spatial transform. B clouds, N points, K neighbours, C = 3 coordinates, D = 1,024 pooled features."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm
from .edgeconv import SLOPE, EdgeConv
from .edgeconv_two import two_edge_layers
from .pooling import pool_points


class SpatialTransform(nn.Module):
    """Multiplies every point by a 3 x 3 matrix read off the whole cloud's edges (Wang et al. 2019); names of the published state dict.

    As published the matrix starts at the identity: the last layer starts with weights of zero and the identity as its bias.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = EdgeConv(3, 64)
        self.conv2 = nn.Sequential(nn.Conv2d(64, 128, 1, bias=False), BatchNorm(128))
        self.conv3 = nn.Sequential(nn.Conv1d(128, 1024, 1, bias=False), BatchNorm(1024))
        self.linear1 = nn.Linear(1024, 512, bias=False)
        self.bn3 = BatchNorm(512)
        self.linear2 = nn.Linear(512, 256, bias=False)
        self.bn4 = BatchNorm(256)
        self.transform = nn.Linear(256, 9)
        nn.init.zeros_(self.transform.weight)
        nn.init.eye_(self.transform.bias.view(3, 3))

    def forward(self, points_BNC: Tensor, idx_BNK: Tensor) -> Tensor:
        """[B, N, 3] and each point's neighbours, int64 [B, N, K] within its cloud -> [B, N, 3] in the parameters' precision.

        Raises ValueError in training when all ranks' batches hold one cloud.
        """
        clouds, points = points_BNC.shape[:2]
        y_BNF = two_edge_layers(points_BNC, idx_BNK, self.conv1, self.conv2)
        convolution, norm = self.conv3[0], self.conv3[1]
        assert isinstance(convolution, nn.Conv1d) and isinstance(norm, BatchNorm)
        y_MD = F.linear(y_BNF.flatten(0, 1), convolution.weight[:, :, 0])
        y_BD = pool_points(y_MD.view(clouds, points, -1), norm, SLOPE)[0]
        y_BD = F.leaky_relu(self.bn3(self.linear1(y_BD)), SLOPE)
        y_BD = F.leaky_relu(self.bn4(self.linear2(y_BD)), SLOPE)
        with torch.autocast(points_BNC.device.type, enabled=False):  # neighbours are sought among what comes out
            matrix_BCC = self.transform(y_BD.to(self.transform.weight.dtype)).view(clouds, 3, 3)
            return points_BNC.to(matrix_BCC.dtype) @ matrix_BCC
