"""Clouds from a folder of loose files, of whatever people have: .npy, .xyz, .txt and .ply clouds, and meshes, at any depth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from jobs.data.augment import normalise, resample
from jobs.data.draws import generator
from jobs.data.items import Reject, checked_points
from jobs.data.meshes import SUFFIXES, Z_UP, load_triangles
from jobs.data.ply import has_faces, read_vertices
from jobs.data.surface import sample

TEXT_CLOUDS = frozenset({".xyz", ".txt"})
CLOUDS = TEXT_CLOUDS | {".npy"}


def loose_clouds(folder: Path, points: int, up: str) -> Iterator[tuple[str, np.ndarray]]:
    """(path inside `folder`, cloud [N, 3] in the unit ball, y up) of every file that can be read; the others are said, with the reason.

    `up` is the files' up axis, y or z. N = `points`, drawn from a cloud's own points or sampled by area on a mesh's faces.
    """
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix.lower() not in CLOUDS | SUFFIXES:
            continue
        name = path.relative_to(folder).as_posix()
        if not _is_utf8(name):
            print(f"embed: skipped {os.fsencode(name)!r}: its path is not UTF-8; rename it", flush=True)
            continue
        try:
            cloud = checked_points(_read(path, name, points))
            cloud = (cloud @ Z_UP.T).astype(np.float32) if up == "z" else cloud
        except Reject as reason:
            print(f"embed: skipped {name}: {reason}", flush=True)
            continue
        except Exception as error:  # a broken file can lead its reader anywhere; the others are still embedded
            print(f"embed: skipped {name}: cannot be read ({type(error).__name__}: {str(error)[:120]})", flush=True)
            continue
        rng = generator("embed", name)
        chosen = resample(rng, len(cloud), points)
        yield name, normalise(torch.from_numpy(cloud[chosen])[None])[0].numpy()


def _read(path: Path, name: str, points: int) -> np.ndarray:
    """The file's own points, or `points` sampled by area where it has faces."""
    suffix = path.suffix.lower()
    if suffix in CLOUDS:
        return _cloud(path)
    if suffix == ".ply" and not has_faces(path):
        return read_vertices(path)
    sampled, _, _ = sample(load_triangles(path), points, generator("embed surface", name))
    return sampled


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cloud(path: Path) -> np.ndarray:
    if path.stat().st_size == 0:
        raise Reject("the file is empty")
    try:
        values = np.loadtxt(path, dtype=np.float64, ndmin=2) if path.suffix.lower() in TEXT_CLOUDS else np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise Reject(f"cannot be read as a cloud ({error})") from None
    if values.ndim != 2 or values.shape[1] < 3 or not np.issubdtype(values.dtype, np.number):
        raise Reject(f"holds {values.dtype} {list(values.shape)}, not points [n, 3]")
    return np.asarray(values[:, :3], np.float64)
