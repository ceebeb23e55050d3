"""Mean and covariance of the edge vectors [x_j ; x_i] of neighbour graphs, over all ranks, without making the edges.

M rows (points of all clouds), C channels, K neighbours, E = M K edges. With n_i the sum of point i's neighbours and d_j the number of
points that have j as a neighbour, the second moments over edges are three products of rows: sum_j d_j x_j x_j', sum_i n_i x_i' and
K sum_i x_i x_i'. Rows are centred first: raw moments of features far from zero would cancel. Products are taken in float64: where
neighbours lie close, what a convolution makes of x_j - x_i has a variance far below that of its two parts.
"""
from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from .reduction import stack_over_ranks, sum_over_ranks

PIECE_ROWS = 4096  # in float64 at once

try:  # as in maximum.py
    from .triton_launch import can_launch
    from .triton_sums import fused_neighbour_sum, fused_referrer_sum, referrer_counts
except ImportError:
    can_launch = None  # type: ignore[assignment]


def edge_moments(rows_MC: Tensor, idx_MK: Tensor, times_M: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [2C], covariance [2C, 2C] (divided by the number of edges) and number of edges (0-d) over all ranks' edges [x_j ; x_i], float64.

    `idx_MK` holds row numbers of `rows_MC`; the edges of row i count `times_M[i]` times (None: once). Mean and covariance carry gradient to
    the rows of every rank.
    """
    mean_2C, covariance_2C2C, edges = _EdgeMoments.apply(rows_MC, idx_MK, times_M)
    return mean_2C, covariance_2C2C, edges


class _EdgeMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows_MC: Tensor, idx_MK: Tensor, times_M: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        rows, channels = rows_MC.shape
        k = idx_MK.shape[1]
        centre_C = rows_MC.mean(0)
        centred_MC = rows_MC - centre_C
        if can_launch is not None and can_launch(rows_MC):
            neighbours_MC, referred_M = fused_neighbour_sum(centred_MC, idx_MK), referrer_counts(idx_MK)
        else:
            neighbours_MC = F.embedding_bag(idx_MK, centred_MC, mode="sum")
            referred_M = torch.bincount(idx_MK.reshape(-1), minlength=rows)
        if times_M is None:
            points, weighted_MC, degree_M1 = float(rows), centred_MC, referred_M.to(rows_MC.dtype)[:, None]
        else:
            points, weighted_MC, neighbours_MC = float(times_M.sum()), centred_MC * times_M[:, None], neighbours_MC.mul_(times_M[:, None])
            degree_M1 = torch.bincount(idx_MK.reshape(-1), times_M.repeat_interleave(k), rows).to(rows_MC.dtype)[:, None]
        near_2CC, own_CC = (rows_MC.new_zeros(height, channels, dtype=torch.float64) for height in (2 * channels, channels))
        for part in (slice(first, first + PIECE_ROWS) for first in range(0, rows, PIECE_ROWS)):
            exact_PC = centred_MC[part].double()
            near_P2C = torch.cat([exact_PC * degree_M1[part], neighbours_MC[part]], 1)  # float64, as its first half
            near_2CC.addmm_(near_P2C.t(), exact_PC)
            own_CC.addmm_((exact_PC if times_M is None else exact_PC * times_M[part, None]).t(), exact_PC, alpha=k)
        near_CC, cross_CC = near_2CC[:channels], near_2CC[channels:]
        second_2C2C = torch.cat([torch.cat([near_CC, cross_CC], 1), torch.cat([cross_CC.t(), own_CC], 1)])
        # Of the edges' mean from the centre.
        offset_2C = torch.cat([neighbours_MC.sum(0, dtype=torch.float64), weighted_MC.sum(0, dtype=torch.float64) * k]) / (points * k)
        local_2C2C = second_2C2C - points * k * torch.outer(offset_2C, offset_2C)

        # Ranks are combined about their means (Chan et al. 1979), each by its own number of edges.
        count = offset_2C.new_full((1,), points * k)
        stacked_RS = stack_over_ranks(torch.cat([count, offset_2C + centre_C.repeat(2), local_2C2C.reshape(-1)]))
        counts_R, means_R2C = stacked_RS[:, 0], stacked_RS[:, 1 : 1 + 2 * channels]
        edges = counts_R.sum()
        mean_2C = counts_R @ means_R2C / edges
        apart_R2C = means_R2C - mean_2C
        within_2C2C = stacked_RS[:, 1 + 2 * channels :].sum(0).reshape(2 * channels, 2 * channels)
        covariance_2C2C = (within_2C2C + (apart_R2C * counts_R[:, None]).t() @ apart_R2C) / edges

        shifted_2C = (mean_2C - centre_C.repeat(2)).to(rows_MC.dtype)
        saved = centred_MC, weighted_MC, idx_MK, neighbours_MC, degree_M1, referred_M, shifted_2C, edges, times_M
        ctx.save_for_backward(*saved)  # type: ignore[arg-type]  # None may be saved
        ctx.mark_non_differentiable(edges)
        return mean_2C, covariance_2C2C, edges

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            # All ranks agree on this (it is the layer's place in the network), so none waits in the reduction below.
            return None, None, None
        saved = ctx.saved_tensors  # type: ignore[attr-defined]
        centred_MC, weighted_MC, idx_MK, neighbours_MC, degree_M1, referred_M, offset_2C, edges, times_M = saved
        channels, k = centred_MC.shape[1], idx_MK.shape[1]
        both = (sum_over_ranks(torch.cat([grads[0][None], grads[1]])) / edges).to(centred_MC.dtype)
        # The gradient of an edge vector v is G (v - mean) + g, with G symmetric; about the mean, the mean's own part vanishes.
        shift_2C, matrix_2C2C = both[0], both[1:] + both[1:].t()
        shift_2C = shift_2C - matrix_2C2C @ offset_2C
        near_CC, cross_CC, own_CC = matrix_2C2C[:channels, :channels], matrix_2C2C[:channels, channels:], matrix_2C2C[channels:, channels:]
        grad_MC = torch.addmm(shift_2C[:channels], centred_MC, near_CC).mul_(degree_M1)
        grad_MC.addmm_(neighbours_MC, cross_CC)
        own_MC = torch.addmm(shift_2C[channels:], centred_MC, own_CC)
        grad_MC.add_(own_MC if times_M is None else own_MC.mul_(times_M[:, None]), alpha=k)
        grad_MC.addmm_(_sum_over_referrers(weighted_MC, idx_MK, referred_M), cross_CC.t())
        return grad_MC, None, None


def _sum_over_referrers(rows_MC: Tensor, idx_MK: Tensor, referred_M: Tensor) -> Tensor:
    """Of each row j, the sum of rows i over all edges i -> j (`referred_M[j]` of them): a neighbour sum's transpose, over sorted edges."""
    if can_launch is not None and can_launch(rows_MC):
        return fused_referrer_sum(rows_MC, idx_MK)
    k = idx_MK.shape[1]
    referrers_E = torch.argsort(idx_MK.reshape(-1)).div_(k, rounding_mode="floor")
    ends_M = referred_M.cumsum(0)
    starts_M = torch.cat([ends_M.new_zeros(1), ends_M[:-1]])
    return F.embedding_bag(referrers_E, rows_MC, starts_M, mode="sum")
