"""Made-up rooms from a seed, in the form of S3DIS: six areas, blocks of nine numbers a point, 13 classes. z is up, lengths in metres."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from jobs.config.datasets import SyntheticRooms
from jobs.data.catalog.solids import Triangles, box, moved
from jobs.data.catalog.tables import OBJECTS
from jobs.data.draws import generator
from jobs.data.items import Item, Shape, content_of
from jobs.data.rooms import CLASSES, blocks
from jobs.data.s3dis import split_of
from jobs.data.surface import areas, sample

AREAS = 6
DENSITY = 900.0  # points a square metre of surface
NOISE = 0.01  # metres, standard deviation of a point
THIN = 0.04  # metres of what hangs on a wall
# What stands in a room: class, its object of the catalog, height in metres, how many at least and at most.
STANDING = (
    ("table", "table", 0.75, 0, 2), ("table", "desk", 0.75, 0, 1), ("chair", "chair", 0.9, 1, 4), ("sofa", "sofa", 0.8, 0, 1),
    ("bookcase", "shelf", 1.9, 0, 2), ("clutter", "lamp", 1.4, 0, 1), ("clutter", "vase", 0.5, 0, 2), ("clutter", "stool", 0.5, 0, 1),
)  # fmt: skip
# Typical colour of a class, of 255; a thing's own differs from it by up to TINT.
COLOURS = {
    "ceiling": (225, 225, 220), "floor": (120, 105, 95), "wall": (205, 200, 185), "beam": (200, 195, 180), "column": (195, 190, 180),
    "window": (150, 175, 200), "door": (135, 95, 65), "table": (150, 115, 80), "chair": (70, 75, 95), "sofa": (110, 60, 55),
    "bookcase": (125, 90, 60), "board": (235, 240, 240), "clutter": (140, 140, 130),
}  # fmt: skip
TINT = 35.0


def list_items(cfg: SyntheticRooms) -> list[Item]:
    """Rooms spread evenly over the six areas."""
    rooms: dict[str, list[str]] = {}
    for number in range(cfg.rooms):
        rooms.setdefault(f"Area_{number % AREAS + 1}", []).append(f"office_{number // AREAS + 1}")
    return sorted(
        (Item(f"{area}/{room}", area, split_of(area, room, cfg, rooms)) for area, names in rooms.items() for room in names),
        key=lambda item: item.id,
    )


def read(item: Item, cfg: SyntheticRooms) -> Iterator[Shape]:
    """The blocks of a room: a function of (seed, id, points, stride)."""
    rng = generator("synthetic room", cfg.seed, item.id)
    xyz, rgb, classes = room(rng)
    for points, labels in blocks(xyz, rgb, classes, name=item.id, seed=cfg.seed, points=cfg.points, stride=cfg.stride):
        yield Shape(points, content_of(points), labels)


def variant(cfg: SyntheticRooms) -> str:
    """How they are cut, and what is held out."""
    return f"made-up rooms in blocks of 1 m, stride {cfg.stride:g} m; Area_{cfg.test_area} held out"


def room(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Points [n, 3] z up, colours [n, 3] of 255, and classes [n] of a furnished room of 2.5 to 4.5 m a side."""
    width, depth, height = rng.uniform(2.5, 4.5), rng.uniform(2.5, 4.5), rng.uniform(2.4, 3.0)
    things = [*_shell(width, depth, height, rng), *_standing(width, depth, rng)]
    clouds, colours, classes = [], [], []
    for name, triangles in things:
        points, _, _ = sample(triangles, max(8, int(DENSITY * areas(triangles).sum())), rng)
        tint = np.asarray(COLOURS[name]) + rng.uniform(-TINT, TINT, 3)
        clouds.append(points + NOISE * rng.standard_normal(points.shape))
        colours.append(np.clip(tint + 8 * rng.standard_normal(points.shape), 0, 255))
        classes.append(np.full(len(points), CLASSES.index(name)))
    xyz = np.concatenate(clouds)[:, [0, 2, 1]] * [1, -1, 1]  # the catalog has y up
    return xyz, np.concatenate(colours), np.concatenate(classes)


def _shell(w: float, d: float, h: float, rng: np.random.Generator) -> Iterator[tuple[str, Triangles]]:
    """What the room is made of and what hangs on its walls; x from 0 to w, z from 0 to d, y up."""
    yield "floor", moved(_sheet(w, d), (w / 2, 0, d / 2))
    yield "ceiling", moved(_sheet(w, d), (w / 2, h, d / 2))
    for wall in range(4):
        side = (w, d)[wall % 2]
        put = _on_wall(wall, w, d, h)
        yield "wall", put(_upright(side, h))
        kind = ("door", "window", "board", None)[wall] if rng.random() < 0.8 else None
        if kind == "door":
            yield kind, put(box((0.9, 2.0, THIN), (rng.uniform(-0.25, 0.25) * side, 1.0 - h / 2, 0)))
        elif kind == "window":
            yield kind, put(box((rng.uniform(0.8, 0.5 * side), 1.1, THIN), (0, 0.1, 0)))
        elif kind == "board":
            yield kind, put(box((rng.uniform(1.0, 0.6 * side), 1.0, THIN), (0, 0.1, 0)))
    if rng.random() < 0.6:
        yield "beam", box((w, 0.25, 0.25), (w / 2, h - 0.15, rng.uniform(0.3, 0.7) * d))
    if rng.random() < 0.6:
        yield "column", box((0.3, h, 0.3), (0.2 if rng.random() < 0.5 else w - 0.2, h / 2, 0.2 if rng.random() < 0.5 else d - 0.2))


def _standing(w: float, d: float, rng: np.random.Generator) -> Iterator[tuple[str, Triangles]]:
    """Furniture turned by any quarter and standing anywhere on the floor, bookcases along a wall."""
    for name, thing, height, least, most in STANDING:
        for _ in range(int(rng.integers(least, most + 1))):
            parts = OBJECTS[thing](lambda low, high: float(rng.uniform(low, high)), lambda chance: bool(rng.random() < chance))
            triangles = np.concatenate([solid for _, solid in parts])
            corners = triangles.reshape(-1, 3)
            size = np.ptp(corners, axis=0)
            scale = min(height * rng.uniform(0.9, 1.1) / size[1], 0.45 * min(w, d) / max(size[0], size[2]))
            triangles = (triangles - (corners.min(0) + corners.max(0)) / 2) * scale
            for _ in range(int(rng.integers(4))):
                triangles = triangles[..., [2, 1, 0]] * [1, 1, -1]
            half = np.ptp(triangles.reshape(-1, 3), axis=0) / 2
            x, z = rng.uniform(half[0] + 0.05, w - half[0] - 0.05), rng.uniform(half[2] + 0.05, d - half[2] - 0.05)
            if name == "bookcase":
                x = half[0] + 0.03
            yield name, moved(triangles, (x, half[1], z))


def _sheet(width: float, depth: float) -> Triangles:
    corners = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]) / 2 * [width, 1, depth]
    return corners[[[0, 1, 2], [0, 2, 3]]]


def _upright(width: float, height: float) -> Triangles:
    return _sheet(width, height)[..., [0, 2, 1]]


def _on_wall(wall: int, w: float, d: float, h: float) -> Callable[[Triangles], Triangles]:
    """Puts what lies upright about the origin onto one of the walls, its middle at half the height of the room."""

    def put(triangles: Triangles) -> Triangles:
        flat = triangles if wall % 2 == 0 else triangles[..., [2, 1, 0]]
        return moved(flat, ((w / 2, h / 2, 0), (0, h / 2, d / 2), (w / 2, h / 2, d), (w, h / 2, d / 2))[wall])

    return put
