"""Small statistics over all ranks. Without a process group, or alone in one, every function is the identity."""
from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def ranks() -> int:
    """How many ranks share the batch: the world size of the default process group, 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(stat: Tensor) -> Tensor:
    """The sum of `stat` (any shape, equal on all ranks) over ranks; no gradient flows."""
    if ranks() == 1:
        return stat
    total = stat.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def stack_over_ranks(stat: Tensor) -> Tensor:
    """[...] -> [R, ...]: `stat` of every rank in rank order, so that all ranks add them up in one order; no gradient flows."""
    if ranks() == 1:
        return stat.detach()[None]
    own = stat.detach().contiguous()
    parts = [torch.empty_like(own) for _ in range(ranks())]
    dist.all_gather(parts, own)
    return torch.stack(parts)
