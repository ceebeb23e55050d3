"""Exact k nearest neighbours of clouds, in chunks. B clouds, N points, C channels, K neighbours, R rows of distances."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .clouds import check_finite
from .copies import Layout
from .tf32 import without_tf32

try:  # as in maximum.py
    from .triton_launch import can_launch
    from .triton_neighbours import fused_nearest, worth_fusing
except ImportError:
    can_launch = None  # type: ignore[assignment]

CHUNK_BYTES = 2 * 2**20  # of distances held at once on a CPU: selecting from them must find them in a core's cache
GPU_CHUNK_BYTES = 1024 * 2**20
BLOCKS = (8, 4)  # points a block of the two-stage selection, the first that leaves it twice as many blocks as neighbours


def nearest(x_BNC: Tensor, k: int) -> Tensor:
    """[B, N, C] -> idx_BNK int64: of each point the k points of its cloud nearest in squared distance, itself among them, in no order.

    Distances are |x_j|^2 - 2 x_i.x_j, the published ordering (Wang et al. 2019) up to the constant |x_i|^2, in the clouds' own precision
    (at least float32, also under autocast). Points at equal distance are taken in no particular order. Memory is bounded by CHUNK_BYTES
    (or one point's distances), whatever the batch. Raises ValueError when k > N or k < 1, and when a value is NaN or infinite.
    """
    check_finite(x_BNC)
    return nearest_features(x_BNC, k)


def nearest_rows(rows_MC: Tensor, layout: Layout, k: int) -> Tensor:
    """`nearest_features` of clouds without copies -> idx_MK, row numbers; the first row of a cloud once for each copy among the nearest."""
    idx_MK = torch.empty(len(rows_MC), k, dtype=torch.int64, device=rows_MC.device)
    for _, first, clouds, size, copies in layout.runs(len(rows_MC)):
        span = slice(first, first + clouds * size)
        idx_BNK = nearest_features(rows_MC[span].view(clouds, size, -1), k, copies)
        starts_B11 = torch.arange(first, span.stop, size, device=rows_MC.device)[:, None, None]
        idx_MK[span] = (idx_BNK + starts_B11).view(-1, k)
    return idx_MK


@torch.no_grad()
def nearest_features(x_BNC: Tensor, k: int, copies: int = 0) -> Tensor:
    """`nearest` for features inside a network, whose values are not looked at: a training that diverges must reach its loss, where all
    ranks stop together, and looking would wait for the device. Each cloud's first point counts as `copies` points more."""
    clouds, size, _ = x_BNC.shape
    if not 1 <= k <= size + copies:
        raise ValueError(
            f"k is {k} neighbours for clouds of {size + copies} points: choose k between 1 and {size + copies}, or sample more points"
        )
    x_BNC = x_BNC.detach().to(torch.promote_types(x_BNC.dtype, torch.float32))
    if can_launch is not None and can_launch(x_BNC) and worth_fusing(k, x_BNC.shape[2]) and not copies:
        return fused_nearest(x_BNC, k)
    budget = GPU_CHUNK_BYTES if x_BNC.is_cuda else CHUNK_BYTES
    known = size + min(copies, k - 1)  # more copies than these are never among the k
    points = known if x_BNC.is_cuda else known + -known % BLOCKS[0]
    row_bytes = points * x_BNC.element_size()
    some_rows = max(1, min(size, budget // row_bytes))  # of one cloud
    some_clouds = max(1, budget // (size * row_bytes))
    idx_BNK = torch.empty(clouds, size, k, dtype=torch.int64, device=x_BNC.device)
    buffer = x_BNC.new_empty(min(some_clouds, clouds) * some_rows * points)  # reused: fresh pages cost more than the product
    with torch.autocast(x_BNC.device.type, enabled=False), without_tf32():  # ten bits of mantissa would choose other neighbours
        for group in (slice(first, first + some_clouds) for first in range(0, clouds, some_clouds)):
            queries_BNC = group_BNC = x_BNC[group]
            if points > size:  # the copies, and columns infinitely far that fill the last block
                first_BNC = group_BNC[:, :1].expand(-1, points - size, -1)
                group_BNC = torch.cat([group_BNC, first_BNC], 1)
            norms_BN1 = group_BNC.square().sum(2, keepdim=True)
            norms_BN1[:, known:] = torch.inf
            keys_BEN = torch.cat([group_BNC * -2, norms_BN1], 2).transpose(1, 2)  # [x_i, 1] times [-2 x_j, |x_j|^2]: one product, no sum
            queries_BNE = F.pad(queries_BNC, (0, 1), value=1.0)
            for rows in (slice(first, first + some_rows) for first in range(0, size, some_rows)):
                rows_BRE = queries_BNE[:, rows]
                distances_BRN = buffer[: rows_BRE.shape[0] * rows_BRE.shape[1] * points].view(*rows_BRE.shape[:2], points)
                torch.bmm(rows_BRE, keys_BEN, out=distances_BRN)
                idx_BNK[group, rows] = _smallest(distances_BRN, k)
    return idx_BNK.masked_fill_(idx_BNK >= size, 0) if points > size else idx_BNK


def _smallest(distances_BRN: Tensor, k: int) -> Tensor:
    """Indices of the k smallest of each row.

    The k smallest values lie in the k blocks with the smallest minima: a value in any other block is not below the minima of those k.
    Choosing blocks first, in the same way, leaves topk a fraction of the columns, while block minima come at vector speed: more than twice
    as fast.
    """
    points = distances_BRN.shape[2]
    block = next((size for size in BLOCKS if points % size == 0 and points >= 2 * k * size), None)
    if distances_BRN.is_cuda or block is None:
        return distances_BRN.topk(k, dim=2, largest=False, sorted=False).indices
    blocks = points // block
    minima = distances_BRN.unflatten(2, (block, blocks)).amin(2)  # a block is every blocks-th column: rows of minima are contiguous
    chosen_BRK = _smallest(minima, k)
    columns = (chosen_BRK[..., None] + torch.arange(block, device=minima.device) * blocks).flatten(2)
    best_BRK = distances_BRN.gather(2, columns).topk(k, dim=2, largest=False, sorted=False).indices
    return columns.gather(2, best_BRK)
