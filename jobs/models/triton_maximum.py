"""The neighbour maximum of maximum.py in one pass on a GPU: gather, maximum, own part and LeakyReLU. Optional: Triton, float32.

M rows, K neighbours, D channels. Nothing of size M K D is written: a tile of rows and channels stays in registers over the K neighbours.
For the gradient, one byte a value keeps which of the K it came from; the gradient is then a sum over each row's referrers
(triton_sums.py) in a fixed order, where a scatter would add atomically, in whatever order threads come.
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx

from .triton_sums import UNROLL, WARPS, fused_referrer_sum, tile_shape

MOST_NEIGHBOURS = 256  # places that a byte tells apart


def fused_neighbour_maximum(near_MD: Tensor, own_MD: Tensor, idx_MK: Tensor, slope: float) -> Tensor:
    """`neighbour_maximum` for float32 and K <= MOST_NEIGHBOURS; the gradient too goes, among equals, to the row of smallest number.

    A NaN among the neighbours gives NaN, and its gradient goes to a row that exists.
    """
    if torch.is_grad_enabled() and (near_MD.requires_grad or own_MD.requires_grad):
        out_MD: Tensor = _FusedNeighbourMaximum.apply(near_MD, own_MD, idx_MK, slope)
        return out_MD
    return _launch_maximum(near_MD, own_MD, idx_MK, slope, None)


def _launch_maximum(near_MD: Tensor, own_MD: Tensor, idx_MK: Tensor, slope: float, place_MD: Tensor | None) -> Tensor:
    """The forward pass; where `place_MD` (uint8) is given, also writes into it which of its K neighbours each maximum came from."""
    near_MD, own_MD, idx_MK = near_MD.contiguous(), own_MD.contiguous(), idx_MK.contiguous()
    (rows, k), channels = idx_MK.shape, own_MD.shape[1]
    out_MD = torch.empty_like(own_MD)
    some_rows, some_channels = tile_shape(channels)
    blocks = triton.cdiv(channels, some_channels)
    with torch.cuda.device_of(near_MD):
        _maximum_kernel[(triton.cdiv(rows, some_rows) * blocks,)](
            near_MD,
            own_MD,
            idx_MK,
            out_MD,
            out_MD if place_MD is None else place_MD,  # any pointer, where none is written
            rows,
            channels,
            blocks,
            slope,
            K=k,
            KEEP_PLACE=place_MD is not None,
            ROWS=some_rows,
            CHANNELS=some_channels,
            num_warps=WARPS,
        )
    return out_MD


class _FusedNeighbourMaximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, near_MD: Tensor, own_MD: Tensor, idx_MK: Tensor, slope: float) -> Tensor:
        place_MD = torch.empty(own_MD.shape, dtype=torch.uint8, device=own_MD.device)
        out_MD = _launch_maximum(near_MD, own_MD, idx_MK, slope, place_MD)
        ctx.save_for_backward(out_MD, place_MD, idx_MK)
        ctx.slope = slope  # type: ignore[attr-defined]
        return out_MD

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        out_MD, place_MD, idx_MK = ctx.saved_tensors  # type: ignore[attr-defined]
        own_MD = torch.ops.aten.leaky_relu_backward(grads[0].contiguous(), out_MD, ctx.slope, True)  # type: ignore[attr-defined]
        return fused_referrer_sum(own_MD, idx_MK, place_MD), own_MD, None, None


@triton.jit
def _maximum_kernel(
    near_ptr: tl.tensor,
    own_ptr: tl.tensor,
    idx_ptr: tl.tensor,
    out_ptr: tl.tensor,
    place_ptr: tl.tensor,
    rows: tl.tensor,
    channels: tl.tensor,
    blocks: tl.tensor,
    slope: tl.tensor,
    K: tl.constexpr,
    KEEP_PLACE: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    # Channel blocks of the same rows run beside each other: a cloud's rows then stay in the second-level cache while they are gathered.
    row_R = (tl.program_id(0) // blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel_D = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
    in_rows_R = row_R < rows
    inside_RD = in_rows_R[:, None] & (channel_D < channels)[None, :]
    neighbour_R = tl.load(idx_ptr + row_R * K, mask=in_rows_R, other=0)
    best_RD = tl.load(near_ptr + neighbour_R[:, None] * channels + channel_D[None, :], mask=inside_RD, other=0.0)
    place_RD = tl.zeros([ROWS, CHANNELS], tl.int32)
    for k in tl.range(1, K, loop_unroll_factor=UNROLL):
        neighbour_R = tl.load(idx_ptr + row_R * K + k, mask=in_rows_R, other=0)
        value_RD = tl.load(near_ptr + neighbour_R[:, None] * channels + channel_D[None, :], mask=inside_RD, other=0.0)
        better_RD = (value_RD > best_RD) | ((value_RD != value_RD) & (best_RD == best_RD))  # a NaN is above all
        if KEEP_PLACE:
            place_RD = tl.where(better_RD, k, place_RD)
        best_RD = tl.where(better_RD, value_RD, best_RD)
    at_RD = row_R[:, None] * channels + channel_D[None, :]
    out_RD = best_RD + tl.load(own_ptr + at_RD, mask=inside_RD, other=0.0)
    tl.store(out_ptr + at_RD, tl.where(out_RD > 0.0, out_RD, out_RD * slope), mask=inside_RD)
    if KEEP_PLACE:
        tl.store(place_ptr + at_RD, place_RD.to(tl.uint8), mask=inside_RD)
