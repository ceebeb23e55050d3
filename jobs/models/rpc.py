"""RPC: a point-cloud transformer on geometry-disentangled features, AdaCrossNet's default encoder.

B clouds, N points, M = B N rows, K neighbours, C channels, D = 2,048 pooled features. Of the local operator: H hidden channels (64), F its
output channels (128), E = M K edges, P rows of a piece.
"""
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from .batchnorm import BatchNorm, combine_moments
from .folded_edges import folded_ends, row_numbers
from .geometry_disentangled import CHOSEN, SharpGentleAttention, sharp_and_gentle
from .maximum import piece_rows, place_of_maximum_
from .neighbours import nearest
from .offset_attention import PointTransformer
from .pooling import pool_points
from .reduction import sum_over_ranks


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
        if points_BNC.dim() != 3 or points_BNC.shape[2] != 3:
            raise ValueError(f"RPC takes clouds [B, N, 3], not {list(points_BNC.shape)}")
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
        weight_FH = last.weight[:, :, 0, 0]
        if last_norm.training:
            inputs = near_MH, own_MH, idx_MK, weight_FH, last.bias, last_norm.weight, last_norm.bias
            out_MF, mean_F, var_F, edges = _SecondLayer.apply(*inputs, last_norm.eps)
            last_norm.track(mean_F, var_F, edges)
        else:
            scale_F = last_norm.weight * torch.rsqrt(last_norm.running_var + last_norm.eps)
            shift_F = last_norm.bias + (last.bias - last_norm.running_mean) * scale_F
            folded_HF = (weight_FH * scale_F[:, None]).t()
            pieces = _pieces(near_MH, own_MH, idx_MK, len(weight_FH))
            out_MF = torch.cat([F.relu((hidden_PKH @ folded_HF).amax(1) + shift_F) for _, _, hidden_PKH in pieces])
    return out_MF.view(*x_BNC.shape[:2], -1)


def _pieces(near_MH: Tensor, own_MH: Tensor, idx_MK: Tensor, channels: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows, their neighbours idx_PK and ReLU(near[idx] + own) [P, K, H], piece by piece; room is left for `channels` more of each edge."""
    rows, hidden = own_MH.shape
    k = idx_MK.shape[1]
    step = piece_rows(k * (hidden + channels) * near_MH.element_size(), rows, near_MH.is_cuda)
    for start in range(0, rows, step):
        span = slice(start, min(start + step, rows))
        near_PKH = near_MH.index_select(0, idx_MK[span].reshape(-1)).view(-1, k, hidden)
        yield span, idx_MK[span], near_PKH.add_(own_MH[span, None]).relu_()


class _SecondLayer(torch.autograd.Function):
    """(near, own, idx, weight, its bias, norm's weight and bias, eps) -> (out_MF, mean_F, var_F, count): product, norm, maximum, ReLU.

    Statistics are those of all ranks' edges. The gradient of a maximum goes to one edge; among equals, to the first of the point's.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        near_MH: Tensor,
        own_MH: Tensor,
        idx_MK: Tensor,
        weight_FH: Tensor,
        bias_F: Tensor,
        gamma_F: Tensor,
        beta_F: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows, hidden = own_MH.shape
        channels, k = len(weight_FH), idx_MK.shape[1]
        sign_F = torch.where(gamma_F < 0, -1.0, 1.0).to(gamma_F.dtype)  # a negative scale turns the maximum round
        turned_HF = (weight_FH * sign_F[:, None]).t().contiguous()
        best_MF = own_MH.new_empty(rows, channels)
        place_MF = torch.empty(rows, channels, dtype=torch.int32, device=own_MH.device)
        places_1K = torch.arange(k, device=own_MH.device)[None]
        centre_H, sum_H, gram_HH = None, own_MH.new_zeros(hidden), own_MH.new_zeros(hidden, hidden)
        for span, _, hidden_PKH in _pieces(near_MH, own_MH, idx_MK, channels):
            if centre_H is None:
                centre_H = hidden_PKH.mean((0, 1))  # near the mean of all: raw second moments would cancel
            hidden_EH = hidden_PKH.sub_(centre_H).flatten(0, 1)
            sum_H += hidden_EH.sum(0)
            gram_HH.addmm_(hidden_EH.t(), hidden_EH)
            edges_PKF = (hidden_EH @ turned_HF).view(-1, k, channels)
            best_MF[span] = edges_PKF.amax(1)
            place_MF[span] = place_of_maximum_(edges_PKF, best_MF[span], places_1K)
        assert centre_H is not None
        edges = float(rows * k)
        offset_H = sum_H / edges
        gram_HH.addr_(sum_H, offset_H, alpha=-1.0)
        squares_F = ((weight_FH @ gram_HH) * weight_FH).sum(1).clamp_min(0.0)
        count, mean_F, var_F = combine_moments(own_MH.new_tensor(edges), weight_FH @ (centre_H + offset_H), squares_F)
        inverse_F = torch.rsqrt(var_F + eps)
        unit_MF = best_MF.mul_(sign_F).add_(weight_FH @ centre_H - mean_F).mul_(inverse_F)
        out_MF = torch.addcmul(beta_F, unit_MF, gamma_F).relu_()
        mean_H = centre_H + offset_H
        saved = near_MH, own_MH, idx_MK, weight_FH, gamma_F, beta_F, unit_MF, place_MF, mean_F, inverse_F, count, mean_H, gram_HH
        ctx.save_for_backward(*saved)
        mean_F = mean_F + bias_F
        ctx.mark_non_differentiable(mean_F, var_F, count)
        return out_MF, mean_F, var_F, count

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # type: ignore[attr-defined]
        near_MH, own_MH, idx_MK, weight_FH, gamma_F, beta_F, unit_MF, place_MF, mean_F, inverse_F, count, mean_H, gram_HH = saved
        channels, k = len(weight_FH), idx_MK.shape[1]
        at_best_MF = grads[0] * (torch.addcmul(beta_F, unit_MF, gamma_F) > 0)
        beta_grad_F, gamma_grad_F = at_best_MF.sum(0), (at_best_MF * unit_MF).sum(0)
        all_beta_F, all_gamma_F = sum_over_ranks(torch.stack([beta_grad_F, gamma_grad_F])) / count  # as in batchnorm.py
        # An edge's product y = W h gets scale (at_best, if it is the best, - all_beta - all_gamma (y - mean) inverse): the last two parts
        # are the same linear map of h for all edges.
        scale_F = gamma_F * inverse_F
        slant_F = scale_F * inverse_F * all_gamma_F
        folded_FH = weight_FH * scale_F[:, None]
        level_H = (slant_F * mean_F - scale_F * all_beta_F) @ weight_FH
        slant_HH = -(weight_FH.t() * slant_F) @ weight_FH
        near_grad_MH, own_grad_MH, chosen_FH = torch.zeros_like(near_MH), torch.empty_like(own_MH), torch.zeros_like(weight_FH)
        for span, idx_PK, hidden_PKH in _pieces(near_MH, own_MH, idx_MK, channels):
            hidden_EH = hidden_PKH.flatten(0, 1)
            sparse_PKF = hidden_PKH.new_zeros(len(hidden_PKH), k, channels)
            sparse_EF = sparse_PKF.scatter_(1, place_MF[span, None].to(torch.int64), at_best_MF[span, None]).flatten(0, 1)
            chosen_FH.addmm_(sparse_EF.t(), hidden_EH)
            grad_EH = torch.addmm(level_H, hidden_EH, slant_HH).addmm_(sparse_EF, folded_FH)
            grad_EH.mul_(hidden_EH.sign_())  # the first layer's ReLU
            own_grad_MH[span] = grad_EH.view_as(hidden_PKH).sum(1)
            near_grad_MH.index_add_(0, idx_PK.reshape(-1), grad_EH)
        edges = idx_MK.numel()
        slanted_FH = weight_FH @ gram_HH + torch.outer((weight_FH @ mean_H - mean_F) * edges, mean_H)
        weight_grad_FH = scale_F[:, None] * (chosen_FH - torch.outer(all_beta_F * edges, mean_H)) - slant_F[:, None] * slanted_FH
        return near_grad_MH, own_grad_MH, None, weight_grad_FH, torch.zeros_like(gamma_grad_F), gamma_grad_F, beta_grad_F, None
