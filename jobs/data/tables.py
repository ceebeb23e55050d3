"""The raw datasets that `data.kind` can name. Each is a module with `list_items(cfg)`, `read(item, cfg)` and `variant(cfg)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jobs.data import meshes, modelnet, rooms, s3dis, scanobjectnn, shapenet_render, shapenetpart, synthetic, synthetic_rooms
from jobs.data.catalog.tables import PART_NAMES
from jobs.data.items import Item, Shape


@dataclass(frozen=True)
class Source:
    """How one kind of raw dataset is read."""

    list_items: Callable[[Any], list[Item]]  # every shape that may be there, sorted by id, without reading it
    read: Callable[[Item, Any], Shape | Iterator[Shape]]  # the shape, or the blocks of a room; raises Reject
    variant: Callable[[Any], str]  # what distinguishes this form of the data, in words
    part_names: Callable[[Any], tuple[str, ...]] = lambda cfg: ()  # of the parts that `read` gives; empty: it gives none
    counts: Callable[[Any], dict[str, int]] = lambda cfg: {}  # shapes a split of the dataset as distributed, where that is known
    channels: int = 3  # numbers a point; more: the shapes are blocks of rooms
    version: int = 1  # raised with every change of what `read` gives for the same files and settings: older datasets are not reused then


SOURCES: dict[str, Source] = {
    "synthetic": Source(synthetic.list_items, synthetic.read, lambda cfg: synthetic.VARIANT, lambda cfg: PART_NAMES),
    "synthetic-rooms": Source(
        synthetic_rooms.list_items, synthetic_rooms.read, synthetic_rooms.variant, lambda cfg: rooms.CLASSES, channels=rooms.CHANNELS
    ),
    "meshes": Source(meshes.list_items, meshes.read, lambda cfg: f"{cfg.up} up in the files"),
    "modelnet40": Source(modelnet.list_items, modelnet.read, modelnet.variant, counts=lambda cfg: modelnet.COUNTS[cfg.kind]),
    "modelnet10": Source(modelnet.list_items, modelnet.read, modelnet.variant, counts=lambda cfg: modelnet.COUNTS[cfg.kind]),
    "scanobjectnn": Source(
        scanobjectnn.list_items, scanobjectnn.read, lambda cfg: cfg.variant, counts=lambda cfg: scanobjectnn.COUNTS[cfg.variant]
    ),
    "shapenetpart": Source(
        shapenetpart.list_items, shapenetpart.read, shapenetpart.variant, shapenetpart.part_names, lambda cfg: shapenetpart.COUNTS
    ),
    "s3dis": Source(s3dis.list_items, s3dis.read, s3dis.variant, lambda cfg: rooms.CLASSES, channels=rooms.CHANNELS),
    "shapenet-render": Source(shapenet_render.list_items, shapenet_render.read, lambda cfg: "rendered views of ShapeNetRendering"),
}
