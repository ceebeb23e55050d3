"""Features of shapes from a registered encoder: `python -m jobs.embed MODEL SOURCE OUT.parquet [--points N]`.

MODEL is anything `mlflow.pyfunc.load_model` takes (`models:/adacrossnet-dgcnn@candidate`, a folder). SOURCE is a prepared dataset, or a
folder of clouds (.npy [n, 3], .xyz and .txt of x y z lines, .ply) and meshes (.off, .obj, .ply, .stl, .glb) at any depth.
OUT.parquet holds a row a shape: `id` (its file's path inside SOURCE), `category` and `split` (prepared datasets), `feature` float32 [D].
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch

from jobs.data.augment import normalise, resample
from jobs.data.draws import generator
from jobs.data.format import MANIFEST
from jobs.data.items import Reject, checked_points
from jobs.data.loading import evaluation_clouds
from jobs.data.meshes import SUFFIXES, Z_UP, load_triangles
from jobs.data.ply import read_vertices
from jobs.data.prepared import PreparedDataset
from jobs.data.surface import sample
from jobs.packaging import load_encoder

BATCH = 32  # clouds a forward pass
TEXT_CLOUDS = frozenset({".xyz", ".txt"})
CLOUDS = TEXT_CLOUDS | {".npy"}

Row = tuple[str, str | None, str | None, np.ndarray]  # id, category, split, cloud [N, 3]


def main() -> None:
    cli = argparse.ArgumentParser(prog="python -m jobs.embed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("model")
    cli.add_argument("source", type=Path)
    cli.add_argument("out", type=Path)
    cli.add_argument("--points", type=int, default=1024, help="points a cloud that the encoder sees (default 1024)")
    cli.add_argument("--up", choices=("y", "z"), default="y", help="up axis of the files in a folder (default y)")
    args = cli.parse_args()
    try:
        embed(args.model, args.source, args.out, args.points, args.up)
    except ValueError as error:
        sys.exit(f"embed: error: {error}")


def embed(model: str, source: Path, out: Path, points: int, up: str = "y") -> int:
    """Writes `out` and returns its number of rows.

    ValueError when SOURCE is missing or holds nothing that can be embedded, or the model cannot be loaded. A file that is broken is
    skipped with its reason.
    """
    if not source.is_dir():
        raise ValueError(f"{source} is no folder: name a prepared dataset, or a folder of clouds and meshes")
    if out.suffix != ".parquet":
        raise ValueError(f"{out}: the output must end in .parquet")
    encoder = load_encoder(model)
    if (source / MANIFEST).is_file():
        dataset = PreparedDataset(source, None)
        stored = int(dataset.manifest["points"])
        if points > stored:
            print(f"embed: {source} stores {stored} points a shape: those are used", flush=True)
            points = stored
        rows = _prepared(dataset, points)
    else:
        rows = _files(source, points, up)
    ids: list[str] = []
    categories: list[str | None] = []
    splits: list[str | None] = []
    features: list[np.ndarray] = []
    for batch in _in_batches(rows):
        ids += [row[0] for row in batch]
        categories += [row[1] for row in batch]
        splits += [row[2] for row in batch]
        features.append(encoder.predict(np.stack([row[3] for row in batch])))
        print(f"embed: {len(ids)} shapes", flush=True)
    if not ids:
        raise ValueError(f"{source} holds no shape that can be embedded ({', '.join(sorted(CLOUDS | SUFFIXES))})")
    table = np.concatenate(features)
    column = pa.FixedSizeListArray.from_arrays(pa.array(table.ravel(), pa.float32()), table.shape[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "id": pa.array(ids, pa.string()),
        "category": pa.array(categories, pa.string()),
        "split": pa.array(splits, pa.string()),
        "feature": column,
    }
    described = {"model": model, "points": str(points), "source": str(source)}
    pyarrow.parquet.write_table(pa.table(columns).replace_schema_metadata(described), out)
    print(f"embed: {len(ids)} x {table.shape[1]} features written to {out}", flush=True)
    return len(ids)


def _prepared(dataset: PreparedDataset, points: int) -> Iterator[Row]:
    """The clouds that evaluations see: a fixed subset of the stored points, in the unit ball."""
    row = 0
    for points_BNC, labels_B in evaluation_clouds(dataset, points, BATCH):
        for cloud, label in zip(points_BNC.numpy(), labels_B, strict=True):
            yield dataset.ids[row], dataset.categories[int(label)], dataset.splits[row], cloud
            row += 1


def _files(folder: Path, points: int, up: str) -> Iterator[Row]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix.lower() not in CLOUDS | SUFFIXES:
            continue
        name = path.relative_to(folder).as_posix()
        try:
            cloud = checked_points(_read(path, name, points))
            cloud = (cloud @ Z_UP.T).astype(np.float32) if up == "z" else cloud
        except Reject as reason:
            print(f"embed: skipped {name}: {reason}", flush=True)
            continue
        rng = generator("embed", name)
        chosen = resample(rng, len(cloud), points)
        yield name, None, None, normalise(torch.from_numpy(cloud[chosen])[None])[0].numpy()


def _read(path: Path, name: str, points: int) -> np.ndarray:
    """The file's own points, or `points` sampled by area where it has faces."""
    suffix = path.suffix.lower()
    if suffix in CLOUDS:
        return _cloud(path)
    if suffix == ".ply" and not _has_faces(path):
        return read_vertices(path)
    sampled, _, _ = sample(load_triangles(path), points, generator("embed surface", name))
    return sampled


def _cloud(path: Path) -> np.ndarray:
    try:
        values = np.loadtxt(path, dtype=np.float64, ndmin=2) if path.suffix.lower() in TEXT_CLOUDS else np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise Reject(f"cannot be read as a cloud ({error})") from None
    if values.ndim != 2 or values.shape[1] < 3 or not np.issubdtype(values.dtype, np.number):
        raise Reject(f"holds {values.dtype} {list(values.shape)}, not points [n, 3]")
    return np.asarray(values[:, :3], np.float64)


def _has_faces(path: Path) -> bool:
    head = path.read_bytes()[:4096].partition(b"end_header")[0]
    return any(line.split()[:2] == [b"element", b"face"] and line.split()[2:] != [b"0"] for line in head.splitlines())


def _in_batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


if __name__ == "__main__":
    main()
