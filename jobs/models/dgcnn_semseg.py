"""DGCNN's semantic segmentation encoder. B clouds, N points, C channels (3 or 9), K neighbours, D = 1,024 pooled features, E = 192 features
of a point, F features of an EdgeConv, M = B N rows."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm
from .clouds import check_clouds
from .edgeconv import SLOPE, EdgeConv
from .edgeconv_two import two_edge_layers
from .neighbours import nearest_features
from .pooling import pool_points


class DGCNNSemSeg(nn.Module):
    """Wang et al. 2019, "Dynamic Graph CNN for Learning on Point Clouds", for semantic segmentation: EdgeConvs of two, two and one layers
    and a shared layer on all three. Names of the published state dict.

    Its pretraining is published on 3 channels. With 9 (place in the block, colour, place in the room: S3DIS, Armeni et al. 2016) the first
    layer's neighbours are those nearest in the room, channels 6 to 8, as Wang et al. take them; its edges hold all nine.
    """

    feature_dim = 1024
    local_dim = 64 + 64 + 64
    published_extras = ("bn7.", "bn8.")  # of its scene head

    def __init__(self, k: int, channels: int = 3) -> None:
        super().__init__()
        if channels not in (3, 9):
            raise ValueError(f"DGCNN semantic segmentation takes 3 channels (coordinates) or 9 (as S3DIS blocks have), not {channels}")
        self.k, self.channels = k, channels
        self.conv1 = EdgeConv(channels, 64)
        self.conv2 = nn.Sequential(nn.Conv2d(64, 64, 1, bias=False), BatchNorm(64))
        self.conv3 = EdgeConv(64, 64)
        self.conv4 = nn.Sequential(nn.Conv2d(64, 64, 1, bias=False), BatchNorm(64))
        self.conv5 = EdgeConv(64, 64)
        self.conv6 = nn.Sequential(nn.Conv1d(192, 1024, 1, bias=False), BatchNorm(1024))

    def forward(self, points_BNC: Tensor) -> Tensor:
        """[B, N, channels] -> feat_BD [B, 1024]. Raises ValueError for N < k and for values not finite."""
        return self.per_point(points_BNC)[0]

    def per_point(self, points_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, channels] -> feat_BD [B, 1024], the maximum over points, and local_BNE [B, N, 192], the three EdgeConvs' outputs."""
        check_clouds(points_BNC, self.channels, "DGCNN semantic segmentation")
        idx_BNK = nearest_features(points_BNC[:, :, -3:], self.k)
        return graph_features(points_BNC, idx_BNK, self.k, (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5), self.conv6)


def graph_features(x_BNC: Tensor, idx_BNK: Tensor, k: int, layers: Sequence[nn.Sequential], last: nn.Sequential) -> tuple[Tensor, Tensor]:
    """[B, N, C] and its neighbours, int64 [B, N, K] -> feat_BD [B, 1024] and local_BNE [B, N, 192].

    EdgeConvs of layers 1 and 2, of 3 and 4 and of 5, the later two on neighbours in the features before; `last` on all three; the maximum.
    """
    one_BNF = two_edge_layers(x_BNC, idx_BNK, layers[0], layers[1])
    two_BNF = two_edge_layers(one_BNF, nearest_features(one_BNF, k), layers[2], layers[3])
    three_BNF = layers[4](two_BNF, nearest_features(two_BNF, k))
    local_BNE = torch.cat([one_BNF, two_BNF, three_BNF], 2)
    convolution, norm = last[0], last[1]
    assert isinstance(convolution, nn.Conv1d) and isinstance(norm, BatchNorm)
    y_MD = F.linear(local_BNE.flatten(0, 1), convolution.weight[:, :, 0])
    return pool_points(y_MD.view(*x_BNC.shape[:2], -1), norm, SLOPE)[0], local_BNE


def widen_to_nine_channels(state: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """A 3-channel state dict with its first convolution [64, 6, 1, 1] made [64, 18, 1, 1], for `DGCNNSemSeg(k, channels=9)`.

    The given columns stand where channels 0 to 2, the place in the block, enter: 0 to 2 of [x_j - x_i] and 9 to 11 of [x_i]. The twelve
    other columns are UNTRAINED: drawn from `generator` (of the CPU) as a new nn.Conv2d draws them, uniform within 1 / sqrt(18), so that
    colour and place in the room enter as noise until they are trained, and the first layer's running statistics, which are returned as
    they are with everything else, are not those of the widened layer. Raises ValueError for a convolution of another shape.
    """
    name = "conv1.0.weight"
    if name not in state or state[name].shape[1:] != (6, 1, 1):
        found = list(state[name].shape) if name in state else "missing"
        raise ValueError(f"{name} of a 3-channel DGCNN is [64, 6, 1, 1], not {found}: there is nothing to widen")
    given = state[name]
    drawn = (torch.rand(len(given), 18, 1, 1, generator=generator) * 2 - 1) * 18**-0.5
    wide = drawn.to(given)
    wide[:, 0:3], wide[:, 9:12] = given[:, :3], given[:, 3:]
    return {**state, name: wide}
