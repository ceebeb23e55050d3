"""Points on triangles: the step from a surface to a cloud that parametric objects and meshes share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sample(
    triangles: NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """`count` points uniform over the area of triangles [T, 3, 3]: points [n, 3], unit normals [n, 3], the triangle of each [n].

    Uniform within a triangle by the square root of the first number (Osada et al. 2002, eq. 1). Degenerate triangles get none.
    """
    solid = np.flatnonzero(areas(triangles) > 0)
    a, b, c = triangles[solid].transpose(1, 0, 2)
    cross = np.cross(b - a, c - a)
    length = np.linalg.norm(cross, axis=1)
    edges = np.cumsum(length)
    face = np.minimum(np.searchsorted(edges, rng.random(count) * edges[-1], side="right"), len(solid) - 1)
    u, v = rng.random((2, count, 1))
    root = np.sqrt(u)
    points = (1 - root) * a[face] + root * (1 - v) * b[face] + root * v * c[face]
    return points, cross[face] / length[face, None], solid[face]


def areas(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of each triangle [T, 3, 3]."""
    a, b, c = triangles.transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def to_unit_ball(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangles [T, 3, 3] with the middle of their box at the origin and the farthest corner at distance 1."""
    corners = triangles.reshape(-1, 3)
    centred = triangles - (corners.min(0) + corners.max(0)) / 2
    return centred / np.linalg.norm(centred, axis=2).max()
