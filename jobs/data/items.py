"""What a raw dataset is made of: items that can be listed at once, the shape that reading one gives, and why one is refused."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MIN_POINTS = 16  # a cloud of fewer is no shape: it is refused, not resampled


class Reject(Exception):
    """This item cannot be used; the message is the reason that `rejects.jsonl` shows."""


@dataclass(frozen=True)
class Item:
    """One shape of a raw dataset, not read yet. Ids are unique and sort the dataset."""

    id: str
    category: str
    split: str | None  # train, val or test where the source says so
    path: Path | None = None  # its geometry
    views: Path | None = None  # the folder of its rendered views
    row: int | None = None  # of a file that holds many shapes
    fingerprint: str = ""  # changes when the raw files do (their names and sizes)
    modified: str = ""  # when the raw files were last written; decides what is kept, and is written into no dataset


@dataclass(frozen=True)
class Shape:
    """What reading an item gives, before its points are brought to the stored number."""

    points: NDArray[np.float32]  # [n, 3], y up
    content: str  # hash of the raw geometry: equal for duplicates under any name
    parts: NDArray[np.int16] | None = None  # [n] rows of the source's table of parts
    views: list[bytes] = field(default_factory=list)  # PNG files
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (file, reason): broken files the shape can do without


def text_of(path: Path) -> str:
    """A path as text, what is not UTF-8 in it as escapes: such a file is listed so, then rejected."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def check_name(path: Path, source: Path) -> None:
    """Reject when the path inside `source` is not UTF-8: neither Arrow nor JSON could hold it."""
    inside = path.relative_to(source)
    if text_of(inside) != str(inside):
        raise Reject(f"its path is not UTF-8: {os.fsencode(path)!r}; rename it")


def content_of(rows: NDArray[np.floating], *more: int) -> str:
    """32 hex digits of a geometry [n, d] that do not depend on the order of its rows; `more` counts go in as well."""
    exact = np.ascontiguousarray(rows, dtype="<f4") + np.float32(0)  # -0 and 0 are one number
    ordered = exact[np.lexsort(exact.T[::-1])]
    return hashlib.sha256(repr((ordered.shape, more)).encode() + ordered.tobytes()).hexdigest()[:32]


def checked_points(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """The cloud [n, 3] as float32; Reject when it is empty, too small, not finite or a single place."""
    if len(points) < MIN_POINTS:
        raise Reject(f"holds {len(points)} points; a shape needs at least {MIN_POINTS}")
    broken = int((~np.isfinite(points)).any(1).sum())
    if broken:
        raise Reject(f"{broken} of {len(points)} points are not finite (NaN or infinite)")
    if not np.ptp(points, axis=0).max() > 0:
        raise Reject("all points are in one place")
    with np.errstate(over="ignore"):
        cloud = points.astype(np.float32)
    if not np.isfinite(cloud).all():
        raise Reject("coordinates are too large for float32")
    return cloud
