"""Batch normalisation over the global batch, one class for CPU and GPU ranks.

B rows of this rank, C channels. `nn.SyncBatchNorm` refuses CPU tensors; here the moments of all ranks are combined by Chan et al. (1979),
each rank weighted by its own count, so ranks may hold different numbers of rows. Alone, PyTorch's own kernel does the work.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from .reduction import ranks, stack_over_ranks, sum_over_ranks


class BatchNorm(nn.Module):
    """Ioffe and Szegedy (2015) over channel dimension 1 of any [B, C, ...]; statistics, running ones too, are those of all ranks' rows.

    Parameters, buffers, momentum and the unbiased running variance are those of `nn.BatchNorm2d`. Moments of bf16 or fp16 inputs are taken
    in the parameters' precision. Raises ValueError in training when the whole batch holds one value a channel.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.channels, self.eps, self.momentum = channels, eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ValueError(f"BatchNorm of {self.channels} channels got an input of shape {list(x.shape)}; dimension 1 must hold them")
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        if ranks() == 1:
            if x.numel() == self.channels:
                raise ValueError(ONE_VALUE)
            self.num_batches_tracked += 1
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps)
        y, mean_C, var_C, count = _GlobalNorm.apply(x, self.weight, self.bias, self.eps)
        self.track(mean_C, var_C, count)
        return y

    @torch.no_grad()
    def track(self, mean_C: Tensor, var_C: Tensor, count: Tensor) -> None:
        """Move the running statistics towards a batch's mean and biased variance over `count` (0-d) values of all ranks."""
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean_C.detach().to(self.running_mean.dtype), self.momentum)
        unbiased_C = var_C.detach() * (count / (count - 1))
        self.running_var.lerp_(unbiased_C.to(self.running_var.dtype), self.momentum)

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}, momentum={self.momentum}"


ONE_VALUE = "BatchNorm got one value a channel in the whole batch, which has no variance: train with a larger batch"


def combine_moments(count: Tensor, mean_C: Tensor, squares_C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """This rank's count (0-d), mean and sum of squares about it -> global count (0-d), mean [C] and biased variance [C]."""
    channels = len(mean_C)
    stacked_RS = stack_over_ranks(torch.cat([count.reshape(1), mean_C, squares_C]))
    counts_R1, means_RC, squares_RC = stacked_RS[:, :1], stacked_RS[:, 1 : 1 + channels], stacked_RS[:, 1 + channels :]
    total = counts_R1.sum()
    mean_C = (means_RC * counts_R1).sum(0) / total
    return total, mean_C, (squares_RC + counts_R1 * (means_RC - mean_C).square()).sum(0) / total


class _GlobalNorm(torch.autograd.Function):
    """(x, weight, bias, eps) -> (y, mean, variance, count) over all ranks; one all-gather forward, one all-reduce backward."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        exact = x.to(weight_C.dtype)
        values = x.numel() // x.shape[1]
        count = exact.new_tensor(float(values))
        if values:
            local_C = exact.mean(_others(x))
            squares_C = (exact - _wide(local_C, x)).square_().sum(_others(x))
        else:
            local_C = squares_C = torch.zeros_like(weight_C)
        total, mean_C, var_C = combine_moments(count, local_C, squares_C)
        inverse_C = torch.rsqrt(var_C + eps)
        scale_C = weight_C * inverse_C
        y = torch.addcmul(_wide(bias_C - mean_C * scale_C, x), exact, _wide(scale_C, x)).to(x.dtype)
        ctx.save_for_backward(x, weight_C, mean_C, inverse_C, total)
        ctx.mark_non_differentiable(mean_C, var_C, total)
        return y, mean_C, var_C, total

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight_C, mean_C, inverse_C, total = ctx.saved_tensors  # type: ignore[attr-defined]
        grad = grads[0].to(weight_C.dtype)
        unit = (x.to(weight_C.dtype) - _wide(mean_C, x)).mul_(_wide(inverse_C, x))
        bias_grad_C = grad.sum(_others(x))
        weight_grad_C = (grad * unit).sum(_others(x))
        # The mean's and the variance's paths reach every rank's rows: their gradients are those of all ranks. The parameters' stay this
        # rank's own, because data-parallel training adds them up.
        all_bias_C, all_weight_C = sum_over_ranks(torch.stack([bias_grad_C, weight_grad_C]))
        x_grad = (grad - _wide(all_bias_C / total, x)).addcmul_(unit, _wide(-all_weight_C / total, x)).mul_(_wide(weight_C * inverse_C, x))
        return x_grad.to(x.dtype), weight_grad_C, bias_grad_C, None


def _others(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _wide(stat_C: Tensor, x: Tensor) -> Tensor:
    return stat_C.reshape(1, -1, *[1] * (x.dim() - 2))
