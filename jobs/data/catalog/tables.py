"""The categories of the synthetic dataset and the parts of each."""

from __future__ import annotations

from collections.abc import Callable

from jobs.data.catalog.furniture import Draw, Maybe, Parts, bed, bench, chair, desk, lamp, shelf, sofa, stool, table
from jobs.data.catalog.things import airplane, bottle, car, guitar, mug, ship, vase

OBJECTS: dict[str, Callable[[Draw, Maybe], Parts]] = {
    "airplane": airplane,
    "bed": bed,
    "bench": bench,
    "bottle": bottle,
    "car": car,
    "chair": chair,
    "desk": desk,
    "guitar": guitar,
    "lamp": lamp,
    "mug": mug,
    "shelf": shelf,
    "ship": ship,
    "sofa": sofa,
    "stool": stool,
    "table": table,
    "vase": vase,
}

PARTS: dict[str, tuple[str, ...]] = {
    "airplane": ("fuselage", "wing", "tail", "engine"),
    "bed": ("frame", "mattress", "headboard", "pillow", "leg"),
    "bench": ("seat", "leg", "back", "arm"),
    "bottle": ("body", "neck", "cap", "handle"),
    "car": ("body", "cabin", "wheel", "spoiler"),
    "chair": ("seat", "leg", "back", "arm"),
    "desk": ("top", "drawer", "leg", "panel", "hutch"),
    "guitar": ("body", "neck", "head"),
    "lamp": ("base", "pole", "shade"),
    "mug": ("body", "handle", "saucer"),
    "shelf": ("board", "side", "back", "door"),
    "ship": ("hull", "cabin", "funnel", "mast", "sail"),
    "sofa": ("seat", "back", "arm", "leg"),
    "stool": ("seat", "leg", "back"),
    "table": ("top", "leg", "shelf"),
    "vase": ("body", "handle", "foot"),
}

PART_NAMES: tuple[str, ...] = tuple(f"{category}/{part}" for category in OBJECTS for part in PARTS[category])
