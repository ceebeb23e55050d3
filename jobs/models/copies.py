"""Clouds without the copies of their first point. B clouds, N points, C channels, M rows of all clouds together.

The published augmentation drops a point by moving it onto the cloud's first one (jobs/data/augment.py): on average 43% of the points of a
training view are such copies. An encoder that works on rows carries the first point once and counts it as often as it stands there, with
the same result: equal points have equal features in every layer.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor


class Layout(NamedTuple):
    """How M rows make B clouds, cloud by cloud."""

    sizes: tuple[int, ...]  # rows of each cloud
    copies: tuple[int, ...]  # how many more points its first row stands for

    def runs(self, most_rows: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Neighbouring clouds alike, as (first cloud, first row, clouds, size, copies), of at most `most_rows` rows or one cloud."""
        cloud = row = 0
        for (size, copies), alike in groupby(zip(self.sizes, self.copies, strict=True)):
            left = len(list(alike))
            while left:
                clouds = max(1, min(left, most_rows // size))
                yield cloud, row, clouds, size, copies
                cloud, row, left = cloud + clouds, row + clouds * size, left - clouds

    def times(self, like: Tensor) -> Tensor | None:
        """times_M: how many points each row stands for, in the type of `like`; None where each is one point."""
        if not any(self.copies):
            return None
        sizes_B = torch.tensor(self.sizes, device=like.device)
        times_M = like.new_ones(sum(self.sizes))
        times_M[sizes_B.cumsum(0) - sizes_B] += torch.tensor(self.copies, dtype=like.dtype, device=like.device)
        return times_M


def without_copies(points_BNC: Tensor) -> tuple[Tensor, Layout]:
    """[B, N, C] -> rows_MC and their layout. On a GPU all points are kept: clouds of unequal size would be worked on one by one."""
    clouds, points, channels = points_BNC.shape
    if not points_BNC.is_cuda and points > 1:
        copy_BN = (points_BNC == points_BNC[:, :1]).all(2)
        copy_BN[:, 0] = False
        copies = copy_BN.sum(1).tolist()
        if any(copies):
            return points_BNC[~copy_BN], Layout(tuple(points - count for count in copies), tuple(copies))
    return points_BNC.reshape(clouds * points, channels), Layout((points,) * clouds, (0,) * clouds)
