"""The published point augmentation, batched: parameters are drawn a sample, arithmetic is done once for the batch.

Order and ranges are those of CrossPoint (Afham et al. 2022), which CrossNet and AdaCrossNet keep. B clouds of M stored and N used points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SCALE = (0.5, 2.0)
TRANSLATE = 0.5  # of each axis's extent
JITTER_DEVIATION, JITTER_CLIP = 0.01, 0.05
MAX_DROPOUT = 0.875


def normalise(points_BNC: Tensor) -> Tensor:
    """Clouds [B, N, 3] moved to their centroid and scaled to the unit ball; a cloud in one place goes to the origin."""
    # float64 sums: the mean then rounds to the same float32 whatever the batch's size and the number of threads
    centred = points_BNC - points_BNC.double().mean(1, keepdim=True).to(points_BNC.dtype)
    radius_B11 = centred.square().sum(2).amax(1).sqrt()[:, None, None]
    return centred / torch.where(radius_B11 > 0, radius_B11, torch.ones_like(radius_B11))


def subset(generator: np.random.Generator, stored: int, wanted: int) -> NDArray[np.int64]:
    """`wanted` of `stored` rows, at random and in random order, none twice. ValueError when there are not so many."""
    if wanted > stored:
        raise ValueError(
            f"{wanted} points a cloud asked of shapes that store {stored}: prepare with data.points >= {wanted}, or lower points"
        )
    return generator.permutation(stored)[:wanted]


def resample(generator: np.random.Generator, stored: int, wanted: int) -> NDArray[np.int64]:
    """`wanted` of `stored` rows: a subset where there are so many, else every row once and then some of them again."""
    if wanted <= stored:
        return subset(generator, stored, wanted)
    return np.concatenate([np.arange(stored), generator.integers(stored, size=wanted - stored)])


def augment_clouds(points_BMC: Sequence[NDArray[np.float32]], generators: Sequence[np.random.Generator], points: int) -> Tensor:
    """One augmented view of each cloud: B arrays [M, 3] (M may differ) and B generators give float32 [B, N, 3], N = `points`.

    A random subset of N points; then, each with probability 1: to the unit ball; scale U(0.5, 2); a full random turn about y (up);
    translation of each axis by U(-0.5, 0.5) of its extent; jitter N(0, 0.01) clipped at 0.05; dropout: r = U(0, 0.875), each point
    becomes the first one with probability r. Raises ValueError when a cloud stores fewer than N points.
    """
    batch = len(points_BMC)
    chosen = np.empty((batch, points, 3), np.float32)
    numbers = np.empty((batch, 6), np.float32)  # scale, angle, three translations, dropout ratio
    noise = np.empty((batch, points, 3), np.float32)
    chance = np.empty((batch, points), np.float32)
    for row, (cloud, generator) in enumerate(zip(points_BMC, generators, strict=True)):
        chosen[row] = cloud[subset(generator, len(cloud), points)]
        numbers[row] = generator.random(6)
        generator.standard_normal(dtype=np.float32, out=noise[row])
        generator.random(dtype=np.float32, out=chance[row])
    scale, angle, *_ = draws = torch.from_numpy(numbers).T
    view = normalise(torch.from_numpy(chosen))
    view = view * (SCALE[0] + (SCALE[1] - SCALE[0]) * scale)[:, None, None]
    view = turned(view, 2 * np.pi * angle)
    extent_B1C = (view.amax(1) - view.amin(1))[:, None, :]
    view = view + extent_B1C * TRANSLATE * (2 * draws[2:5].T - 1)[:, None, :]
    view = view + (JITTER_DEVIATION * torch.from_numpy(noise)).clamp(-JITTER_CLIP, JITTER_CLIP)
    dropped_BN1 = (torch.from_numpy(chance) <= MAX_DROPOUT * draws[5][:, None])[:, :, None]
    return torch.where(dropped_BN1, view[:, :1], view)


def turned(points_BNC: Tensor, angle_B: Tensor) -> Tensor:
    """Clouds turned about y. Written out, not as a matrix product, so that a row's result does not depend on its batch."""
    c, s = angle_B.cos()[:, None], angle_B.sin()[:, None]
    x, y, z = points_BNC.unbind(2)
    return torch.stack([c * x + s * z, y, c * z - s * x], 2)
