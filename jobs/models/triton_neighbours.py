"""Exact k nearest neighbours on a GPU in one kernel: distances go into the selection as they come, and no N x N matrix is written.

B clouds, N points, C channels, K neighbours; in the kernel R rows, J columns (candidates), S slots for the best. Optional: Triton, float32.
A distance and its column make one 64-bit key whose order is that of the distances. A program keeps the S best keys of its rows and lets a
tile of candidates in by their smallest, as long as any row gains: in random order row i's list changes about K log(N / K) times, so most
tiles cost little more than their products. Keys are whole numbers, all different: NaN cannot stall the loop nor leave an index unset.
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# The one rule for taking this path: slots (the power of two that holds K) and the most channels for which they pay. By counts of
# instructions for an H100 and N = 2,048, not yet by the clock: with 32 slots, products and selection come out even with the other path's
# product, matrix and topk at 128 channels, and below at 64. More slots keep too much in registers.
FUSED: dict[int, int] = {1: 128, 2: 128, 4: 128, 8: 128, 16: 128, 32: 64}
ROWS = 32  # of a program: the loop runs as long as its unluckiest row needs, so not many
COLUMNS = 64  # candidates at once: a tile's keys, two registers each, must fit beside the product
CHANNELS = 16  # of the product at once: the least that a block product takes, and 3-D points need no more
SEARCH_WARPS = 4


def worth_fusing(k: int, channels: int) -> bool:
    """The rule of FUSED, for K = k."""
    return channels <= FUSED.get(triton.next_power_of_2(k), 0)


def fused_nearest(x_BNC: Tensor, k: int) -> Tensor:
    """`nearest_features` for float32 and K <= N within FUSED: idx_BNK int64. Products are float32 throughout (no TF32)."""
    x_BNC = x_BNC.contiguous()
    clouds, points, channels = x_BNC.shape
    norms_BN = x_BNC.square().sum(2)
    idx_BNK = torch.empty(clouds, points, k, dtype=torch.int64, device=x_BNC.device)
    with torch.cuda.device_of(x_BNC):
        _nearest_kernel[(clouds * triton.cdiv(points, ROWS),)](
            x_BNC,
            norms_BN,
            idx_BNK,
            points,
            channels,
            k,
            SLOTS=triton.next_power_of_2(k),
            R=ROWS,
            J=COLUMNS,
            C=CHANNELS,
            num_warps=SEARCH_WARPS,
        )
    return idx_BNK


@triton.jit
def _nearest_kernel(
    x_ptr: tl.tensor,
    norms_ptr: tl.tensor,
    idx_ptr: tl.tensor,
    points: tl.tensor,
    channels: tl.tensor,
    k: tl.tensor,
    SLOTS: tl.constexpr,
    R: tl.constexpr,
    J: tl.constexpr,
    C: tl.constexpr,
) -> None:
    LEAST: tl.constexpr = -(2**63)
    MOST: tl.constexpr = 2**63 - 1
    blocks = tl.cdiv(points, R)
    cloud = (tl.program_id(0) // blocks).to(tl.int64)
    row_R = tl.program_id(0) % blocks * R + tl.arange(0, R)
    x_ptr += cloud * points * channels
    norms_ptr += cloud * points
    idx_ptr += cloud * points * k

    # Free slots hold different keys above any distance's; slots beyond k, one below all, are never the worst and so never replaced.
    slot_S = tl.arange(0, SLOTS)
    best_RS = tl.zeros([R, SLOTS], tl.int64) + tl.where(slot_S < k, MOST - 1 - slot_S.to(tl.int64), LEAST)[None, :]
    worst_R = tl.max(best_RS, 1)
    tiles = tl.cdiv(points, J)
    own = tl.program_id(0) % blocks * R // J
    for step in range(tiles):
        # Own tile, the one after, the one before, the second after ...: where the order of points follows the shape, the nearest come
        # first and later tiles change nothing; the other way round every tile would fill the list anew.
        away = (step + 1) // 2
        tile = (own + tl.where(step % 2 == 1, away, tiles - away)) % tiles
        column_J = tile * J + tl.arange(0, J)
        product_RJ = tl.zeros([R, J], tl.float32)
        for some in range(0, channels, C):
            channel_C = some + tl.arange(0, C)
            mask_RC = (row_R < points)[:, None] & (channel_C < channels)[None, :]
            mask_CJ = (channel_C < channels)[:, None] & (column_J < points)[None, :]
            rows_RC = tl.load(x_ptr + row_R[:, None] * channels + channel_C[None, :], mask=mask_RC, other=0.0)
            columns_CJ = tl.load(x_ptr + column_J[None, :] * channels + channel_C[:, None], mask=mask_CJ, other=0.0)
            product_RJ = tl.dot(rows_RC, columns_CJ, product_RJ, input_precision="ieee")
        distance_RJ = tl.load(norms_ptr + column_J, mask=column_J < points, other=0.0)[None, :] - 2.0 * product_RJ
        distance_RJ = tl.where(distance_RJ == distance_RJ, distance_RJ, float("inf"))
        # The bits of a float, as a whole number, rise with it where it is positive and fall where it is negative.
        bits_RJ = distance_RJ.to(tl.int32, bitcast=True)
        bits_RJ = bits_RJ ^ ((bits_RJ >> 31) & 0x7FFFFFFF)
        key_RJ = (bits_RJ.to(tl.int64) << 32) | column_J.to(tl.int64)[None, :]
        key_RJ = tl.where((column_J < points)[None, :], key_RJ, MOST)
        next_R = tl.min(key_RJ, 1)
        gains_R = (next_R >> 32) < (worst_R >> 32)  # in distance: among equals (duplicate points) the first stay
        while tl.max(gains_R.to(tl.int32), 0) > 0:
            best_RS = tl.where((best_RS == worst_R[:, None]) & gains_R[:, None], next_R[:, None], best_RS)
            worst_R = tl.max(best_RS, 1)
            key_RJ = tl.where(key_RJ == next_R[:, None], MOST, key_RJ)
            next_R = tl.min(key_RJ, 1)
            gains_R = (next_R >> 32) < (worst_R >> 32)
    kept_RS = (row_R < points)[:, None] & (slot_S < k)[None, :]
    tl.store(idx_ptr + row_R[:, None] * k + slot_S[None, :], best_RS & 0xFFFFFFFF, mask=kept_RS)
