"""ScanObjectNN (Uy et al. 2019): scanned objects of 15 categories, as its HDF5 files hold them.

SOURCE/main_split[_nobg]/{training,test}_objectdataset[_augmentedrot_scale75].h5, or repacked as SOURCE/main_split/{train,test}.h5; SOURCE
may be that folder itself. `mask` [n, p] is -1 where a point is background.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobs.config.datasets import ScanObjectNN
from jobs.data.hdf5 import holds, items_of, rows_of
from jobs.data.items import Item, Shape, checked_points, content_of

CATEGORIES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink", "sofa", "toilet",
)  # fmt: skip
BACKGROUND = -1
# Where a variant lies: folders that may hold it, and what its files end with. The hardest one is given out under a name of its own.
FOLDERS = {"obj_bg": ("main_split",), "obj_only": ("main_split_nobg", "main_split"), "pb_t50_rs": ("main_split",)}
ENDINGS = {"obj_bg": "", "obj_only": "", "pb_t50_rs": "_augmentedrot_scale75"}
SPLITS = {"train": "training_objectdataset", "test": "test_objectdataset"}
COUNTS = {"obj_bg": {"train": 2309, "test": 581}, "obj_only": {"train": 2309, "test": 581}, "pb_t50_rs": {"train": 11416, "test": 2882}}


def list_items(cfg: ScanObjectNN) -> list[Item]:
    """Every object of both splits. ValueError when the variant's files are not there, or one is broken (hdf5.py)."""
    items = []
    for split in SPLITS:
        file = _file(cfg, split)
        if cfg.variant != "obj_only" and "nobg" in file.resolve().parent.name:
            way_out = "name the folder that holds main_split, or variant obj_only"
            raise ValueError(f"{file} has no background, which {cfg.variant} has: {way_out}")
        _check_mask(file)
        if cfg.variant == "obj_only" and file.parent.name != "main_split_nobg" and not holds(file, "mask"):
            raise ValueError(f"{file} holds no mask of the background, which obj_only leaves out: use main_split_nobg, or variant obj_bg")
        items += items_of([file], split, CATEGORIES)
    return sorted(items, key=lambda item: item.id)


def _check_mask(file: Path) -> None:
    if holds(file, "mask"):
        mask, data = np.asarray(rows_of(file, "mask")), rows_of(file, "data")
        if mask.shape != data.shape[:2]:
            raise ValueError(f"{file}: mask has the shape {list(mask.shape)}; it holds a number for each point of data {list(data.shape)}")


def read(item: Item, cfg: ScanObjectNN) -> Shape:
    """The object's points; those of the background left out where the variant is obj_only. Reject when too few are left."""
    assert item.path is not None and item.row is not None
    points = np.asarray(rows_of(item.path, "data"))[item.row, :, :3]
    if cfg.variant == "obj_only" and holds(item.path, "mask"):
        points = points[np.asarray(rows_of(item.path, "mask"))[item.row] != BACKGROUND]
    cloud = checked_points(points)
    return Shape(cloud, content_of(cloud))


def _file(cfg: ScanObjectNN, split: str) -> Path:
    names = [f"{SPLITS[split]}{ENDINGS[cfg.variant]}.h5"]
    repacked = f"{split}.h5"
    places = [cfg.source / folder for folder in FOLDERS[cfg.variant]] + [cfg.source]
    for place in places:
        for name in [*names, repacked]:
            if (place / name).is_file():
                return place / name
    there = sorted(str(path.relative_to(cfg.source)) for path in cfg.source.glob("**/*.h5"))[:6] if cfg.source.is_dir() else []
    raise ValueError(
        f"{cfg.source} has no {split} file of the variant {cfg.variant}: expected {FOLDERS[cfg.variant][0]}/{names[0]} or "
        f"main_split/{repacked}; there is {', '.join(there) or 'no .h5 file'}"
    )
