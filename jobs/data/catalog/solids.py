"""Primitives that objects are built from: each gives triangles [T, 3, 3]; y is up, lengths are in units of the object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Triangles = NDArray[np.float64]
Vector = tuple[float, float, float]

_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def box(size: Vector, centre: Vector) -> Triangles:
    """An axis-aligned box."""
    quads = (_CORNERS * size + centre)[_QUADS]
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def lathe(profile: Sequence[tuple[float, float]], centre: Vector = (0, 0, 0), segments: int = 20) -> Triangles:
    """The profile of (radius, height) points turned about the y axis: cylinders, cones, ellipsoids, bottles."""
    radius, height = np.array(profile, float).T
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    rings = np.stack([radius[:, None] * np.cos(angle), np.repeat(height[:, None], segments + 1, 1), radius[:, None] * np.sin(angle)], 2)
    return _grid(rings) + np.array(centre)


def cylinder(radius: float, low: float, high: float, centre: Vector = (0, 0, 0), top: float | None = None) -> Triangles:
    """A closed cylinder from height `low` to `high`; with `top` another radius there: a cone or its frustum."""
    end = radius if top is None else top
    return lathe([(0, low), (radius, low), (end, high), (0, high)], centre)


def ellipsoid(size: Vector, centre: Vector) -> Triangles:
    """An ellipsoid of these full axes."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 11)
    ball = lathe([(0.5 * np.cos(t), 0.5 * np.sin(t)) for t in turn])
    return ball * size + np.array(centre)


def tube(path: Sequence[Sequence[float]] | NDArray[np.float64], radius: float, sides: int = 8) -> Triangles:
    """A round rod along a path [P, 3]: legs that lean, handles, cables, rails."""
    points = np.asarray(path, float)
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    steady = np.eye(3)[np.abs(along).mean(0).argmin()]  # the axis that the path follows least
    side = np.cross(along, steady)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(along, side)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    rings = points[:, None] + radius * (np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * other[:, None])
    return _grid(rings)


def arc(radius: tuple[float, float], start: float, stop: float, centre: Vector) -> NDArray[np.float64]:
    """A path [12, 3] in the x y plane: part of an ellipse between two angles in radians."""
    angle = np.linspace(start, stop, 12)
    return np.stack([radius[0] * np.cos(angle), radius[1] * np.sin(angle), np.zeros_like(angle)], 1) + np.array(centre)


def plate(outline: Sequence[tuple[float, float]], low: float, high: float) -> Triangles:
    """A convex outline of (x, z) points thickened from height `low` to `high`: wings, fins, hulls, tops."""
    flat = np.array(outline, float)
    lower, upper = (np.insert(flat, 1, height, axis=1) for height in (low, high))
    return prism(lower, upper)


def prism(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> Triangles:
    """Two convex outlines [P, 3] with as many corners, joined side by side and closed."""
    rim = np.stack([np.concatenate([lower, lower[:1]]), np.concatenate([upper, upper[:1]])])
    return np.concatenate([_grid(rim), _fan(lower), _fan(upper)])


def moved(triangles: Triangles, by: Vector) -> Triangles:
    """Shifted."""
    return triangles + np.array(by)


def turned(triangles: Triangles, axis: int, angle: float, about: Vector = (0, 0, 0)) -> Triangles:
    """Turned about an axis (0 x, 1 y, 2 z) through `about`, radians."""
    first, second = [other for other in range(3) if other != axis]
    matrix = np.eye(3)
    matrix[[first, first, second, second], [first, second, first, second]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return (triangles - about) @ matrix.T + np.array(about)


def mirrored(triangles: Triangles, axis: int) -> Triangles:
    """The solid together with its mirror image."""
    return np.concatenate([triangles, triangles * np.where(np.arange(3) == axis, -1.0, 1.0)])


def _grid(rings: NDArray[np.float64]) -> Triangles:
    """Triangles between neighbouring points of a grid [R, S, 3]."""
    a, b, c, d = rings[:-1, :-1], rings[:-1, 1:], rings[1:, 1:], rings[1:, :-1]
    return np.concatenate([np.stack([a, b, c], 2).reshape(-1, 3, 3), np.stack([a, c, d], 2).reshape(-1, 3, 3)])


def _fan(corners: NDArray[np.float64]) -> Triangles:
    return np.stack([np.broadcast_to(corners[0], corners[2:].shape), corners[1:-1], corners[2:]], 1)
