"""ModelNet40 (Wu et al. 2015) and its ten-class subset, in the two forms that people have.

SOURCE/ply_data_{train,test}*.h5 with SOURCE/shape_names.txt (`modelnet40_ply_hdf5_2048`, Qi et al. 2017), y up
SOURCE/<class>/{train,test}/*.off                                                                        , z up
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobs.config.datasets import Meshes, ModelNet
from jobs.data import meshes
from jobs.data.hdf5 import items_of, rows_of, text_lines
from jobs.data.items import Item, Shape, checked_points, content_of

NAMES = "shape_names.txt"
TEN = frozenset(
    {"bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table", "toilet"}
)  # ModelNet10's categories, by name: their numbers differ
COUNTS = {"modelnet40": {"train": 9840, "test": 2468}, "modelnet10": {"train": 3991, "test": 908}}  # as distributed


def list_items(cfg: ModelNet) -> list[Item]:
    """Every shape of both splits. ValueError when the folder, a split or the names are missing, or a file is broken (hdf5.py)."""
    files = {split: sorted(cfg.source.glob(f"ply_data_{split}*.h5")) for split in ("train", "test")}
    if not any(files.values()):
        items = meshes.list_items(_as_meshes(cfg))
    else:
        missing = [split for split, found in files.items() if not found]
        if missing:
            raise ValueError(f"{cfg.source} has no ply_data_{missing[0]}*.h5: the {missing[0]} split is missing")
        names = _names(cfg.source)
        items = [item for split, found in files.items() for item in items_of(found, split, names)]
    chosen = [item for item in items if cfg.kind == "modelnet40" or item.category in TEN]
    if not chosen:
        raise ValueError(f"{cfg.source} holds no shape of ModelNet10's categories ({', '.join(sorted(TEN))}): prepare it as modelnet40")
    return sorted(chosen, key=lambda item: item.id)


def read(item: Item, cfg: ModelNet) -> Shape:
    """The cloud as it is, or points of the mesh by area. Reject when it is broken."""
    if item.row is None:
        return meshes.read(item, _as_meshes(cfg))
    assert item.path is not None
    points = checked_points(np.asarray(rows_of(item.path, "data"))[item.row, :, :3])
    return Shape(points, content_of(points))


def variant(cfg: ModelNet) -> str:
    """Which of the two forms it is."""
    return "points of modelnet40_ply_hdf5_2048" if any(cfg.source.glob("ply_data_*.h5")) else "points sampled on the .off meshes"


def _names(source: Path) -> list[str]:
    path = source / NAMES
    if not path.is_file():
        raise ValueError(f"{path} is missing: it names the categories, a line each, in the order of their labels")
    names = text_lines(path)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{path} names {twice} twice: each category has a line of its own, in the order of their labels")
    return names


def _as_meshes(cfg: ModelNet) -> Meshes:
    return Meshes(kind="meshes", source=cfg.source, points=cfg.points, seed=cfg.seed, views=0, up="z")
