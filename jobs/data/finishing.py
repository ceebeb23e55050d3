"""From finished shards to a dataset: splits over all shapes, the index, the rejects and, last, the manifest."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.config.datasets import Preparing
from jobs.config.places import Place, Uri
from jobs.data import stores
from jobs.data.building import Built, settings_of
from jobs.data.format import (
    INDEX,
    MANIFEST,
    REJECTS,
    SCHEMA_VERSION,
    SPLITS,
    WORK,
    digest,
    read_manifest,
    shard_name,
    write_manifest,
    write_table,
    write_text,
)
from jobs.data.items import Item
from jobs.data.splits import Entry, assign
from jobs.data.tables import SOURCES


def finish(
    folder: Place, cfg: Preparing, items: Sequence[Item], categories: list[str], listing: str, built: Sequence[Built]
) -> dict[str, Any]:
    """Writes what the shards alone cannot say, the manifest last, and returns it. ValueError when no shape is usable."""
    if isinstance(folder, Uri):
        return _finish_there(folder, cfg, items, categories, listing, built)
    given = {item.id: item.split for item in items}
    source = SOURCES[cfg.kind]  # type: ignore[attr-defined]
    cut = source.channels > 3  # blocks of rooms: a block has its room's split, and no other block decides
    entries = [
        Entry(sample_id, category, content, given[sample_id if sample_id in given else sample_id.rpartition("/")[0]])
        for shard in built
        for sample_id, category, content in shard.rows
    ]
    splits, refused = assign(entries, 0.0 if cut else cfg.val_share, cfg.test_share)
    rejects = [reject for shard in built for reject in shard.rejects] + [{"id": key, "reason": refused[key]} for key in sorted(refused)]
    write_text(folder / REJECTS, "".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in rejects))
    if not splits:
        raise ValueError(
            f"none of the {len(items)} shapes can be used: {folder / REJECTS} says why for each (the first: {rejects[0]['reason']})"
        )
    for split in sorted({item.split for item in items if item.split} - set(splits.values())):
        raise ValueError(
            f"none of the {sum(item.split == split for item in items)} {split} shapes of the source can be used: {folder / REJECTS} says "
            f"why for each (the first: {rejects[0]['reason'] if rejects else 'unknown'})"
        )
    index_sha256 = write_table(folder / INDEX, _index(built, splits, categories))
    shards = [
        {
            "file": shard_name(shard.number),
            "rows": len(shard.rows),
            "sha256": shard.sha256,
            "bytes": shard.bytes,
            "fewest_views": shard.fewest_views,
        }
        for shard in built
    ]
    label = {entry.id: entry.category for entry in entries}
    counts = {split: Counter(label[sample_id] for sample_id, name in splits.items() if name == split) for split in SPLITS}
    sizes = sorted({size for shard in built for size in shard.image_sizes})
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": name_of(cfg),
        "kind": cfg.kind,  # type: ignore[attr-defined]
        "variant": source.variant(cfg),
        "categories": categories,
        "splits": {
            split: {"count": count.total(), "categories": {category: count[category] for category in categories}}
            for split, count in counts.items()
        },
        "points": cfg.points,
        "channels": source.channels,
        "views": max(shard.most_views for shard in built),
        "image_size": sizes[0] if len(sizes) == 1 else None,
        "part_names": list(source.part_names(cfg)),
        "resampled": sum(shard.resampled for shard in built),
        "rejects": len(rejects),
        "shards": shards,
        "index_sha256": index_sha256,
        "digest": digest(shards, index_sha256),
        "data": settings_of(cfg),
        "listing": listing,
    }
    write_manifest(folder, manifest)
    shutil.rmtree(folder / WORK)
    return manifest


def _finish_there(
    folder: Uri, cfg: Preparing, items: Sequence[Item], categories: list[str], listing: str, built: Sequence[Built]
) -> dict[str, Any]:
    """The same at a URI: made here, copied there, the manifest when all the rest is there."""
    with tempfile.TemporaryDirectory(prefix="adacrossnet-prepare-") as name:
        made = Path(name)
        (made / WORK).mkdir()
        try:
            manifest = finish(made, cfg, items, categories, listing, built)
        except ValueError as error:
            stores.write(folder / REJECTS, made / REJECTS)
            raise ValueError(str(error).replace(name, str(folder))) from None
        for file in (REJECTS, INDEX, MANIFEST):
            stores.write(folder / file, made / file)
    for file in stores.sizes(folder / WORK):
        stores.remove(folder / WORK / file)
    return manifest


def renamed(folder: Place, name: str | None) -> dict[str, Any]:
    """The manifest of a finished dataset, under `name` from now on; None leaves its name. Nothing else changes, the digest neither."""
    manifest = read_manifest(folder)
    if name is not None and manifest["name"] != name:
        manifest["name"] = name
        write_manifest(folder, manifest)
    return manifest


def name_of(cfg: Preparing) -> str:
    """What metrics call the dataset: the section's name, else the source folder's (in letters that metric names take), else the kind."""
    if cfg.name is not None:
        return cfg.name
    source: Path | None = getattr(cfg, "source", None)
    folder = "" if source is None else os.path.basename(os.path.abspath(source))
    letters = re.sub(r"[^a-z0-9_-]", "-", folder.lower()).lstrip("-_")[:41].rstrip("-")  # what Preparing.name takes
    return letters or cfg.kind  # type: ignore[attr-defined]


def _index(built: Sequence[Built], splits: dict[str, str], categories: list[str]) -> pa.Table:
    rows = [
        (sample_id, categories.index(category), splits[sample_id], content, shard.number, row)
        for shard in built
        for row, (sample_id, category, content) in enumerate(shard.rows)
        if sample_id in splits
    ]
    types = {
        "id": pa.string(),
        "category": pa.int32(),
        "split": pa.string(),
        "content": pa.string(),
        "shard": pa.int32(),
        "row": pa.int32(),
    }
    columns = zip(*sorted(rows), strict=True)
    return pa.table({name: pa.array(column, kind) for (name, kind), column in zip(types.items(), columns, strict=True)})
