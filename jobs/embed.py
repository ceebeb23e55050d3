"""Features of shapes from a registered encoder: `python -m jobs.embed MODEL SOURCE OUT.parquet [--points N]`.

MODEL is anything `mlflow.pyfunc.load_model` takes (`models:/adacrossnet-dgcnn@candidate`, a folder). SOURCE is a prepared dataset (also at s3://
or gs://), or a folder of clouds (.npy [n, 3], .xyz and .txt of x y z lines, .ply) and meshes (.off, .obj, .ply, .stl, .glb) at any depth.
OUT.parquet holds a row a shape: `id` (its file's path inside SOURCE), `category` and `split` (prepared datasets), `feature` float32 [D];
and in its schema's metadata which model it was (a version also where an alias was given, and its LoggedModel's id), on how many points a
cloud, and of which source (a prepared dataset's digest).
"""
from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from mlflow import MlflowClient
from mlflow.models import get_model_info

from jobs.config.evaluations import Evaluate
from jobs.config.places import Place, Uri, place_of
from jobs.data.format import MANIFEST
from jobs.data.loading import evaluation_clouds
from jobs.data.loose import CLOUDS, loose_clouds
from jobs.data.meshes import SUFFIXES
from jobs.data.prepared import PreparedDataset
from jobs.packaging import load_encoder, points_of, registered_version

BATCH = 32  # clouds a forward pass

Row = tuple[str, str | None, str | None, np.ndarray]  # id, category, split, cloud [N, 3]


def main() -> None:
    cli = argparse.ArgumentParser(prog="python -m jobs.embed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("model")
    cli.add_argument("source")
    cli.add_argument("out", type=Path)
    cli.add_argument("--points", type=int, help="points a cloud that the encoder sees (default: those it was judged on, else 1024)")
    cli.add_argument("--up", choices=("y", "z"), default="y", help="up axis of the files in a folder (default y)")
    args = cli.parse_args()
    try:
        embed(args.model, place_of(args.source), args.out, args.points, args.up)
    except ValueError as error:
        sys.exit(f"embed: error: {error}")


def embed(model: str, source: Place, out: Path, points: int | None = None, up: str = "y") -> int:
    """Writes `out` and returns its number of rows. `points` None: those the version was judged on.

    ValueError when SOURCE is missing or holds nothing that can be embedded, the model cannot be loaded or needs more points, or OUT
    cannot be written. A file that is broken is skipped with its reason.
    """
    if isinstance(source, Path) and not source.is_dir():
        raise ValueError(f"{source} is no folder: name a prepared dataset, or a folder of clouds and meshes")
    if out.suffix != ".parquet":
        raise ValueError(f"{out}: the output must end in .parquet")
    with _claimed(out) as temporary:  # before the model is loaded: minutes of work must not end with a file that cannot be written
        found, own = _resolved(model)  # once: an alias may move meanwhile
        points = points or own
        table, described = _embedded(_encoder(found), source, points, up)
        described |= {"model": found, "model_id": get_model_info(found).model_id or "", "source": str(source)}
        try:
            pyarrow.parquet.write_table(table.replace_schema_metadata(described), temporary)
            os.replace(temporary, out)
        except OSError as error:
            raise ValueError(f"{out} cannot be written ({error}): name another output file") from None
    print(f"embed: {len(table)} x {table.schema.field('feature').type.list_size} features written to {out}", flush=True)
    return len(table)


def _resolved(model: str) -> tuple[str, int]:
    """`models:/NAME/VERSION` of a registered version, also where an alias was given, and its points; anything else as it is."""
    if not re.fullmatch(r"models:/[^/]+(@[^/]+|/\d+)", model):
        return model, Evaluate().points
    version = registered_version(MlflowClient(), model)
    return f"models:/{version.name}/{version.version}", points_of(version)


def _encoder(model: str) -> Any:
    if ":/" not in model and not (Path(model) / "MLmodel").is_file():
        lack = "holds no MLmodel file" if Path(model).is_dir() else "is no folder"
        raise ValueError(f"{model} {lack}: name a registered model (models:/NAME/VERSION, models:/NAME@ALIAS) or a folder with an MLmodel")
    return load_encoder(model)


@contextmanager
def _claimed(out: Path) -> Iterator[Path]:
    """An empty file beside `out`, to be written and renamed; removed when that fails. ValueError when `out` cannot be written."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        if out.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise ValueError(f"{out} cannot be written ({error.strerror}): name another output file") from None
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _embedded(encoder: Any, source: Place, points: int, up: str) -> tuple[pa.Table, dict[str, str]]:
    """The rows that OUT holds, and what was embedded: points a cloud, a prepared dataset's digest."""
    described = {}
    if isinstance(source, Uri) or (source / MANIFEST).is_file():
        dataset = PreparedDataset(source, None)
        stored = int(dataset.manifest["points"])
        if points > stored:
            print(f"embed: {source} stores {stored} points a shape: those are used", flush=True)
            points = stored
        described["source_digest"] = str(dataset.manifest["digest"])
        rows = _prepared(dataset, points)
    else:
        rows = ((name, None, None, cloud) for name, cloud in loose_clouds(source, points, up))
    ids: list[str] = []
    categories: list[str | None] = []
    splits: list[str | None] = []
    features: list[np.ndarray] = []
    for batch in _in_batches(rows):
        ids += [row[0] for row in batch]
        categories += [row[1] for row in batch]
        splits += [row[2] for row in batch]
        features.append(_predicted(encoder, np.stack([row[3] for row in batch])))
        print(f"embed: {len(ids)} shapes", flush=True)
    if not ids:
        raise ValueError(f"{source} holds no shape that can be embedded ({', '.join(sorted(CLOUDS | SUFFIXES))})")
    table = np.concatenate(features)
    column = pa.FixedSizeListArray.from_arrays(pa.array(table.ravel(), pa.float32()), table.shape[1])
    columns = {
        "id": pa.array(ids, pa.string()),
        "category": pa.array(categories, pa.string()),
        "split": pa.array(splits, pa.string()),
        "feature": column,
    }
    return pa.table(columns), described | {"points": str(points)}


def _predicted(encoder: Any, points_BNC: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(encoder.predict(points_BNC))
    except ValueError as error:
        if "choose k between" not in str(error):
            raise
        raise ValueError(f"{error}; here: give a larger --points than {points_BNC.shape[1]}") from None


def _prepared(dataset: PreparedDataset, points: int) -> Iterator[Row]:
    """The clouds that evaluations see: a fixed subset of the stored points, in the unit ball."""
    row = 0
    for points_BNC, labels_B in evaluation_clouds(dataset, points, BATCH):
        for cloud, label in zip(points_BNC.numpy(), labels_B, strict=True):
            yield dataset.ids[row], dataset.categories[int(label)], dataset.splits[row], cloud
            row += 1


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
