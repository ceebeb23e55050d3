"""BatchNorm, LeakyReLU and pooling over points in one: the widest tensor of an encoder, passed over as seldom as may be.

B clouds, N points, C channels, M = B N. In training the usual chain makes seven tensors of [M, C], of which this keeps one.
"""
from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from .batchnorm import ONE_VALUE, BatchNorm, combine_moments
from .maximum import piece_rows, place_of_maximum_
from .reduction import ranks, sum_over_ranks


def pool_points(y_BNC: Tensor, norm: BatchNorm, slope: float) -> tuple[Tensor, Tensor]:
    """Maximum and mean over N of LeakyReLU(norm(y)) -> [B, C] each, in the parameters' precision; `slope` 0 makes it a ReLU.

    In training the statistics are those of all ranks' rows and the running ones move. The gradient of a maximum goes to one point; among
    equals, to the first. Raises ValueError in training when the whole batch holds one row.
    """
    clouds, points, channels = y_BNC.shape
    if norm.training:
        if clouds * points == 1 and ranks() == 1:
            raise ValueError(ONE_VALUE)
        most_BC, mean_BC, mean_C, var_C, count = _NormPool.apply(y_BNC, norm.weight, norm.bias, norm.eps, slope)
        norm.track(mean_C, var_C, count)
        return most_BC, mean_BC
    pooled = []
    for piece_PNC in y_BNC.split(piece_rows(points * channels * y_BNC.element_size(), clouds, y_BNC.is_cuda)):
        z_PNC = F.leaky_relu(norm(piece_PNC.flatten(0, 1).to(norm.weight.dtype)), slope).reshape(piece_PNC.shape)
        pooled.append((z_PNC.amax(1), z_PNC.mean(1)))
    return torch.cat([most for most, _ in pooled]), torch.cat([mean for _, mean in pooled])


class _NormPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, y_BNC: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float, slope: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        clouds, points, channels = y_BNC.shape
        dtype = weight_C.dtype
        piece = piece_rows(points * channels * y_BNC.element_size(), clouds, y_BNC.is_cuda)
        sum_BC = torch.cat([part.to(dtype).sum(1) for part in y_BNC.split(piece)])
        local_C = sum_BC.sum(0) / (clouds * points)
        squares_C = torch.stack([(part.to(dtype) - local_C).square_().sum((0, 1)) for part in y_BNC.split(piece)]).sum(0)
        count, mean_C, var_C = combine_moments(local_C.new_tensor(float(clouds * points)), local_C, squares_C)
        inverse_C = torch.rsqrt(var_C + eps)
        scale_C = weight_C * inverse_C
        shift_C = bias_C - mean_C * scale_C

        shape = clouds, channels
        most_BC, average_BC, active_BC, active_y_BC = (torch.empty(shape, dtype=dtype, device=y_BNC.device) for _ in range(4))
        place_BC = torch.empty(shape, dtype=torch.int64, device=y_BNC.device)
        places_1N = torch.arange(points, device=y_BNC.device)[None]
        for first in range(0, clouds, piece):
            span = slice(first, first + piece)
            part_PNC = y_BNC[span].to(dtype)
            z_PNC = torch.addcmul(shift_C, part_PNC, scale_C)
            gate_PNC = _gate_(z_PNC.clone())
            # With these two the backward pass has its sums over all rows, which it needs first, without a pass of its own.
            active_BC[span] = gate_PNC.sum(1)
            active_y_BC[span] = gate_PNC.mul_(part_PNC - mean_C).sum(1)
            F.leaky_relu_(z_PNC, slope)
            average_BC[span] = z_PNC.mean(1)
            most_BC[span] = z_PNC.amax(1)
            place_BC[span] = place_of_maximum_(z_PNC, most_BC[span], places_1N)
        saved = y_BNC, weight_C, mean_C, inverse_C, shift_C, count, most_BC, place_BC, active_BC, active_y_BC, sum_BC
        ctx.save_for_backward(*saved)
        ctx.slope, ctx.piece = slope, piece  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(mean_C, var_C, count)
        return most_BC, average_BC, mean_C, var_C, count

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        saved = ctx.saved_tensors  # type: ignore[attr-defined]
        y_BNC, weight_C, mean_C, inverse_C, shift_C, count, most_BC, place_BC, active_BC, active_y_BC, sum_BC = saved
        slope: float = ctx.slope  # type: ignore[attr-defined]
        points, dtype = y_BNC.shape[1], weight_C.dtype
        # The normalised value's gradient is at_all (1 or the slope), the same for all points of a cloud, plus at_most at one point.
        at_most_BC = grads[0] * torch.where(most_BC > 0, 1.0, slope)
        at_all_BC = grads[1] / points
        unit_BC = (y_BNC.gather(1, place_BC[:, None])[:, 0].to(dtype) - mean_C) * inverse_C
        factor_BC = slope * points + (1 - slope) * active_BC
        factor_unit_BC = (slope * (sum_BC - points * mean_C) + (1 - slope) * active_y_BC) * inverse_C
        bias_grad_C = (at_all_BC * factor_BC + at_most_BC).sum(0)
        weight_grad_C = (at_all_BC * factor_unit_BC + at_most_BC * unit_BC).sum(0)
        all_bias_C, all_weight_C = sum_over_ranks(torch.stack([bias_grad_C, weight_grad_C])) / count  # as in batchnorm.py

        scale_C = weight_C * inverse_C
        slant_C = -scale_C * inverse_C * all_weight_C
        level_BC = scale_C * (slope * at_all_BC - all_bias_C) - slant_C * mean_C
        step_BC = scale_C * (1 - slope) * at_all_BC
        grad_BNC = torch.empty_like(y_BNC)
        piece: int = ctx.piece  # type: ignore[attr-defined]
        for first in range(0, len(y_BNC), piece):
            span = slice(first, first + piece)
            part_PNC = y_BNC[span].to(dtype)
            out_PNC = _gate_(torch.addcmul(shift_C, part_PNC, scale_C)).mul_(step_BC[span, None]).add_(level_BC[span, None])
            out_PNC.addcmul_(part_PNC, slant_C).scatter_add_(1, place_BC[span, None], (scale_C * at_most_BC[span])[:, None])
            grad_BNC[span] = out_PNC
        return grad_BNC, weight_grad_C, bias_grad_C, None, None


def _gate_(z: Tensor) -> Tensor:
    """1 where z > 0, else 0; overwrites z."""
    return z.sign_().clamp_min_(0.0)
