"""Synthetic shapes from a seed: parametric objects turned at random about the up axis, each point with its semantic part, and views."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.config.datasets import Synthetic
from jobs.data.catalog.solids import Triangles
from jobs.data.catalog.tables import OBJECTS, PART_NAMES
from jobs.data.draws import generator
from jobs.data.items import Item, Shape, content_of
from jobs.data.splat import DENSITY, azimuths, png, render
from jobs.data.surface import sample, to_unit_ball

VARIANT = "rotated about y"
# Of every ten shapes of a class: a set this small needs more than a tenth to judge an encoder on.
SPLITS = ("train", "test", "val", "train", "train", "test", "val", "train", "train", "test")
STRETCH = 0.15  # each axis is scaled by up to this fraction either way
NOISE = (0.005, 0.03)  # a shape's standard deviation of its points, of the unit ball's radius
THINNING = 2.5  # the most by which the logarithm of the density falls over a unit of length, in a direction of the shape's own
CANDIDATES = 4  # points sampled for each that is kept
TILT = 0.06  # standard deviation of the pitch and roll, radians


def list_items(cfg: Synthetic) -> list[Item]:
    """Shapes spread evenly over the categories; the first categories have one more where they do not divide."""
    names = list(OBJECTS)
    counts = [cfg.shapes // len(names) + (place < cfg.shapes % len(names)) for place in range(len(names))]
    items = [
        Item(f"{name}/{number:05d}", name, SPLITS[number % len(SPLITS)])
        for name, count in zip(names, counts, strict=True)
        for number in range(count)
    ]
    return sorted(items, key=lambda item: item.id)


def read(item: Item, cfg: Synthetic) -> Shape:
    """The shape of an item: a function of (seed, id, points, views, image size); its content of (seed, id) alone."""
    rng = generator("synthetic", cfg.seed, item.id)
    triangles, parts = _object(item.category, rng)
    triangles = _placed(triangles, rng)
    cloud, face = _scanned(triangles, cfg.points, rng)
    return Shape(cloud, content_of(triangles.reshape(-1, 3)), parts[face], _views(triangles, parts, cfg, rng))


def _object(category: str, rng: np.random.Generator) -> tuple[Triangles, NDArray[np.int16]]:
    """Triangles and the part of each."""
    solids = [
        (PART_NAMES.index(f"{category}/{name}"), solid)
        for name, solid in OBJECTS[category](lambda low, high: float(rng.uniform(low, high)), lambda chance: bool(rng.random() < chance))
    ]
    triangles = np.concatenate([solid for _, solid in solids])
    return triangles, np.concatenate([np.full(len(solid), part, np.int16) for part, solid in solids])


def _placed(triangles: Triangles, rng: np.random.Generator) -> Triangles:
    """Stretched, tilted a little, turned about y by any angle, and brought to the unit ball."""
    stretch = 1 + rng.uniform(-STRETCH, STRETCH, 3)
    pitch, roll = TILT * rng.standard_normal(2)
    turn = rng.uniform(0, 2 * np.pi)
    return to_unit_ball(triangles * stretch @ (_turn(1, turn) @ _turn(0, pitch) @ _turn(2, roll)).T)


def _turn(axis: int, angle: float) -> NDArray[np.float64]:
    first, second = [other for other in range(3) if other != axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def _scanned(triangles: Triangles, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points [n, 3] and their triangles as a scanner would see them: denser on one side, and noisy. Even, clean clouds are too easy."""
    cloud, _, face = sample(triangles, CANDIDATES * count, rng)
    towards = rng.standard_normal(3)
    weights = rng.uniform(0, THINNING) * cloud @ (towards / np.linalg.norm(towards))
    kept = np.argsort(-(weights + rng.gumbel(size=len(cloud))))[:count]  # without replacement, by weight (Gumbel's trick)
    noise = rng.uniform(*NOISE) * rng.standard_normal((count, 3))
    return (cloud[kept] + noise).astype(np.float32), face[kept]


def _views(triangles: Triangles, parts: NDArray[np.int16], cfg: Synthetic, rng: np.random.Generator) -> list[bytes]:
    """Shaded views from evenly spaced azimuths; a material a shape, its parts a little lighter or darker."""
    dense = int(np.clip(DENSITY * cfg.image_size**2, 12_000, 600_000))
    points, normals, face = sample(triangles, dense, rng)
    material, shades = rng.uniform(0.25, 0.95, 3), rng.uniform(0.8, 1.1, len(PART_NAMES))
    colours = np.clip(material * shades[parts[face], None], 0, 1)
    return [png(render(points, normals, colours, azimuth, cfg.image_size)) for azimuth in azimuths(cfg.views, rng.uniform(0, 2 * np.pi))]
