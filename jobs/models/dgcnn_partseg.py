"""DGCNN's part segmentation encoder. B clouds, N points, K neighbours, D = 1,024 pooled features, E = 192 features of a point."""
from __future__ import annotations

from torch import Tensor, nn

from .batchnorm import BatchNorm
from .clouds import check_clouds
from .dgcnn_semseg import graph_features
from .edgeconv import EdgeConv
from .neighbours import nearest, nearest_features
from .spatial_transform import SpatialTransform


class DGCNNPartSeg(nn.Module):
    """Wang et al. 2019, "Dynamic Graph CNN for Learning on Point Clouds", for part segmentation: a spatial transform, EdgeConvs of two, two
    and one layers, and a shared layer on all three. Names of the published state dict without its head (dgcnn_parts_head.py).
    """

    feature_dim = 1024
    local_dim = 64 + 64 + 64
    published_extras = ("bn7.", "bn8.", "bn9.", "bn10.", "conv7.", "conv8.", "conv9.", "conv10.", "conv11.")  # the part head

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.transform_net = SpatialTransform()
        self.conv1 = EdgeConv(3, 64)
        self.conv2 = nn.Sequential(nn.Conv2d(64, 64, 1, bias=False), BatchNorm(64))
        self.conv3 = EdgeConv(64, 64)
        self.conv4 = nn.Sequential(nn.Conv2d(64, 64, 1, bias=False), BatchNorm(64))
        self.conv5 = EdgeConv(64, 64)
        self.conv6 = nn.Sequential(nn.Conv1d(192, 1024, 1, bias=False), BatchNorm(1024))

    def forward(self, points_BNC: Tensor) -> Tensor:
        """[B, N, 3] -> feat_BD [B, 1024]. Raises ValueError for N < k, for values not finite, and in training when all ranks' batches
        hold one cloud."""
        return self.per_point(points_BNC)[0]

    def per_point(self, points_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, 3] -> feat_BD [B, 1024], the maximum over points, and local_BNE [B, N, 192], the three EdgeConvs' outputs."""
        check_clouds(points_BNC, 3, "DGCNN part segmentation")
        moved_BNC = self.transform_net(points_BNC, nearest(points_BNC, self.k))
        idx_BNK = nearest_features(moved_BNC, self.k)
        return graph_features(moved_BNC, idx_BNK, self.k, (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5), self.conv6)
