"""One shard of a prepared dataset, from its part of the sorted items: the unit of parallel work and of restart."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from jobs.config import digest_of
from jobs.config.datasets import Preparing
from jobs.config.places import Place, Uri
from jobs.data import stores
from jobs.data.augment import resample, turned
from jobs.data.buckets import StorageFault
from jobs.data.draws import generator
from jobs.data.format import WORK, file_sha256, shard_name, shard_table, write_table
from jobs.data.images import side
from jobs.data.items import Item, Reject, Shape
from jobs.data.rendering import Unrenderable
from jobs.data.tables import SOURCES, Source


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
    fewest_views: int
    bytes: int  # of the file


def build_shard(
    folder: Place, number: int, items: Sequence[Item], cfg: Preparing, categories: list[str], done: Callable[[int], None]
) -> Built:
    """Reads the items and writes the shard and its note; `done(n)` is called after n of them. A finished shard is kept.

    At a URI the shard is made here and goes there, then its note: another node that goes on finds both.
    """
    key = digest_of([settings_of(cfg), categories, [_identity(item) for item in items]])
    kept = _finished(folder, number, key)
    if kept is not None:
        done(len(items))
        return kept
    if isinstance(folder, Uri):
        with tempfile.TemporaryDirectory(prefix="adacrossnet-prepare-") as name:
            made = Path(name)
            (made / WORK).mkdir()
            built = build_shard(made, number, items, cfg, categories, done)
            stores.write(folder / shard_name(number), made / shard_name(number))
        stores.write(_note(folder, number), json.dumps(asdict(built)).encode())
        return built
    source = SOURCES[cfg.kind]  # type: ignore[attr-defined]
    shapes: list[tuple[str, str, Shape]] = []  # (id, category, shape)
    rejects: list[dict[str, str]] = []
    sizes: set[int] = set()
    resampled = 0
    for count, item in enumerate(items, 1):
        try:
            for sample_id, shape in list(_read(source, item, cfg)):  # all or none of a room
                sizes |= {side(view) for view in shape.views}
                fitted, short = _fitted(shape, sample_id, cfg)
                rejects += [{"path": path, "reason": reason} for path, reason in shape.skipped]
                resampled += short
                shapes.append((sample_id, item.category, fitted))
        except Reject as reason:
            rejects.append({"id": item.id, "reason": str(reason)})
        except Unrenderable:  # nothing to do with this item: no view can be drawn here
            raise
        except Exception as error:  # one file that surprises a reader must not end the others' preparation
            rejects.append({"id": item.id, "reason": f"cannot be read ({type(error).__name__}: {str(error)[:120]})"})
        done(count)
    table = shard_table(
        ids=[sample_id for sample_id, _, _ in shapes],
        categories=[categories.index(category) for _, category, _ in shapes],
        points=[shape.points for _, _, shape in shapes],
        contents=[shape.content for _, _, shape in shapes],
        views=[shape.views for _, _, shape in shapes],
        parts=[shape.parts for _, _, shape in shapes if shape.parts is not None] if source.part_names(cfg) else None,
        stored=cfg.points,
        channels=source.channels,
    )
    path = folder / shard_name(number)
    sha256 = write_table(path, table)
    rows = [(sample_id, category, shape.content) for sample_id, category, shape in shapes]
    views = [len(shape.views) for _, _, shape in shapes] or [0]
    built = Built(key, number, sha256, rows, rejects, resampled, sorted(sizes), max(views), min(views), path.stat().st_size)
    stores.write(_note(folder, number), json.dumps(asdict(built)).encode())
    return built


def _read(source: Source, item: Item, cfg: Preparing) -> Iterator[tuple[str, Shape]]:
    """(id, shape) of what an item holds; the blocks of a room are numbered."""
    found = source.read(item, cfg)
    if isinstance(found, Shape):
        yield item.id, found
        return
    number = -1
    for number, shape in enumerate(found):
        yield f"{item.id}/{number:05d}", shape
    if number < 0:
        raise Reject("no part of it holds enough points for a block")


def settings_of(cfg: Preparing) -> dict[str, Any]:
    """The settings that the bytes depend on: all but names and paths, with the names of the parts and the version of the kind."""
    settings: dict[str, Any] = json.loads(cfg.model_dump_json(exclude={"name", "target", "source", "table"}))
    source = SOURCES[cfg.kind]  # type: ignore[attr-defined]
    names = source.part_names(cfg)
    return {**settings, "version": source.version, **({"parts": digest_of(list(names))} if names else {})}


def _identity(item: Item) -> str:
    return repr((item.id, item.category, item.split, item.fingerprint, item.modified))


def _note(folder: Place, number: int) -> Place:
    return folder / WORK / f"{shard_name(number)}.json"


def _finished(folder: Place, number: int, key: str) -> Built | None:
    """The note of this shard, when the same settings made it and the file is still what it was (at a URI: as large as it was)."""
    path = folder / shard_name(number)
    try:
        values = json.loads(stores.read(_note(folder, number)))
        built = Built(**{**values, "rows": [tuple(row) for row in values["rows"]]})
    except StorageFault:  # also a ValueError
        raise
    except (OSError, ValueError, TypeError, KeyError):  # none yet, or one cut short: build the shard
        return None
    if built.key != key:
        return None
    if isinstance(path, Uri):
        return built if stores.size(path) == built.bytes else None
    return built if path.is_file() and file_sha256(path) == built.sha256 else None


def _fitted(shape: Shape, sample_id: str, cfg: Preparing) -> tuple[Shape, bool]:
    """The shape with exactly the stored number of points, turned where asked, and whether some points had to be drawn twice."""
    have = len(shape.points)
    if have != cfg.points:
        chosen = resample(generator("resample", cfg.seed, sample_id), have, cfg.points)
        shape = replace(shape, points=shape.points[chosen], parts=None if shape.parts is None else shape.parts[chosen])
    if cfg.turned:
        angle = float(generator("turn", cfg.seed, sample_id).uniform(0, 2 * math.pi))
        shape = replace(shape, points=turned(torch.from_numpy(shape.points)[None], torch.tensor([angle]))[0].numpy())
    return shape, have < cfg.points
