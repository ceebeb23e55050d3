"""One EdgeConv layer (DGCNN, Wang et al. 2019) without edges.

B clouds, N points, M = B N rows, K neighbours, C channels in, D channels out. The published layer convolves every edge [x_j - x_i ; x_i],
normalises over all edges, applies LeakyReLU and takes the maximum over the K edges of a point. With the convolution W = [P | Q] an edge is
P x_j + (Q - P) x_i: linear in each end, so convolution and normalisation fold into one product a point (folded_edges.py). LeakyReLU is
monotone: the maximum over edges is that of the folded P x_j (maximum.py), and nothing of size M K D exists.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn

from .batchnorm import BatchNorm
from .folded_edges import folded_ends, row_numbers
from .maximum import neighbour_maximum

SLOPE = 0.2  # of LeakyReLU where negative, as published


class EdgeConv(nn.Sequential):
    """Convolution `0` of weight [D, 2C, 1, 1], no bias, and BatchNorm `1`: the published names. Computes in the parameters' precision."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(nn.Conv2d(2 * channels, out_channels, 1, bias=False), BatchNorm(out_channels))

    def forward(self, x_BNC: Tensor, idx_BNK: Tensor) -> Tensor:  # type: ignore[override]
        """[B, N, C] and the neighbours of each point, int64 [B, N, K] within its cloud -> [B, N, D]."""
        return self.rows(x_BNC.flatten(0, 1), row_numbers(idx_BNK), None).view(*x_BNC.shape[:2], -1)

    def rows(self, rows_MC: Tensor, idx_MK: Tensor, times_M: Tensor | None) -> Tensor:
        """[M, C] and row numbers of each row's neighbours -> [M, D]; row m stands for `times_M[m]` equal points (None: for one)."""
        convolution, norm = self[0], self[1]
        assert isinstance(convolution, nn.Conv2d) and isinstance(norm, BatchNorm)
        with torch.autocast(rows_MC.device.type, enabled=False):  # moments need full precision; the products here are small
            near_DC, difference_DC = convolution.weight[:, :, 0, 0].chunk(2, 1)
            rows_MC = rows_MC.to(convolution.weight.dtype)
            near_MD, own_MD = folded_ends(rows_MC, idx_MK, near_DC, difference_DC - near_DC, norm, times_M=times_M)
            return neighbour_maximum(near_MD, own_MD, idx_MK, SLOPE)
