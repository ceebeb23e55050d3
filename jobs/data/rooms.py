"""Rooms cut into blocks as the S3DIS release of Qi et al. 2017 ("PointNet") cuts them. n points of a room, N stored ones of a block."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from jobs.data.draws import generator
from jobs.data.items import Reject

CLASSES = (
    "ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa", "bookcase", "board", "clutter",
)  # fmt: skip  # Armeni et al. 2016, in the order of the release's labels
CHANNELS = 9  # place in the block (x, y from its middle, z from the floor), red, green, blue of 1, place in the room of 1; metres, z up
IN_ROOM = slice(6, 9)  # channels of the place in the room
SIDE = 1.0  # metres of a block
MOST_SQUARES = 200_000  # blocks of a room, empty ones too: the largest of S3DIS has some ten thousand at the smallest stride
FEWEST = 100  # points of a block; one of fewer is left out, as in the release


def blocks(
    xyz_N3: NDArray[np.float64],
    rgb_N3: NDArray[np.floating],
    classes_N: NDArray[np.int64],
    *,
    name: str,
    seed: int,
    points: int,
    stride: float,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int16]]]:
    """The blocks [points, 9] of a room with their points' classes, in the release's order (x outermost).

    xyz in metres, rgb of 255. Where a block holds more than `points`, they are drawn with replacement; where it holds fewer, all are taken
    and some drawn again: both as the release did. Draws depend on (seed, name, number of the block).
    """
    place = xyz_N3 - xyz_N3.min(0)
    limit = place.max(0)
    steps = [max(1, math.ceil((limit[axis] - SIDE) / stride) + 1) for axis in (0, 1)]
    if steps[0] * steps[1] > MOST_SQUARES:
        size = f"{limit[0]:.0f} m by {limit[1]:.0f} m"
        raise Reject(f"is {size}, more than {MOST_SQUARES} blocks: a point lies far away, or the stride is tiny")
    number = 0
    for x in range(steps[0]):
        for y in range(steps[1]):
            low = np.array([x, y]) * stride
            inside = np.flatnonzero(((place[:, :2] >= low) & (place[:, :2] <= low + SIDE)).all(1))
            if len(inside) < FEWEST:
                continue
            chosen = inside[_sampled(len(inside), points, generator("block", seed, name, number))]
            number += 1
            block = np.empty((points, CHANNELS), np.float32)
            block[:, :3] = place[chosen]
            block[:, :2] -= place[chosen, :2].min(0) + SIDE / 2
            block[:, 3:6] = rgb_N3[chosen] / 255.0
            block[:, 6:] = place[chosen] / np.where(limit > 0, limit, 1)
            yield block, classes_N[chosen].astype(np.int16)


def _sampled(have: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if have >= wanted:
        return np.arange(have) if have == wanted else rng.integers(have, size=wanted)
    return np.concatenate([np.arange(have), rng.integers(have, size=wanted - have)])
