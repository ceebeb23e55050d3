"""The prepared dataset on disk: Arrow IPC shards, an index of the usable shapes, the rejects and a manifest.

manifest.json        what it holds, with checksums; written last: without it the dataset is not complete
index.arrow          a row a usable shape, sorted by id: id, category, split, content, shard, row
shard-00000.arrow    shapes of a fixed part of the sorted ids: id, category, points, content, views, parts (in scenes: classes)
rejects.jsonl        a line a shape or file that was skipped, with its reason
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from jobs.config.places import Place
from jobs.data import stores

SCHEMA_VERSION = 1
MANIFEST, INDEX, REJECTS = "manifest.json", "index.arrow", "rejects.jsonl"
WORK = ".work"  # inside the dataset's folder while it is being prepared: a note a finished shard
REQUIRED = {  # keys of a manifest; the name came later
    *("kind", "variant", "categories", "splits", "points", "views", "image_size", "part_names", "resampled", "rejects"),
    *("shards", "index_sha256", "digest", "data", "listing"),
}
SPLITS = ("train", "val", "test")
CHANGED = "its checksum is not the manifest's; the file was changed or damaged"


def shard_name(number: int) -> str:
    """The file of a shard."""
    return f"shard-{number:05d}.arrow"


def shard_table(
    ids: list[str],
    categories: list[int],
    points: list[NDArray[np.float32]],
    contents: list[str],
    views: list[list[bytes]],
    parts: list[NDArray[np.int16]] | None,
    stored: int,
    channels: int,
) -> pa.Table:
    """The columns of a shard; every cloud [stored, channels], every part row [stored]."""
    flat = np.concatenate([cloud.ravel() for cloud in points]) if points else np.empty(0, np.float32)
    columns: dict[str, pa.Array] = {
        "id": pa.array(ids, pa.string()),
        "category": pa.array(categories, pa.int32()),
        "points": pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), stored * channels),
        "content": pa.array(contents, pa.string()),
        "views": pa.array(views, pa.list_(pa.binary())),
    }
    if parts is not None:
        labels = np.concatenate(parts) if parts else np.empty(0, np.int16)
        columns["parts"] = pa.FixedSizeListArray.from_arrays(pa.array(labels, pa.int16()), stored)
    return pa.table(columns)


def write_table(path: Path, table: pa.Table) -> str:
    """Write under a temporary name, then rename, so that a file with this name is whole. Returns its SHA-256."""
    temporary = _temporary(path)
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    os.replace(temporary, path)
    return file_sha256(path)


def write_text(path: Path, text: str) -> None:
    """The same for text."""
    temporary = _temporary(path)
    temporary.write_text(text)
    os.replace(temporary, path)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def map_table(path: Path) -> pa.Table:
    """A table over the memory map of `path`: nothing is read until it is used. ValueError when it is not an Arrow file."""
    try:
        mapped = pa.memory_map(str(path))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: prepare the dataset again") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error}): prepare the dataset again") from None
    return table_over(mapped, path)


def table_over(source: pa.NativeFile | pa.Buffer, path: Place) -> pa.Table:
    """The table of an Arrow file's bytes, not copied; `path` is what messages call it. ValueError when they are none."""
    try:
        return pa.ipc.open_file(source).read_all()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a whole Arrow file ({error}): remove the folder and prepare the dataset again") from None


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(shards: list[dict[str, Any]], index_sha256: str) -> str:
    """What a dataset is known by: SHA-256 over the schema version and the checksums of shards and index."""
    lines = [f"schema {SCHEMA_VERSION}", *(f"{shard['file']} {shard['sha256']}" for shard in shards), f"{INDEX} {index_sha256}"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_manifest(folder: Place) -> dict[str, Any]:
    """The manifest of a prepared dataset; ValueError, with the way out, when the folder does not hold one that this code reads."""
    if isinstance(folder, Path):
        _check_folder(folder)
    path = folder / MANIFEST
    try:
        text = stores.read(path)
    except FileNotFoundError:
        stores.sizes(folder)  # a missing bucket and wrong credentials are told apart here alone
        raise ValueError(
            f"{folder} holds no {MANIFEST}: preparing it never finished, or it is no prepared dataset; prepare it (again)"
        ) from None
    try:
        manifest = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}): remove the folder and prepare the dataset again") from None
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(f"{path} has schema version {version}, this code reads {SCHEMA_VERSION}: prepare the dataset again")
    missing = sorted(REQUIRED - manifest.keys())
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it was edited; remove the folder and prepare the dataset again")
    manifest.setdefault("name", manifest.get("kind"))  # the first manifests had no name
    manifest.setdefault("channels", 3)  # nor other points than places
    return manifest


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        raise ValueError(f"{folder} is a file: name the folder of the prepared dataset, the one that holds {MANIFEST}")
    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist: prepare a dataset there first (`adacrossnet data prepare KIND SOURCE {folder}`)")


def write_manifest(folder: Place, manifest: dict[str, Any]) -> None:
    """Write the manifest, whole or not at all."""
    stores.write(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def checksum_faults(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Files that are missing or changed since the manifest was written, in words."""
    faults = []
    for name, expected in [*((shard["file"], shard["sha256"]) for shard in manifest["shards"]), (INDEX, manifest["index_sha256"])]:
        path = folder / name
        if not path.is_file():
            faults.append(f"{name}: missing")
        elif file_sha256(path) != expected:
            faults.append(f"{name}: {CHANGED}")
    return faults + digest_faults(manifest)


def presence_faults(folder: Place, manifest: dict[str, Any]) -> list[str]:
    """The same by presence and size alone: where files are checked whenever they are copied from, hashing them all would copy them all."""
    faults, sizes = [], stores.sizes(folder)
    for name, size in [*((shard["file"], shard.get("bytes")) for shard in manifest["shards"]), (INDEX, None)]:
        if name not in sizes:
            faults.append(f"{name}: missing")
        elif size not in (None, sizes[name]):
            faults.append(f"{name}: {sizes[name]} bytes, the manifest says {size}; the file was changed or damaged")
    return faults + digest_faults(manifest)


def digest_faults(manifest: dict[str, Any]) -> list[str]:
    """Whether the manifest's digest is that of its checksums."""
    if digest(manifest["shards"], manifest["index_sha256"]) == manifest["digest"]:
        return []
    return [f"{MANIFEST}: its digest is not that of its checksums; it was edited"]
