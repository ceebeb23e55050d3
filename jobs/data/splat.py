"""A z-buffer renderer of dense surface samples, in numpy alone: shaded views without any graphics library."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ELEVATION = np.deg2rad(25.0)
LIGHT = np.array([0.35, 0.75, 0.56])  # over the camera's shoulder, unit length
AMBIENT = 0.35
SUPERSAMPLE = 2  # rendered this much larger, then averaged: smooth edges
DENSITY = 8  # samples a pixel of the image that leave no holes in a surface
SPLAT = 3  # pixels a side, of the larger image, that a point covers: no holes between samples
DEPTH_STEPS = 1 << 24  # a unit of depth
NUMBER_BITS = 24  # of a point's number: 16 million points
FILL = 0.92  # of the image's half side that the unit ball reaches


def azimuths(views: int, first: float) -> NDArray[np.float64]:
    """Evenly spaced camera angles about y, in radians."""
    return first + 2 * np.pi * np.arange(views) / max(views, 1)


def render(
    points: NDArray[np.floating], normals: NDArray[np.floating], colours: NDArray[np.floating], azimuth: float, size: int
) -> NDArray[np.uint8]:
    """One shaded RGBA view [size, size, 4], orthographic, camera 25 degrees above the horizon; white and transparent behind.

    points [n, 3] in the unit ball, y up; normals [n, 3] of unit length, either side; colours [n, 3] in [0, 1].
    """
    camera = _camera(azimuth)
    side = size * SUPERSAMPLE
    nearest = _nearest(points @ camera.T, side)
    seen = nearest >= 0
    which = nearest[seen]
    tone = AMBIENT + (1 - AMBIENT) * np.abs(normals[which] @ camera.T @ LIGHT)
    image = np.full((side, side, 4), (255, 255, 255, 0), np.uint8)
    image[seen, :3] = np.clip(np.rint(colours[which] * tone[:, None] * 255), 0, 255)
    image[seen, 3] = 255
    return _averaged(image)


def _nearest(seen: NDArray[np.floating], side: int) -> NDArray[np.int64]:
    """The point that each pixel shows, [side, side], -1 where none: the one nearest the camera among those that cover the pixel.

    One whole number a point, depth above, number below, makes the z-buffer a maximum: over points, then over neighbouring pixels.
    """
    column, row = np.clip((seen[:, :2].T * [[FILL], [-FILL]] + 1) * (side / 2), 0, side - 1).astype(np.int64)
    depth = np.rint((seen[:, 2] + 2) * DEPTH_STEPS).astype(np.int64)  # over 0 for all of the unit ball
    keys = np.full((side + SPLAT - 1) ** 2, -1, np.int64)
    wide = side + SPLAT - 1  # a margin that a splat at the edge may cover
    np.maximum.at(keys, (row + SPLAT // 2) * wide + column + SPLAT // 2, depth << NUMBER_BITS | np.arange(len(seen)))
    image = keys.reshape(wide, wide)
    image = np.max([image[shift : shift + side] for shift in range(SPLAT)], axis=0)
    image = np.max([image[:, shift : shift + side] for shift in range(SPLAT)], axis=0)
    return np.where(image < 0, -1, image & ((1 << NUMBER_BITS) - 1))


def png(image: NDArray[np.uint8]) -> bytes:
    """The image [H, W, 4] as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _camera(azimuth: float) -> NDArray[np.float64]:
    """Rows: right, up and towards the camera."""
    c, s = np.cos(azimuth), np.sin(azimuth)
    turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    c, s = np.cos(ELEVATION), np.sin(ELEVATION)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ turn


def _averaged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blocks of SUPERSAMPLE pixels a side averaged; the background is white, so plain means of all four channels are right."""
    side = len(image) // SUPERSAMPLE
    return image.reshape(side, SUPERSAMPLE, side, SUPERSAMPLE, 4).mean((1, 3)).round().astype(np.uint8)
