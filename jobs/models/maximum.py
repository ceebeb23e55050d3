"""Maxima with the place they came from, in cache-sized pieces. M rows, K neighbours, D channels, P rows of a piece."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

try:  # missing without Triton, and in a packaged model, whose one file has no modules beside it
    from .triton_launch import can_launch
    from .triton_maximum import MOST_NEIGHBOURS, fused_neighbour_maximum
except ImportError:
    can_launch = None  # type: ignore[assignment]

PIECE_BYTES = 2**20  # worked on at once on a CPU: what stays in a core's second-level cache
GPU_PIECE_BYTES = 256 * 2**20


def piece_rows(row_bytes: int, rows: int, on_gpu: bool) -> int:
    """How many rows of `row_bytes` bytes make a piece: at least 1, at most all `rows`."""
    return max(1, min(rows, (GPU_PIECE_BYTES if on_gpu else PIECE_BYTES) // row_bytes))


def place_of_maximum_(values_PKD: Tensor, best_PD: Tensor, places_PK: Tensor) -> Tensor:
    """Of each maximum `best_PD` over k of `values_PKD`, the smallest of `places_PK` (integers >= 0) that holds it; overwrites the values.

    Float arithmetic, because an argmax is not vectorised on CPUs: 0 at a maximum and -1 elsewhere, times a number above any place, less
    the place; the largest is minus the place sought. Places count from the piece's smallest, so that float32 holds them exactly.
    """
    low = places_PK.amin()
    local_PK1 = (places_PK - low).to(values_PKD.dtype)[:, :, None]
    values_PKD.sub_(best_PD[:, None]).sign_().mul_(local_PK1.amax() + 1).sub_(local_PK1)
    return low - values_PKD.amax(1).to(torch.int64)


def neighbour_maximum(near_MD: Tensor, own_MD: Tensor, idx_MK: Tensor, slope: float) -> Tensor:
    """LeakyReLU(max over k of near[idx[m, k]] + own[m]) -> [M, D]; `idx_MK` holds row numbers of `near_MD`, `slope` > 0.

    The gradient of the maximum goes to one row; among equals, to the first of the point's neighbours.
    """
    if can_launch is not None and can_launch(near_MD) and idx_MK.shape[1] <= MOST_NEIGHBOURS:
        return fused_neighbour_maximum(near_MD, own_MD, idx_MK, slope)
    if torch.is_grad_enabled() and (near_MD.requires_grad or own_MD.requires_grad):
        out_MD: Tensor = _NeighbourMaximum.apply(near_MD, own_MD, idx_MK, slope)
        return out_MD
    return _maximum(near_MD, own_MD, idx_MK, slope, None)


def _maximum(near_MD: Tensor, own_MD: Tensor, idx_MK: Tensor, slope: float, place_MD: Tensor | None) -> Tensor:
    """The forward pass; where `place_MD` is given, also writes into it which of its neighbours each maximum came from."""
    rows, channels = own_MD.shape
    k = idx_MK.shape[1]
    piece = piece_rows(k * channels * near_MD.element_size(), rows, near_MD.is_cuda)
    out_MD = torch.empty_like(own_MD)
    places_1K = torch.arange(k, device=idx_MK.device)[None]
    gathered = torch.empty(piece * k, channels, dtype=near_MD.dtype, device=near_MD.device)  # reused: fresh pages cost more than the gather
    for first in range(0, rows, piece):
        idx_PK = idx_MK[first : first + piece]
        count = len(idx_PK)
        edges_PKD = torch.index_select(near_MD, 0, idx_PK.reshape(-1), out=gathered[: count * k]).view(count, k, channels)
        best_PD = out_MD[first : first + piece]
        torch.amax(edges_PKD, 1, out=best_PD)
        if place_MD is not None:
            place_MD[first : first + piece] = place_of_maximum_(edges_PKD, best_PD, places_1K)
        F.leaky_relu_(best_PD.add_(own_MD[first : first + piece]), slope)
    return out_MD


class _NeighbourMaximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, near_MD: Tensor, own_MD: Tensor, idx_MK: Tensor, slope: float) -> Tensor:
        smallest = torch.uint8 if idx_MK.shape[1] <= 256 else torch.int32  # it is kept until the backward pass
        place_MD = torch.empty(own_MD.shape, dtype=smallest, device=own_MD.device)
        out_MD = _maximum(near_MD, own_MD, idx_MK, slope, place_MD)
        ctx.save_for_backward(out_MD, place_MD, idx_MK)
        ctx.slope = slope  # type: ignore[attr-defined]
        return out_MD

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        out_MD, place_MD, idx_MK = ctx.saved_tensors  # type: ignore[attr-defined]
        rows, channels = out_MD.shape
        own_MD = torch.ops.aten.leaky_relu_backward(grads[0].contiguous(), out_MD, ctx.slope, True)  # type: ignore[attr-defined]
        near_MD = torch.zeros_like(own_MD)
        piece = piece_rows(8 * channels, rows, own_MD.is_cuda)
        for first in range(0, rows, piece):
            chosen_PD = idx_MK[first : first + piece].gather(1, place_MD[first : first + piece].to(torch.int64))
            near_MD.scatter_add_(0, chosen_PD, own_MD[first : first + piece])
        return near_MD, own_MD, None, None
