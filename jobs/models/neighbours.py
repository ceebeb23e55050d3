"""Exact k nearest neighbours of clouds, in chunks. B clouds, N points, C channels, K neighbours."""
from __future__ import annotations

import torch
from torch import Tensor

CHUNK_BYTES = 64 * 2**20  # of distances held at once on a CPU; about what the last-level cache and a step's other tensors leave room for
GPU_CHUNK_BYTES = 1024 * 2**20
BLOCK = 4  # points a block of the two-stage selection


def nearest(x_BNC: Tensor, k: int) -> Tensor:
    """[B, N, C] -> idx_BNK int64: of each point the k points of its cloud nearest in squared distance, itself among them, in no order.

    Distances are |x_j|^2 - 2 x_i.x_j, the published ordering (Wang et al. 2019) up to the constant |x_i|^2, in the clouds' own precision
    (at least float32, also under autocast). Points at equal distance are taken in no particular order. Memory is bounded by CHUNK_BYTES
    (or one cloud's distances), whatever the batch. Raises ValueError when k > N or k < 1, and when a value is NaN or infinite.
    """
    if not bool(torch.isfinite(x_BNC).all()):
        cloud = int((~torch.isfinite(x_BNC)).flatten(1).any(1).nonzero()[0, 0])
        raise ValueError(f"cloud {cloud} of the batch holds NaN or infinite values: verify the dataset that it comes from")
    return nearest_features(x_BNC, k)


@torch.no_grad()
def nearest_features(x_BNC: Tensor, k: int) -> Tensor:
    """`nearest` for features inside a network, whose values are not looked at: a training that diverges must reach its loss, where all
    ranks stop together, and looking would wait for the device."""
    clouds, points, _ = x_BNC.shape
    if not 1 <= k <= points:
        raise ValueError(f"k is {k} neighbours for clouds of {points} points: choose k between 1 and {points}, or sample more points")
    x_BNC = x_BNC.detach().to(torch.promote_types(x_BNC.dtype, torch.float32))
    budget = GPU_CHUNK_BYTES if x_BNC.is_cuda else CHUNK_BYTES
    step = max(1, budget // (points * points * x_BNC.element_size()))
    idx_BNK = torch.empty(clouds, points, k, dtype=torch.int64, device=x_BNC.device)
    with torch.autocast(x_BNC.device.type, enabled=False):
        for first in range(0, clouds, step):
            some_BNC = x_BNC[first : first + step]
            norms_B1N = some_BNC.square().sum(2)[:, None, :]
            distances_BNN = torch.baddbmm(norms_B1N, some_BNC, some_BNC.transpose(1, 2), alpha=-2)
            idx_BNK[first : first + step] = _smallest(distances_BNN, k)
    return idx_BNK


def _smallest(distances_BNN: Tensor, k: int) -> Tensor:
    """Indices of the k smallest of each row.

    The k smallest values lie in the k blocks with the smallest minima: a value in any other block is not below the minima of those k.
    Choosing blocks first leaves topk a fraction of the columns, while block minima come at vector speed: up to twice as fast where topk
    would partition whole rows; where 64 k <= N it takes a heap instead, and is the faster.
    """
    points = distances_BNN.shape[2]
    if distances_BNN.is_cuda or points % BLOCK or not 3 * BLOCK * k <= points < 64 * k:
        return distances_BNN.topk(k, dim=2, largest=False, sorted=False).indices
    blocks = points // BLOCK
    minima = distances_BNN.unflatten(2, (BLOCK, blocks)).amin(2)  # a block is every blocks-th column: rows of minima are contiguous
    chosen_BNK = minima.topk(k, dim=2, largest=False, sorted=False).indices
    columns = (chosen_BNK[..., None] + torch.arange(BLOCK, device=minima.device) * blocks).flatten(2)
    best_BNK = distances_BNN.gather(2, columns).topk(k, dim=2, largest=False, sorted=False).indices
    return columns.gather(2, best_BNK)
