"""One shard of a prepared dataset, from its part of the sorted items: the unit of parallel work and of restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.config import digest_of
from jobs.config.sections import Preparing
from jobs.data.augment import resample
from jobs.data.draws import generator
from jobs.data.format import file_sha256, shard_name, shard_table, write_table, write_text
from jobs.data.images import side
from jobs.data.items import Item, Reject, Shape
from jobs.data.rendering import Unrenderable
from jobs.data.tables import SOURCES

WORK = ".work"  # inside the dataset's folder while it is being prepared: a note a finished shard


@dataclass(frozen=True)
class Built:
    """What the index and the manifest need to know of a finished shard."""

    key: str  # of the settings and items that it was made from
    number: int
    sha256: str
    rows: list[tuple[str, str, str]]  # (id, category, content) of every row
    rejects: list[dict[str, str]]  # {"id" or "path": ..., "reason": ...}
    resampled: int  # shapes with fewer points than asked
    image_sizes: list[int]  # sides of its views, pixels, each once
    most_views: int


def build_shard(
    folder: Path, number: int, items: Sequence[Item], cfg: Preparing, categories: list[str], done: Callable[[int], None]
) -> Built:
    """Reads the items and writes the shard and its note; `done(n)` is called after n of them. A finished shard is kept."""
    key = digest_of([settings_of(cfg), categories, [_identity(item) for item in items]])
    kept = _finished(folder, number, key)
    if kept is not None:
        done(len(items))
        return kept
    source = SOURCES[cfg.kind]  # type: ignore[attr-defined]
    shapes: list[tuple[Item, Shape]] = []
    rejects: list[dict[str, str]] = []
    sizes: set[int] = set()
    resampled = 0
    for count, item in enumerate(items, 1):
        try:
            shape = source.read(item, cfg)
            sizes |= {side(view) for view in shape.views}
            fitted, short = _fitted(shape, item, cfg)
            rejects += [{"path": path, "reason": reason} for path, reason in shape.skipped]
            resampled += short
            shapes.append((item, fitted))
        except Reject as reason:
            rejects.append({"id": item.id, "reason": str(reason)})
        except Unrenderable:  # nothing to do with this item: no view can be drawn here
            raise
        except Exception as error:  # one file that surprises a reader must not end the others' preparation
            rejects.append({"id": item.id, "reason": f"cannot be read ({type(error).__name__}: {str(error)[:120]})"})
        done(count)
    table = shard_table(
        ids=[item.id for item, _ in shapes],
        categories=[categories.index(item.category) for item, _ in shapes],
        points=[shape.points for _, shape in shapes],
        contents=[shape.content for _, shape in shapes],
        views=[shape.views for _, shape in shapes],
        parts=[shape.parts for _, shape in shapes if shape.parts is not None] if source.part_names else None,
        stored=cfg.points,
    )
    sha256 = write_table(folder / shard_name(number), table)
    rows = [(item.id, item.category, shape.content) for item, shape in shapes]
    built = Built(key, number, sha256, rows, rejects, resampled, sorted(sizes), max((len(s.views) for _, s in shapes), default=0))
    write_text(_note(folder, number), json.dumps(asdict(built)))
    return built


def settings_of(cfg: Preparing) -> dict[str, Any]:
    """The settings that the bytes depend on: all but the dataset's name, source and target, and the version of its kind."""
    settings: dict[str, Any] = json.loads(cfg.model_dump_json(exclude={"name", "target", "source"}))
    return {**settings, "version": SOURCES[cfg.kind].version}  # type: ignore[attr-defined]


def _identity(item: Item) -> str:
    return repr((item.id, item.category, item.split, item.fingerprint, item.modified))


def _note(folder: Path, number: int) -> Path:
    return folder / WORK / f"{shard_name(number)}.json"


def _finished(folder: Path, number: int, key: str) -> Built | None:
    """The note of this shard, when the same settings made it and the file is still what it was."""
    path = folder / shard_name(number)
    try:
        values = json.loads(_note(folder, number).read_text())
        built = Built(**{**values, "rows": [tuple(row) for row in values["rows"]]})
    except (OSError, ValueError, TypeError, KeyError):  # none yet, or one cut short: build the shard
        return None
    return built if built.key == key and path.is_file() and file_sha256(path) == built.sha256 else None


def _fitted(shape: Shape, item: Item, cfg: Preparing) -> tuple[Shape, bool]:
    """The shape with exactly the stored number of points, and whether some had to be drawn twice."""
    have = len(shape.points)
    if have == cfg.points:
        return shape, False
    chosen = resample(generator("resample", cfg.seed, item.id), have, cfg.points)
    parts = None if shape.parts is None else shape.parts[chosen]
    return Shape(shape.points[chosen], shape.content, parts, shape.views, shape.skipped), have < cfg.points
