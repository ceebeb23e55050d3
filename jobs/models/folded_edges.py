"""The first layer of an EdgeConv, folded into the two ends of an edge: no edge is made.

B clouds, N points, M rows (points of all clouds), K neighbours, C channels in, H channels out. A convolution that is linear in x_j and x_i
gives edge (i, j) the value P x_j + Q x_i. Its mean and variance over edges follow from those of the edge vectors [x_j ; x_i]
(moments.py) before any product, and the normalisation's scale folds into P and Q; a negative scale turns a later maximum round by itself.
"""
from __future__ import annotations

import torch
from torch import Tensor

from .batchnorm import ONE_VALUE, BatchNorm
from .moments import edge_moments
from .reduction import ranks


def row_numbers(idx_BNK: Tensor) -> Tensor:
    """Neighbours within each cloud -> idx_MK, row numbers over all clouds."""
    clouds, points, k = idx_BNK.shape
    first_B11 = torch.arange(0, clouds * points, points, device=idx_BNK.device)[:, None, None]
    return (idx_BNK + first_B11).reshape(clouds * points, k)


def folded_ends(
    rows_MC: Tensor,
    idx_MK: Tensor,
    near_HC: Tensor,
    own_HC: Tensor,
    norm: BatchNorm,
    bias_H: Tensor | None = None,
    times_M: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """near_MH and own_MH: edge (i, j), `near_HC` x_j + `own_HC` x_i + bias, normalised over all edges, is near_j + own_i.

    In training the statistics are those of all ranks' edges, those of row i counted `times_M[i]` times (None: once), and the running ones
    move; a bias then cancels and gets a gradient of exactly zero. Raises ValueError for rows of another width than the convolution takes,
    and in training when all ranks hold one edge.
    """
    if rows_MC.shape[1] != near_HC.shape[1]:
        raise ValueError(f"this EdgeConv takes points of {near_HC.shape[1]} channels, not of {rows_MC.shape[1]}")
    if norm.training:
        if idx_MK.numel() == 1 and times_M is None and ranks() == 1:
            raise ValueError(ONE_VALUE)
        both_H2C = torch.cat([near_HC, own_HC], 1).double()  # as the moments: parts of a variance cancel
        mean_2C, covariance_2C2C, edges = edge_moments(rows_MC, idx_MK, times_M)
        mean_H = (both_H2C @ mean_2C).to(rows_MC.dtype)
        if bias_H is not None:
            mean_H = mean_H + bias_H
        var_H = ((both_H2C @ covariance_2C2C) * both_H2C).sum(1).clamp_min(0.0).to(rows_MC.dtype)
        norm.track(mean_H, var_H, edges)
    else:
        mean_H, var_H = norm.running_mean, norm.running_var
    scale_H = norm.weight * torch.rsqrt(var_H + norm.eps)
    shift_H = norm.bias - (mean_H if bias_H is None else mean_H - bias_H) * scale_H
    near_MH = rows_MC @ (near_HC * scale_H[:, None]).t()
    return near_MH, torch.addmm(shift_H, rows_MC, (own_HC * scale_H[:, None]).t())
