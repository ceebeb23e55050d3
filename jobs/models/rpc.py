"""RPC: a point-cloud transformer on geometry-disentangled features, AdaCrossNet's default encoder.

B clouds, N points, M = B N rows, K neighbours, C channels, D = 2,048 pooled features. Of the local operator: H hidden channels (64), F its
output channels (128).
"""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm
from .clouds import check_clouds
from .edgeconv_two import second_edge_layer
from .folded_edges import folded_ends, row_numbers
from .geometry_disentangled import CHOSEN, SharpGentleAttention, sharp_and_gentle
from .neighbours import nearest
from .offset_attention import PointTransformer
from .pooling import pool_points


class RPC(nn.Module):
    """Ren et al. 2022, "Benchmarking and Analyzing Point Cloud Classification under Corruptions", as AdaCrossNet pretrains it.

    Names of the published state dict without its second names of one tensor (`bn1`, `bn11`, `pt_last.sa?.q_conv`) and without the layers
    that its forward pass leaves out.
    """

    feature_dim = 2048
    published_extras = ("bn12.", "bn_feat.")

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.conv1 = nn.Sequential(nn.Conv2d(6, 64, 1), BatchNorm(64))
        self.conv11 = nn.Sequential(nn.Conv2d(64, 128, 1), BatchNorm(128))
        self.SGCAM_1s = SharpGentleAttention(128)
        self.SGCAM_1g = SharpGentleAttention(128)
        self.pt_last = PointTransformer(256)
        self.conv_fuse = nn.Sequential(nn.Conv1d(1280, 1024, 1, bias=False), BatchNorm(1024))

    def forward(self, points_BNC: Tensor) -> Tensor:
        """[B, N, 3] -> feat_BD [B, 2048]: maximum over points, then mean. Raises ValueError for N < k, N < 256 and values not finite."""
        check_clouds(points_BNC, 3, "RPC")
        clouds, points = points_BNC.shape[:2]
        if points < CHOSEN:
            raise ValueError(f"RPC groups {CHOSEN} sharp and {CHOSEN} gentle points: clouds of {points} points are too small, sample more")
        x_BNC = local_operator(points_BNC, nearest(points_BNC, self.k), self.conv1, self.conv11)
        sharp_BS, gentle_BS = sharp_and_gentle(x_BNC)
        local_BNC = torch.cat([self.SGCAM_1s(x_BNC, sharp_BS), self.SGCAM_1g(x_BNC, gentle_BS)], 2)
        fuse, norm = self.conv_fuse[0], self.conv_fuse[1]
        assert isinstance(fuse, nn.Conv1d) and isinstance(norm, BatchNorm)
        y_MC = F.linear(torch.cat([self.pt_last(local_BNC), local_BNC], 2).flatten(0, 1), fuse.weight[:, :, 0])
        return torch.cat(pool_points(y_MC.view(clouds, points, -1), norm, 0.2), 1)


def local_operator(x_BNC: Tensor, idx_BNK: Tensor, first: nn.Sequential, second: nn.Sequential) -> Tensor:
    """Maximum over neighbours of two layers (convolution, BatchNorm, ReLU) of every edge [x_j - x_i ; x_j] -> [B, N, F].

    The first layer is linear in each end and folds into one product a point (folded_edges.py). Behind its ReLU every edge differs: the
    second layer passes over them in pieces, once each way, and keeps none.
    In training the biases cancel in the batch statistics: they move running means and get a gradient of exactly zero. Computes in the
    parameters' precision.
    """
    convolution, norm, last, last_norm = first[0], first[1], second[0], second[1]
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, BatchNorm) and convolution.bias is not None
    assert isinstance(last, nn.Conv2d) and isinstance(last_norm, BatchNorm) and last.bias is not None
    with torch.autocast(x_BNC.device.type, enabled=False):
        difference_HC, near_HC = convolution.weight[:, :, 0, 0].chunk(2, 1)
        rows_MC, idx_MK = x_BNC.flatten(0, 1).to(near_HC.dtype), row_numbers(idx_BNK)
        near_MH, own_MH = folded_ends(rows_MC, idx_MK, near_HC + difference_HC, -difference_HC, norm, convolution.bias)
        out_MF = second_edge_layer(near_MH, own_MH, idx_MK, last.weight[:, :, 0, 0], last_norm, last.bias, slope=0.0)
    return out_MF.view(*x_BNC.shape[:2], -1)
