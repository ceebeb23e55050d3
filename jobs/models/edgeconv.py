"""One EdgeConv layer (DGCNN, Wang et al. 2019) without edges.

B clouds, N points, M = B N rows, K neighbours, C channels in, D channels out. The published layer convolves every edge [x_j - x_i ; x_i],
normalises over all edges, applies LeakyReLU and takes the maximum over the K edges of a point. With the convolution W = [P | Q] an edge is
P x_j + (Q - P) x_i: linear in each end. So
- batch mean and variance over edges follow from mean and covariance of the edge vectors [x_j ; x_i] (moments.py), before any product;
- the normalisation's scale folds into P and Q - P (a negative scale turns the maximum round by itself, with no case apart);
- LeakyReLU is monotone: the maximum over edges is that of the folded P x_j (maximum.py), and nothing of size M K D exists.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn

from .batchnorm import ONE_VALUE, BatchNorm
from .maximum import neighbour_maximum
from .moments import edge_moments
from .reduction import ranks

SLOPE = 0.2  # of LeakyReLU where negative, as published


class EdgeConv(nn.Sequential):
    """Convolution `0` of weight [D, 2C, 1, 1], no bias, and BatchNorm `1`: the published names. Computes in the parameters' precision."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(nn.Conv2d(2 * channels, out_channels, 1, bias=False), BatchNorm(out_channels))

    def forward(self, x_BNC: Tensor, idx_BNK: Tensor) -> Tensor:  # type: ignore[override]
        """[B, N, C] and the neighbours of each point, int64 [B, N, K] within its cloud -> [B, N, D]."""
        clouds, points, channels = x_BNC.shape
        first_B11 = torch.arange(0, clouds * points, points, device=x_BNC.device)[:, None, None]
        idx_MK = (idx_BNK + first_B11).reshape(clouds * points, -1)
        return self.rows(x_BNC.reshape(clouds * points, channels), idx_MK, None).reshape(clouds, points, -1)

    def rows(self, rows_MC: Tensor, idx_MK: Tensor, times_M: Tensor | None) -> Tensor:
        """[M, C] and row numbers of each row's neighbours -> [M, D]; row m stands for `times_M[m]` equal points (None: for one)."""
        convolution, norm = self[0], self[1]
        assert isinstance(convolution, nn.Conv2d) and isinstance(norm, BatchNorm)
        channels = rows_MC.shape[1]
        with torch.autocast(rows_MC.device.type, enabled=False):  # moments need full precision; the products here are small
            rows_MC = rows_MC.to(convolution.weight.dtype)
            weight_D2C = convolution.weight[:, :, 0, 0]
            near_DC = weight_D2C[:, :channels]
            own_DC = weight_D2C[:, channels:] - near_DC
            if self.training:
                both_D2C = torch.cat([near_DC, own_DC], 1)
                mean_2C, covariance_2C2C, edges = edge_moments(rows_MC, idx_MK, times_M)
                mean_D = both_D2C @ mean_2C
                var_D = ((both_D2C @ covariance_2C2C) * both_D2C).sum(1).clamp_min(0.0)
                if idx_MK.numel() == 1 and times_M is None and ranks() == 1:
                    raise ValueError(ONE_VALUE)
                norm.track(mean_D, var_D, edges)
            else:
                mean_D, var_D = norm.running_mean, norm.running_var
            scale_D1 = (norm.weight * torch.rsqrt(var_D + norm.eps))[:, None]
            shift_D = norm.bias - mean_D * scale_D1[:, 0]
            near_MD = rows_MC @ (near_DC * scale_D1).t()
            own_MD = torch.addmm(shift_D, rows_MC, (own_DC * scale_D1).t())
            return neighbour_maximum(near_MD, own_MD, idx_MK, SLOPE)
