"""Draws that depend on what they are for, never on who makes them: counter-based generators keyed by (seed, epoch, sample, branch)."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def _key(*parts: int | str) -> int:
    """128 bits of a tuple; each part's length goes in, so that no two tuples run together."""
    text = "\x1f".join(f"{type(part).__name__}{len(str(part))}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def generator(*parts: int | str) -> np.random.Generator:
    """The Philox generator of a tuple of seeds and names: equal tuples give equal streams, on any machine and in any process."""
    return np.random.Generator(np.random.Philox(key=_key(*parts)))


def sample_generator(seed: int, epoch: int, sample_id: str, branch: str) -> np.random.Generator:
    """The generator of one sample's branch (a view, an image) in an epoch."""
    return generator("sample", seed, epoch, sample_id, branch)


def batch_order(seed: int, epoch: int, count: int, batch: int) -> NDArray[np.int64]:
    """Rows of every global batch of an epoch, [steps, batch]; the last, incomplete batch is dropped.

    Raises ValueError when not even one batch can be filled.
    """
    if batch < 1:
        raise ValueError(f"a batch of {batch} shapes: ask for at least 1")
    if batch > count:
        raise ValueError(
            f"the batch is {batch} but the dataset holds {count} shapes: lower pretrain.batch to {count} or less, or prepare more shapes"
        )
    steps = count // batch
    return generator("order", seed, epoch).permutation(count)[: steps * batch].reshape(steps, batch).astype(np.int64)


def share(rows: NDArray[np.int64], rank: int, world: int) -> NDArray[np.int64]:
    """This rank's contiguous part of a batch's rows; the parts of all ranks, concatenated, are the batch, and differ by one row at most."""
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world}: ranks count from 0 to {world - 1}")
    start, stop = (len(rows) * r // world for r in (rank, rank + 1))
    return rows[start:stop]


def step_seed(seed: int, step: int) -> int:
    """A 63-bit seed of what is drawn once a batch (dropout, for one) at a global step."""
    return _key("step", seed, step) >> 65
