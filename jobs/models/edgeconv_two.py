"""EdgeConv of two layers (DGCNN's segmentation networks, Wang et al. 2019), never holding more than a piece of the edges.

B clouds, N points, M = B N rows, K neighbours, C channels in, H hidden channels, F channels out, E edges, P rows of a piece, S pieces. The
published layer takes every edge [x_j - x_i ; x_i] through two convolutions, each with BatchNorm over all edges and LeakyReLU, then the
maximum over the K edges of a point. The first is linear in each end and folds (folded_edges.py): an edge's hidden value is
LeakyReLU(near_j + own_i). Behind that every edge differs, but
- batch mean and variance of W h take one pass, each piece about its own mean (Chan et al. 1979);
- normalisation and LeakyReLU are monotone, so the same pass finds each maximum from W h and the sign of the normalisation's scale;
- the gradient of an edge's W h is affine in W h, but for the one edge that holds the maximum: the way back makes each piece anew.
"""
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from .batchnorm import BatchNorm, combine_moments
from .edgeconv import SLOPE
from .folded_edges import folded_ends, row_numbers
from .maximum import piece_rows
from .reduction import sum_over_ranks


def two_edge_layers(x_BNC: Tensor, idx_BNK: Tensor, first: nn.Sequential, second: nn.Sequential) -> Tensor:
    """[B, N, C] and the neighbours of each point, int64 [B, N, K] within its cloud -> [B, N, F], in the parameters' precision.

    Each layer is a convolution `0` without bias, of weight [H, 2C, 1, 1] and [F, H, 1, 1], and BatchNorm `1`. The gradient of a maximum
    goes to one edge; among equals, to the first of the point's. Raises ValueError in training when all ranks hold one edge.
    """
    first_convolution, first_norm, convolution, norm = first[0], first[1], second[0], second[1]
    assert isinstance(first_convolution, nn.Conv2d) and isinstance(first_norm, BatchNorm)
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, BatchNorm)
    with torch.autocast(x_BNC.device.type, enabled=False):
        near_HC, difference_HC = first_convolution.weight[:, :, 0, 0].chunk(2, 1)
        rows_MC, idx_MK = x_BNC.flatten(0, 1).to(near_HC.dtype), row_numbers(idx_BNK)
        ends = folded_ends(rows_MC, idx_MK, near_HC, difference_HC - near_HC, first_norm)
        out_MF = second_edge_layer(*ends, idx_MK, convolution.weight[:, :, 0, 0], norm, None, SLOPE)
    return out_MF.view(*x_BNC.shape[:2], -1)


def second_edge_layer(
    near_MH: Tensor, own_MH: Tensor, idx_MK: Tensor, weight_FH: Tensor, norm: BatchNorm, bias_F: Tensor | None, slope: float
) -> Tensor:
    """Maximum over k of LeakyReLU(norm(weight h + bias)), h = LeakyReLU(near[idx[m, k]] + own[m]) -> [M, F]; `slope` 0 makes it a ReLU.

    In training the statistics are those of all ranks' edges and the running ones move.
    """
    shift_F: Tensor = norm.bias
    fixed = None if norm.training else (norm.running_mean, norm.running_var)
    if bias_F is not None:
        # Under batch statistics a bias cancels. It takes part all the same, with a gradient of zero: data-parallel training asks for one.
        shift_F = shift_F + (bias_F - bias_F if fixed is None else bias_F * norm.weight * torch.rsqrt(norm.running_var + norm.eps))
    inputs = near_MH, own_MH, idx_MK, weight_FH, norm.weight, shift_F
    with_places = torch.is_grad_enabled() and any(value.requires_grad for value in inputs)
    out_MF: Tensor
    out_MF, mean_F, var_F, edges = _SecondEdgeLayer.apply(*inputs, fixed, norm.eps, slope, with_places)
    if norm.training:
        norm.track(mean_F if bias_F is None else mean_F + bias_F, var_F, edges)
    return out_MF


def _edge_pieces(
    near_MH: Tensor, own_MH: Tensor, idx_MK: Tensor, slope: float, *widths: int
) -> Iterator[tuple[slice, Tensor, Tensor, list[Tensor]]]:
    """Rows, their neighbours' numbers idx_E, hidden_EH and room for [E, width] of each width, piece by piece; pieces share their memory."""
    rows, hidden = own_MH.shape
    k = idx_MK.shape[1]
    step = piece_rows(k * max(hidden, *widths) * near_MH.element_size(), rows, near_MH.is_cuda)
    buffers = [near_MH.new_empty(step * k, width) for width in (hidden, *widths)]  # reused: fresh pages cost more than a pass
    for start in range(0, rows, step):
        span = slice(start, min(start + step, rows))
        idx_E = idx_MK[span].reshape(-1)
        hidden_EH, *rooms = (buffer[: len(idx_E)] for buffer in buffers)
        torch.index_select(near_MH, 0, idx_E, out=hidden_EH)
        hidden_EH.view(-1, k, hidden).add_(own_MH[span, None])
        yield span, idx_E, F.leaky_relu_(hidden_EH, slope), rooms


class _SecondEdgeLayer(torch.autograd.Function):
    """(near, own, idx, weight, norm's weight and bias, fixed statistics or None, eps, slope, whether places are needed) -> (out_MF, mean_F,
    var_F, count): product, norm, LeakyReLU and maximum. Statistics that are not fixed are those of all ranks' edges."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        near_MH: Tensor,
        own_MH: Tensor,
        idx_MK: Tensor,
        weight_FH: Tensor,
        gamma_F: Tensor,
        beta_F: Tensor,
        fixed: tuple[Tensor, Tensor] | None,
        eps: float,
        slope: float,
        with_places: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows, k, channels = *idx_MK.shape, len(weight_FH)
        sign_F = torch.where(gamma_F < 0, -1.0, 1.0).to(gamma_F.dtype)  # a negative scale turns the maximum round
        turned_HF = (weight_FH * sign_F[:, None]).t().contiguous()
        best_MF = own_MH.new_empty(rows, channels)
        place_MF = torch.empty(rows if with_places else 0, channels, dtype=torch.int32, device=own_MH.device)
        left_K1 = torch.arange(k, 0, -1, device=own_MH.device)[:, None].to(best_MF.dtype)
        counts, means, squares_F = [], [], torch.zeros_like(beta_F)
        for span, idx_E, hidden_EH, (y_EF, room_EF) in _edge_pieces(near_MH, own_MH, idx_MK, slope, channels, channels):
            centre_F = torch.zeros_like(beta_F)
            if fixed is None:
                centre_F = (hidden_EH.view(-1, k, hidden_EH.shape[1]).sum(1).sum(0) / len(idx_E)) @ turned_HF
                counts.append(len(idx_E))
                means.append(centre_F)
            y_PKF = torch.addmm(-centre_F, hidden_EH, turned_HF, out=y_EF).view(-1, k, channels)
            if fixed is None:
                squares_F += torch.mul(y_PKF, y_PKF, out=room_EF.view_as(y_PKF)).sum(1).sum(0)
            most_PF = torch.where(gamma_F == 0, y_PKF[:, 0], y_PKF.amax(1))  # a scale of zero makes all edges equal: the first holds it
            torch.add(most_PF, centre_F, out=best_MF[span])
            if with_places:
                # The first of the places that hold it has most places left. In float arithmetic, which is the fastest; NaN equals nothing.
                place_MF[span] = (k - y_PKF.eq_(most_PF[:, None]).mul_(left_K1).amax(1)).clamp_max_(k - 1)
        if fixed is None:
            counts_S, means_SF = own_MH.new_tensor(counts), torch.stack(means)
            edges = counts_S.sum()
            local_F = counts_S @ means_SF / edges
            squares_F += counts_S @ (means_SF - local_F).square_()
            edges, mean_F, var_F = combine_moments(edges, local_F * sign_F, squares_F)
        else:
            edges, mean_F, var_F = own_MH.new_tensor(float(rows * k)), *fixed
        inverse_F = torch.rsqrt(var_F + eps)
        unit_MF = best_MF.mul_(sign_F).sub_(mean_F).mul_(inverse_F)
        if with_places:
            ctx.save_for_backward(near_MH, own_MH, idx_MK, weight_FH, gamma_F, beta_F, unit_MF, place_MF, mean_F, inverse_F, edges)
            ctx.fixed, ctx.slope = fixed is not None, slope  # type: ignore[attr-defined]
        mean_F, var_F = mean_F.clone(), var_F.clone()
        ctx.mark_non_differentiable(mean_F, var_F, edges)
        return F.leaky_relu_(torch.addcmul(beta_F, unit_MF, gamma_F), slope), mean_F, var_F, edges

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # type: ignore[attr-defined]
        near_MH, own_MH, idx_MK, weight_FH, gamma_F, beta_F, unit_MF, place_MF, mean_F, inverse_F, edges = saved
        channels, hidden = weight_FH.shape
        k, slope = idx_MK.shape[1], ctx.slope  # type: ignore[attr-defined]
        leaky_relu_backward = torch.ops.aten.leaky_relu_backward
        at_best_MF = leaky_relu_backward(grads[0], torch.addcmul(beta_F, unit_MF, gamma_F), slope, False)
        beta_grad_F, gamma_grad_F = at_best_MF.sum(0), (at_best_MF * unit_MF).sum(0)
        scale_F = gamma_F * inverse_F
        # The gradient of an edge's W h is scale (at_best, if it is the best, - all_beta - all_gamma (W h - mean) inverse).
        at_best_MF.mul_(scale_F)
        slant_F = level_F = torch.zeros_like(scale_F)
        if not ctx.fixed:  # type: ignore[attr-defined]
            all_beta_F, all_gamma_F = sum_over_ranks(torch.stack([beta_grad_F, gamma_grad_F])) / edges  # as in batchnorm.py
            slant_F = -scale_F * inverse_F * all_gamma_F
            level_F = -scale_F * all_beta_F - slant_F * mean_F
        slanted_HF = (weight_FH * slant_F[:, None]).t().contiguous()
        near_grad_MH, own_grad_MH, weight_grad_FH = torch.zeros_like(near_MH), torch.empty_like(own_MH), torch.zeros_like(weight_FH)
        for span, idx_E, hidden_EH, (y_grad_EF, grad_EH) in _edge_pieces(near_MH, own_MH, idx_MK, slope, channels, hidden):
            torch.addmm(level_F, hidden_EH, slanted_HF, out=y_grad_EF)
            y_grad_EF.view(-1, k, channels).scatter_add_(1, place_MF[span, None].to(torch.int64), at_best_MF[span, None])
            weight_grad_FH.addmm_(y_grad_EF.t(), hidden_EH)
            torch.mm(y_grad_EF, weight_FH, out=grad_EH)
            leaky_relu_backward.grad_input(grad_EH, hidden_EH, slope, True, grad_input=grad_EH)
            torch.sum(grad_EH.view(-1, k, hidden), 1, out=own_grad_MH[span])
            near_grad_MH.index_add_(0, idx_E, grad_EH)
        return near_grad_MH, own_grad_MH, None, weight_grad_FH, gamma_grad_F, beta_grad_F, None, None, None, None
