"""BatchNorm, LeakyReLU and pooling over points in one: the widest tensor of an encoder, passed over as seldom as may be.

B clouds, N points, C channels, M rows of all clouds, P clouds of a piece.
In training the usual chain makes seven tensors of [M, C], of which this keeps one.
"""
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from .batchnorm import ONE_VALUE, BatchNorm, combine_moments
from .copies import Layout
from .maximum import piece_rows, place_of_maximum_
from .reduction import ranks, sum_over_ranks


def pool_points(y_BNC: Tensor, norm: BatchNorm, slope: float) -> tuple[Tensor, Tensor]:
    """Maximum and mean over N of LeakyReLU(norm(y)) -> [B, C] each, in the parameters' precision; `slope` 0 makes it a ReLU.

    In training the statistics are those of all ranks' rows and the running ones move. The gradient of a maximum goes to one point; among
    equals, to the first. Raises ValueError in training when the whole batch holds one row.
    """
    clouds, points, channels = y_BNC.shape
    return pool_rows(y_BNC.reshape(clouds * points, channels), Layout((points,) * clouds, (0,) * clouds), norm, slope)


def pool_rows(y_MC: Tensor, layout: Layout, norm: BatchNorm, slope: float) -> tuple[Tensor, Tensor]:
    """`pool_points` of clouds without copies: the first row of each counts as often as its point stands in the cloud."""
    points = layout.sizes[0] + layout.copies[0]
    if norm.training:
        if points * len(layout.sizes) == 1 and ranks() == 1:
            raise ValueError(ONE_VALUE)
        most_BC, mean_BC, mean_C, var_C, count = _NormPool.apply(y_MC, layout, norm.weight, norm.bias, norm.eps, slope)
        norm.track(mean_C, var_C, count)
        return most_BC, mean_BC
    pooled = []
    for _, span, clouds, copies in _cloud_pieces(y_MC, layout):
        z_PNC = F.leaky_relu(norm(y_MC[span].to(norm.weight.dtype)), slope).view(clouds, -1, y_MC.shape[1])
        pooled.append((z_PNC.amax(1), _total(z_PNC, copies) / points))
    return torch.cat([most for most, _ in pooled]), torch.cat([mean for _, mean in pooled])


def pool_product(x_MC: Tensor, weight_DC: Tensor, layout: Layout, norm: BatchNorm, slope: float) -> tuple[Tensor, Tensor]:
    """`pool_rows` of x_MC times the transpose of weight_DC -> [B, D] each.

    Where nothing is kept for a backward pass, the normalisation folds into the product and a piece of it is pooled while it lies in a
    core's cache: nothing of size M D exists.
    """
    if norm.training or torch.is_grad_enabled() or torch.is_autocast_enabled(x_MC.device.type):
        return pool_rows(F.linear(x_MC, weight_DC), layout, norm, slope)
    scale_D = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift_D, folded_DC = norm.bias - norm.running_mean * scale_D, weight_DC * scale_D[:, None]
    points = layout.sizes[0] + layout.copies[0]
    most_rows = piece_rows(len(weight_DC) * x_MC.element_size(), len(x_MC), x_MC.is_cuda)
    pooled = []
    for _, row, clouds, size, copies in layout.runs(most_rows):
        x_PNC = x_MC[row : row + clouds * size].view(clouds, size, -1)
        most: list[Tensor] = []
        total: list[Tensor] = []
        for some_PNC in x_PNC.split(most_rows // clouds, 1):  # all points of several clouds, or some of one
            z_PND = F.leaky_relu_(F.linear(some_PNC, folded_DC, shift_D), slope)
            most.append(z_PND.amax(1))
            total.append(_total(z_PND, 0 if total else copies))
        pooled.append((torch.stack(most).amax(0), torch.stack(total).sum(0) / points))
    return torch.cat([most_PD for most_PD, _ in pooled]), torch.cat([mean_PD for _, mean_PD in pooled])


def _cloud_pieces(y_MC: Tensor, layout: Layout) -> Iterator[tuple[slice, slice, int, int]]:
    """(clouds, their rows, how many clouds, copies of the first row of each), as many alike as fit a piece."""
    most = piece_rows(y_MC.shape[1] * y_MC.element_size(), len(y_MC), y_MC.is_cuda)
    for cloud, row, clouds, size, copies in layout.runs(most):
        yield slice(cloud, cloud + clouds), slice(row, row + clouds * size), clouds, copies


def _total(part_PNC: Tensor, copies: int) -> Tensor:
    """The sum over a cloud's points -> [P, C]."""
    return part_PNC.sum(1).add_(part_PNC[:, 0], alpha=copies) if copies else part_PNC.sum(1)


class _NormPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, y_MC: Tensor, layout: Layout, weight_C: Tensor, bias_C: Tensor, eps: float, slope: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        clouds, points, channels = len(layout.sizes), layout.sizes[0] + layout.copies[0], y_MC.shape[1]
        dtype = weight_C.dtype
        pieces = list(_cloud_pieces(y_MC, layout))
        sum_BC = torch.cat([_total(y_MC[rows].to(dtype).view(count, -1, channels), copies) for _, rows, count, copies in pieces])
        local_C = sum_BC.sum(0) / (clouds * points)
        squares_C = torch.zeros_like(local_C)
        for _, rows, count, copies in pieces:
            squares_C += _total((y_MC[rows].to(dtype) - local_C).square_().view(count, -1, channels), copies).sum(0)
        total, mean_C, var_C = combine_moments(local_C.new_tensor(float(clouds * points)), local_C, squares_C)
        inverse_C = torch.rsqrt(var_C + eps)
        scale_C = weight_C * inverse_C
        shift_C = bias_C - mean_C * scale_C

        shape = clouds, channels
        most_BC, average_BC, active_BC, active_y_BC = (torch.empty(shape, dtype=dtype, device=y_MC.device) for _ in range(4))
        place_BC = torch.empty(shape, dtype=torch.int64, device=y_MC.device)  # the row of each maximum
        rows_1M = torch.arange(len(y_MC), device=y_MC.device)[None]
        for some, rows, count, copies in pieces:
            part_PNC = y_MC[rows].to(dtype).view(count, -1, channels)
            z_PNC = torch.addcmul(shift_C, part_PNC, scale_C)
            gate_PNC = _gate_(z_PNC.clone())
            # With these two the backward pass has its sums over all rows, which it needs first, without a pass of its own.
            active_BC[some] = _total(gate_PNC, copies)
            active_y_BC[some] = _total(gate_PNC.mul_(part_PNC - mean_C), copies)
            F.leaky_relu_(z_PNC, slope)
            average_BC[some] = _total(z_PNC, copies) / points
            most_BC[some] = z_PNC.amax(1)
            place_BC[some] = place_of_maximum_(z_PNC, most_BC[some], rows_1M[:, rows].view(count, -1))
        saved = y_MC, weight_C, mean_C, inverse_C, shift_C, total, most_BC, place_BC, active_BC, active_y_BC, sum_BC
        ctx.save_for_backward(*saved)
        ctx.layout, ctx.slope = layout, slope  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(mean_C, var_C, total)
        return most_BC, average_BC, mean_C, var_C, total

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # type: ignore[attr-defined]
        y_MC, weight_C, mean_C, inverse_C, shift_C, total, most_BC, place_BC, active_BC, active_y_BC, sum_BC = saved
        slope: float = ctx.slope  # type: ignore[attr-defined]
        layout: Layout = ctx.layout  # type: ignore[attr-defined]
        points, dtype, channels = layout.sizes[0] + layout.copies[0], weight_C.dtype, y_MC.shape[1]
        # The normalised value's gradient is at_all (1 or the slope), the same for all points of a cloud, plus at_most at one point.
        at_most_BC = torch.where(most_BC > 0, grads[0], grads[0] * slope)
        at_all_BC = grads[1] / points
        unit_BC = (y_MC.gather(0, place_BC).to(dtype) - mean_C) * inverse_C
        factor_BC = slope * points + (1 - slope) * active_BC
        factor_unit_BC = (slope * (sum_BC - points * mean_C) + (1 - slope) * active_y_BC) * inverse_C
        bias_grad_C = (at_all_BC * factor_BC + at_most_BC).sum(0)
        weight_grad_C = (at_all_BC * factor_unit_BC + at_most_BC * unit_BC).sum(0)
        all_bias_C, all_weight_C = sum_over_ranks(torch.stack([bias_grad_C, weight_grad_C])) / total  # as in batchnorm.py

        scale_C = weight_C * inverse_C
        slant_C = -scale_C * inverse_C * all_weight_C
        level_BC = scale_C * (slope * at_all_BC - all_bias_C) - slant_C * mean_C
        step_BC = scale_C * (1 - slope) * at_all_BC
        grad_MC = torch.empty_like(y_MC)
        for some, rows, count, copies in _cloud_pieces(y_MC, layout):
            part_PNC = y_MC[rows].to(dtype).view(count, -1, channels)
            out_PNC = _gate_(torch.addcmul(shift_C, part_PNC, scale_C)).mul_(step_BC[some, None]).add_(level_BC[some, None])
            out_PNC.addcmul_(part_PNC, slant_C)
            if copies:
                out_PNC[:, 0] *= 1 + copies
            grad_MC[rows] = out_PNC.view(-1, channels)
        at_place_BC = (scale_C * at_most_BC).to(grad_MC.dtype)
        grad_MC.scatter_add_(0, place_BC, at_place_BC)
        return grad_MC, None, weight_grad_C, bias_grad_C, None, None


def _gate_(z: Tensor) -> Tensor:
    """1 where z > 0, else 0; overwrites z."""
    return z.sign_().clamp_min_(0.0)
