"""Sums over the edges of a neighbour graph on a GPU, without writing anything as large as the edges. Optional: Triton, float32.

M rows, K neighbours, C channels, E = M K edges; edge e = m K + k is the one from row m to its k-th neighbour. No sum uses an atomic
addition: each output has one program that adds its terms in a fixed order, so that equal inputs give equal bits.
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 1024  # numbers of a program's tile of rows and channels: 8 a thread, two loads of 16 bytes in flight for each neighbour
MOST_CHANNELS = 128  # of a tile: 512 bytes of each gathered row, enough that a row is read in whole memory transactions
REFERRERS = 16  # edges that a program reads at once: a row has K = 15 to 40 on average, and a hub's hundreds must not be read one by one
UNROLL = tl.constexpr(2)  # neighbours a turn of the loop: the next ones' numbers come while these ones' rows do; 4 spill registers
WARPS = 4


def tile_shape(channels: int) -> tuple[int, int]:
    """Rows and channels (powers of two) of one program's tile where rows have `channels`: few channels leave room for many rows."""
    wide = min(MOST_CHANNELS, triton.next_power_of_2(channels))
    return TILE // wide, wide


def fused_neighbour_sum(rows_MC: Tensor, idx_MK: Tensor) -> Tensor:
    """[M, C]: of each row, the sum of the rows that `idx_MK` names, in its order."""
    rows_MC, idx_MK = rows_MC.contiguous(), idx_MK.contiguous()
    (rows, k), channels = idx_MK.shape, rows_MC.shape[1]
    sum_MC = torch.empty_like(rows_MC)
    some_rows, some_channels = tile_shape(channels)
    blocks = triton.cdiv(channels, some_channels)
    with torch.cuda.device_of(rows_MC):
        _neighbour_sum_kernel[(triton.cdiv(rows, some_rows) * blocks,)](
            rows_MC, idx_MK, sum_MC, rows, channels, blocks, K=k, ROWS=some_rows, CHANNELS=some_channels, num_warps=WARPS
        )
    return sum_MC


def fused_referrer_sum(rows_MC: Tensor, idx_MK: Tensor, place_MC: Tensor | None = None) -> Tensor:
    """[M, C]: of each row j, the sum of rows m over all edges m -> j: the transpose of a neighbour sum.

    With `place_MC` (uint8, 0 to K - 1) a channel of row m counts at the edge of that number alone: what a maximum's gradient needs.
    """
    rows_MC, (rows, k), channels = rows_MC.contiguous(), idx_MK.shape, rows_MC.shape[1]
    # A stable sort leaves the edges to a row in order of the rows they come from; 32-bit keys take half the passes of 64-bit ones.
    targets_E, edges_E = idx_MK.reshape(-1).to(torch.int32).sort(stable=True)
    starts_M1 = torch.searchsorted(targets_E, torch.arange(rows + 1, dtype=torch.int32, device=idx_MK.device))
    sum_MC = torch.empty_like(rows_MC)
    some_channels = min(MOST_CHANNELS, triton.next_power_of_2(channels))
    blocks = triton.cdiv(channels, some_channels)
    with torch.cuda.device_of(rows_MC):
        _referrer_sum_kernel[(rows * blocks,)](
            rows_MC,
            rows_MC if place_MC is None else place_MC,  # any pointer, where none is read
            edges_E,
            starts_M1,
            sum_MC,
            channels,
            blocks,
            K=k,
            AT_PLACE=place_MC is not None,
            EDGES=REFERRERS,
            CHANNELS=some_channels,
            num_warps=WARPS,
        )
    return sum_MC


def referrer_counts(idx_MK: Tensor) -> Tensor:
    """referred_M int64: how many edges lead to each row. `bincount` would make the host wait for the GPU, to look at the largest number."""
    targets_E = idx_MK.reshape(-1)
    return targets_E.new_zeros(len(idx_MK)).scatter_add_(0, targets_E, targets_E.new_ones(1).expand_as(targets_E))


@triton.jit
def _neighbour_sum_kernel(
    rows_ptr: tl.tensor,
    idx_ptr: tl.tensor,
    sum_ptr: tl.tensor,
    rows: tl.tensor,
    channels: tl.tensor,
    blocks: tl.tensor,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    # Channel blocks of the same rows run beside each other: a cloud's rows then stay in the second-level cache while they are gathered.
    row_R = (tl.program_id(0) // blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel_C = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
    in_rows_R = row_R < rows
    inside_RC = in_rows_R[:, None] & (channel_C < channels)[None, :]
    total_RC = tl.zeros([ROWS, CHANNELS], tl.float32)
    for k in tl.range(0, K, loop_unroll_factor=UNROLL):
        neighbour_R = tl.load(idx_ptr + row_R * K + k, mask=in_rows_R, other=0)
        total_RC += tl.load(rows_ptr + neighbour_R[:, None] * channels + channel_C[None, :], mask=inside_RC, other=0.0)
    tl.store(sum_ptr + row_R[:, None] * channels + channel_C[None, :], total_RC, mask=inside_RC)


@triton.jit
def _referrer_sum_kernel(
    rows_ptr: tl.tensor,
    place_ptr: tl.tensor,
    edges_ptr: tl.tensor,
    starts_ptr: tl.tensor,
    sum_ptr: tl.tensor,
    channels: tl.tensor,
    blocks: tl.tensor,
    K: tl.constexpr,
    AT_PLACE: tl.constexpr,
    EDGES: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    row = (tl.program_id(0) // blocks).to(tl.int64)
    channel_C = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
    in_channels_C = channel_C < channels
    end = tl.load(starts_ptr + row + 1)
    total_EC = tl.zeros([EDGES, CHANNELS], tl.float32)
    for first in range(tl.load(starts_ptr + row), end, EDGES):
        at_E = first + tl.arange(0, EDGES)
        edge_E = tl.load(edges_ptr + at_E, mask=at_E < end, other=0)
        offset_EC = (edge_E // K)[:, None] * channels + channel_C[None, :]
        counts_EC = (at_E < end)[:, None] & in_channels_C[None, :]
        if AT_PLACE:
            place_EC = tl.load(place_ptr + offset_EC, mask=counts_EC, other=0)
            counts_EC = counts_EC & (place_EC == (edge_E % K)[:, None])
        total_EC += tl.load(rows_ptr + offset_EC, mask=counts_EC, other=0.0)
    tl.store(sum_ptr + row * channels + channel_C, tl.sum(total_EC, 0), mask=in_channels_C)
