"""Runs a check in gloo groups of several processes and sets its answer beside that of one process."""
from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

Answer = dict[str, Tensor]
Check = Callable[[], Answer]


def own_share(rows: int) -> slice:
    """This rank's contiguous rows of `rows`: the first ranks hold one more where they do not divide evenly."""
    world, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    each, more = divmod(rows, world)
    first = rank * each + min(rank, more)
    return slice(first, first + each + (rank < more))


def assert_ranks_equal_one_process(check: Check, folder: Path, atol: float, worlds: tuple[int, ...] = (2, 3)) -> None:
    """`check` in groups of each size against itself without a group.

    By the name of an answer: `rows/...` of the ranks are joined, `sum/...` added, and `same/...` must be bitwise equal on all ranks.
    """
    expected = check()
    assert expected
    mp.spawn(_member, (check, str(folder), worlds), nprocs=max(worlds))
    for world in worlds:
        answers = [torch.load(folder / f"{world}-{rank}.pt", weights_only=True) for rank in range(world)]
        for name, value in expected.items():
            parts = [answer[name] for answer in answers]
            if name.startswith("rows/"):
                found = torch.cat(parts)
            elif name.startswith("sum/"):
                found = torch.stack(parts).sum(0)
            else:
                assert name.startswith("same/"), name
                assert all(torch.equal(part, parts[0]) for part in parts), f"{name} differs between {world} ranks"
                found = parts[0]
            torch.testing.assert_close(found, value, rtol=1e-9, atol=atol, msg=partial("{}, {} ranks: {}".format, name, world))


def _member(process: int, check: Check, folder: str, worlds: tuple[int, ...]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    for world in worlds:
        if process < world:
            dist.init_process_group("gloo", init_method=f"file://{folder}/meet-{world}", rank=process, world_size=world)
            torch.save(check(), f"{folder}/{world}-{process}.pt")
            dist.destroy_process_group()
