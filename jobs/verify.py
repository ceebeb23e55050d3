"""Checks a prepared dataset wholly: checksums, counts, finite values, views that decode.

`python -m jobs.verify DIR [--json]`; it ends with 1 when there are faults.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.config.places import Place, Uri, looks_like_uri, place_of
from jobs.data import stores
from jobs.data.format import CHANGED, REJECTS, checksum_faults, digest_faults, read_manifest, table_over
from jobs.data.images import decode
from jobs.data.prepared import PreparedDataset

MOST_FAULTS = 50  # shown; the rest is counted


class Streamed:
    """Files of a dataset at a URI that are read once and kept nowhere."""

    lazy = True

    def __init__(self, folder: Uri) -> None:
        self.folder = folder

    def table(self, file: str, digest: str) -> pa.Table:
        try:
            data = stores.read(self.folder / file)
        except FileNotFoundError:
            raise Damaged(f"{file}: missing") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise Damaged(f"{file}: {CHANGED}")
        return table_over(pa.py_buffer(data), self.folder / file)


class Damaged(ValueError):
    """A file that is not what the manifest says."""


def verify(folder: Place) -> list[str]:
    """Every fault of a prepared dataset in words; none: it is whole. ValueError when the folder holds no prepared dataset at all."""
    manifest = read_manifest(folder)
    if isinstance(folder, Uri):
        return _verify_there(folder, manifest)
    faults = checksum_faults(folder, manifest)
    if faults:  # a damaged Arrow file cannot be read safely: its shapes are not looked at
        return faults
    dataset = PreparedDataset(folder, None)
    return _count_faults(folder, dataset) + [fault for row in range(len(dataset)) for fault in _shape_faults(dataset, row)]


def _verify_there(folder: Uri, manifest: dict[str, Any]) -> list[str]:
    """The same of one at a URI: each file comes here once, a shard at a time."""
    faults = digest_faults(manifest)
    try:
        dataset = PreparedDataset(folder, None, files=Streamed(folder))
    except Damaged as error:
        return [*faults, str(error)]
    by_shard: list[list[int]] = [[] for _ in manifest["shards"]]
    for row in range(len(dataset)):
        by_shard[dataset.shard_of(row)].append(row)
    found: list[str] = []
    for number, rows in enumerate(by_shard):
        try:
            dataset.open(number)  # also one without a usable shape
            found += [fault for row in rows for fault in _shape_faults(dataset, row)]
        except Damaged as error:
            faults.append(str(error))
        dataset.release()
    return faults or _count_faults(folder, dataset) + found


def _count_faults(folder: Place, dataset: PreparedDataset) -> list[str]:
    """What the manifest says of the numbers, held against the index and the rejects."""
    manifest, faults = dataset.manifest, []
    found = Counter(zip(dataset.splits, (dataset.categories[label] for label in dataset.labels), strict=True))
    for split, said in manifest["splits"].items():
        for category, count in said["categories"].items():
            if found[split, category] != count:
                faults.append(f"index.arrow: {found[split, category]} shapes of {category} in {split}, the manifest says {count}")
    if len(set(dataset.ids)) != len(dataset):
        faults.append("index.arrow: an id stands twice")
    try:
        lines = len(stores.read(folder / REJECTS).decode().splitlines())
    except FileNotFoundError:
        lines = None
    if lines != manifest["rejects"]:
        faults.append(f"{REJECTS}: {'missing' if lines is None else f'{lines} lines'}, the manifest says {manifest['rejects']} rejects")
    return faults


def _shape_faults(dataset: PreparedDataset, row: int) -> list[str]:
    name, faults = dataset.ids[row], []
    broken = int((~np.isfinite(dataset.points(row))).any(1).sum())
    if broken:
        faults.append(f"{name}: {broken} points are not finite")
    parts = dataset.parts(row)
    if parts is not None and not ((parts >= 0) & (parts < len(dataset.manifest["part_names"]))).all():
        faults.append(f"{name}: a part that the manifest's part_names does not hold")
    for which in range(dataset.view_count(row)):
        try:
            decode(dataset.view(row, which))
        except ValueError:
            faults.append(f"{name}: view {which} does not decode as an image")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="a prepared dataset")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    arguments = parser.parse_args()
    try:
        folder = place_of(arguments.folder)
        faults = verify(folder)
        manifest = read_manifest(folder)
    except ValueError as error:
        faults, manifest = [str(error)], {}
    print(json.dumps(_report(arguments.folder, manifest, faults)) if arguments.json else _text(arguments.folder, manifest, faults))
    sys.exit(1 if faults else 0)


def _report(folder: Place | str, manifest: dict[str, Any], faults: list[str]) -> dict[str, Any]:
    kept = ("name", "kind", "variant", "digest", "points", "views", "resampled", "rejects")
    counts = {split: value["count"] for split, value in manifest.get("splits", {}).items()}
    return {"folder": str(folder), "ok": not faults, "faults": faults, **{key: manifest.get(key) for key in kept}, "splits": counts}


def _text(folder: Place | str, manifest: dict[str, Any], faults: list[str]) -> str:
    if faults:
        more = [f"... and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        first = "remove what is damaged: " if looks_like_uri(str(folder)) else ""  # there preparing looks at presence and size alone
        mend = [f"{first}the same `data prepare` again makes {'it' if first else 'what is damaged'} anew"] if manifest else []
        head = f"verify: {folder}: {len(faults)} fault{'s'[: len(faults) != 1]}"
        return "\n".join([head, *(f"  {fault}" for fault in faults[:MOST_FAULTS]), *more, *mend])
    counts = ", ".join(f"{value['count']} {split}" for split, value in manifest["splits"].items())
    return (
        f"verify: {folder}: whole. {manifest['name']}, kind {manifest['kind']}, {counts}, {manifest['points']} points, "
        f"up to {manifest['views']} views a shape; {manifest['rejects']} rejects, {manifest['resampled']} resampled; "
        f"digest {manifest['digest'][:16]}"
    )


if __name__ == "__main__":
    main()
