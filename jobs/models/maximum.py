"""The maximum over a point's neighbours, in cache-sized pieces. M rows, K neighbours, D channels."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

PIECE_BYTES = 2**20  # of gathered neighbours at once on a CPU: what stays in a core's second-level cache
GPU_PIECE_BYTES = 256 * 2**20


def neighbour_maximum(near_MD: Tensor, own_MD: Tensor, idx_MK: Tensor, slope: float) -> Tensor:
    """LeakyReLU(max over k of near[idx[m, k]] + own[m]) -> [M, D]; `idx_MK` holds row numbers of `near_MD`, `slope` > 0.

    The gradient of the maximum goes to one row; among equals, to the one of smallest number.
    """
    if torch.is_grad_enabled() and (near_MD.requires_grad or own_MD.requires_grad):
        out_MD: Tensor = _NeighbourMaximum.apply(near_MD, own_MD, idx_MK, slope)
        return out_MD
    return _maximum(near_MD, own_MD, idx_MK, slope, None)


def _maximum(near_MD: Tensor, own_MD: Tensor, idx_MK: Tensor, slope: float, chosen_MD: Tensor | None) -> Tensor:
    """The forward pass; where `chosen_MD` is given, also writes into it the row that each maximum came from."""
    rows, channels = own_MD.shape
    k = idx_MK.shape[1]
    budget = GPU_PIECE_BYTES if near_MD.is_cuda else PIECE_BYTES
    piece = max(1, min(rows, budget // (k * channels * near_MD.element_size())))
    out_MD = torch.empty_like(own_MD)
    gathered = torch.empty(piece * k, channels, dtype=near_MD.dtype, device=near_MD.device)  # reused: fresh pages cost more than the gather
    for first in range(0, rows, piece):
        idx_PK = idx_MK[first : first + piece]
        count = len(idx_PK)
        edges_PKD = torch.index_select(near_MD, 0, idx_PK.reshape(-1), out=gathered[: count * k]).view(count, k, channels)
        best_PD = out_MD[first : first + piece]
        torch.amax(edges_PKD, 1, out=best_PD)
        if chosen_MD is not None:
            # Float arithmetic at vector speed instead of an argmax, which is not vectorised: 0 at a maximum and -1 elsewhere, times a
            # number above any row, minus the row: its maximum is minus the smallest row that holds the maximum. Rows count from the
            # piece's smallest, so that float32 holds them exactly.
            edges_PKD.sub_(best_PD[:, None]).sign_()
            low = idx_PK.amin()
            local_PK1 = (idx_PK - low).to(near_MD.dtype)[:, :, None]
            edges_PKD.mul_(float(rows)).sub_(local_PK1)
            chosen_MD[first : first + piece] = low - edges_PKD.amax(1).to(torch.int64)
        best_PD.add_(own_MD[first : first + piece])
    return torch.nn.functional.leaky_relu_(out_MD, slope)


class _NeighbourMaximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, near_MD: Tensor, own_MD: Tensor, idx_MK: Tensor, slope: float) -> Tensor:
        chosen_MD = torch.empty(own_MD.shape, dtype=torch.int32, device=own_MD.device)
        out_MD = _maximum(near_MD, own_MD, idx_MK, slope, chosen_MD)
        ctx.save_for_backward(out_MD, chosen_MD)
        ctx.slope = slope  # type: ignore[attr-defined]
        return out_MD

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        out_MD, chosen_MD = ctx.saved_tensors  # type: ignore[attr-defined]
        own_MD = torch.ops.aten.leaky_relu_backward(grads[0].contiguous(), out_MD, ctx.slope, True)  # type: ignore[attr-defined]
        near_MD = torch.zeros_like(own_MD).scatter_add_(0, chosen_MD.to(torch.int64), own_MD)
        return near_MD, own_MD, None, None
