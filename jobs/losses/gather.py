"""Rows of all ranks, with gradient. B rows of this rank, G rows of all ranks, E columns."""
from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_rank() -> int:
    """This process's rank in the default group, 0 without one."""
    return dist.get_rank() if _ranks() > 1 else 0


def row_counts(rows: int, device: torch.device | str) -> list[int]:
    """How many rows each rank holds, in rank order. Waits for all ranks and for the device: a loop that knows the counts passes them on."""
    if _ranks() == 1:
        return [rows]
    own = torch.tensor([rows], dtype=torch.int64, device=device)
    parts = [torch.empty_like(own) for _ in range(_ranks())]
    dist.all_gather(parts, own)
    counts: list[int] = torch.cat(parts).tolist()
    return counts


def gather_rows(x_BE: Tensor, counts: list[int]) -> Tensor:
    """[B, E] of every rank -> [G, E] in rank order; shares may differ (collectives need equal ones: the smaller are padded).

    The gradient of a row is the sum of what all ranks' losses ask of it. Without a process group the rows themselves.
    Raises ValueError when `counts` does not say one number a rank, or another one for this rank than it holds.
    """
    if len(counts) != _ranks() or counts[own_rank()] != len(x_BE):
        raise ValueError(f"rank {own_rank()} of {_ranks()} holds {len(x_BE)} rows, but the counts say {counts}")
    if _ranks() == 1:
        return x_BE
    gathered_GE: Tensor = _GatherRows.apply(x_BE, counts)
    return gathered_GE


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x_BE: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts  # type: ignore[attr-defined]
        padded = x_BE.new_zeros(max(counts), *x_BE.shape[1:])
        padded[: len(x_BE)] = x_BE
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        counts: list[int] = ctx.counts  # type: ignore[attr-defined]
        total_GE = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total_GE)
        first = sum(counts[: own_rank()])
        return total_GE[first : first + counts[own_rank()]], None
