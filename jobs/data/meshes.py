"""A folder of meshes, SOURCE/<class>/[<split>/]*.{off,obj,ply,stl,glb}: points sampled by area, views rendered from several azimuths."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from jobs.config.datasets import Meshes
from jobs.data import rendering
from jobs.data.draws import generator
from jobs.data.items import Item, Reject, Shape, check_name, content_of, text_of
from jobs.data.off import read_off
from jobs.data.splat import azimuths
from jobs.data.surface import areas, sample, to_unit_ball

SUFFIXES = frozenset({".off", ".obj", ".ply", ".stl", ".glb"})
SPLIT_FOLDERS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
Z_UP = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # (x, y, z) with z up becomes (x, z, -y) with y up

logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # what it says of a broken file stands in the reject's reason


def list_items(cfg: Meshes) -> list[Item]:
    """Every mesh file under the class folders. ValueError when the folder is missing, empty or laid out in another way."""
    if not cfg.source.is_dir():
        raise ValueError(f"{cfg.source} does not exist: data.source must be a folder that holds one folder of meshes a class")
    classes = sorted(path for path in cfg.source.iterdir() if path.is_dir() and not _hidden(path.name))
    files = {folder.name: _mesh_files(folder) for folder in classes}
    splits = [name for name in files if name.lower() in SPLIT_FOLDERS]
    if splits and not any(found for name, found in files.items() if name not in splits):
        raise ValueError(f"{cfg.source} holds {', '.join(splits)}: the layout is <class>/<split>/, not <split>/<class>/")
    items = [_item(cfg.source, path) for found in files.values() for path in found]
    if not items:
        loose = sum(path.suffix.lower() in SUFFIXES for path in cfg.source.iterdir())
        here = f" in class folders, but {loose} beside them: move each into the folder of its class" if loose else ""
        raise ValueError(f"{cfg.source} holds no mesh{here}; expected <class>/[<split>/]*.{{off,obj,ply,stl,glb}} under it")
    return sorted(items, key=lambda item: item.id)


def read(item: Item, cfg: Meshes) -> Shape:
    """Points by area and rendered views of one mesh. Reject says why a mesh has no usable surface."""
    assert item.path is not None
    check_name(item.path, cfg.source)
    triangles = load_triangles(item.path)
    content = content_of(triangles.reshape(-1, 3))
    triangles = to_unit_ball(triangles @ Z_UP.T if cfg.up == "z" else triangles)
    rng = generator("mesh", cfg.seed, item.id)
    points, _, _ = sample(triangles, cfg.points, rng)
    colour = tuple(rng.uniform(0.45, 0.95, 3))
    views = rendering.views(triangles, azimuths(cfg.views, 0.0), cfg.image_size, colour) if cfg.views else []
    return Shape(points.astype(np.float32), content, views=views)


def load_triangles(path: Path) -> NDArray[np.float64]:
    """The faces of a mesh file that have an area, [T, 3, 3], in the file's units. Reject when there is none, or the file is broken."""
    if path.stat().st_size == 0:
        raise Reject("the file is empty")
    soup = read_off(path) if path.suffix.lower() == ".off" else _by_trimesh(path)
    if not len(soup):
        raise Reject("holds no faces, so there is no surface to sample")
    broken = int((~np.isfinite(soup)).any((1, 2)).sum())
    if broken:
        raise Reject(f"{broken} of {len(soup)} faces have a corner that is not finite (NaN or infinite)")
    if np.abs(soup).max() > 1e100:  # its square would overflow
        raise Reject("its coordinates are too large to compute with")
    scale = np.ptp(soup.reshape(-1, 3), axis=0).max() or 1.0
    solid = soup[areas(soup / scale) > 0]
    if not len(solid):
        raise Reject(f"none of its {len(soup)} faces has an area")
    return solid


def _by_trimesh(path: Path) -> NDArray[np.float64]:
    try:
        # skip_materials keeps textures out; process=False keeps vertices as stored
        scene = trimesh.load_scene(path, process=False, skip_materials=True)
        meshes = [mesh for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh)]
        return np.concatenate([np.asarray(mesh.vertices, float)[mesh.faces] for mesh in meshes]) if meshes else np.empty((0, 3, 3))
    except Exception as error:  # trimesh's loaders raise whatever a broken file leads them to
        raise Reject(f"cannot be read as a mesh ({type(error).__name__}: {str(error)[:120]})") from None


def _mesh_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not any(map(_hidden, path.relative_to(folder).parts)) and path.is_file()
    )


def _hidden(name: str) -> bool:
    """Whether a file or folder is left behind by a system or an editor (.ipynb_checkpoints, ._a.off, __MACOSX)."""
    return name.startswith(".") or name == "__MACOSX"


def _item(source: Path, path: Path) -> Item:
    inside = path.relative_to(source)
    folders = inside.parts[1:-1]
    if len(folders) > 1 or (folders and folders[0].lower() not in SPLIT_FOLDERS):
        raise ValueError(
            f"{path}: a class folder holds meshes, or the folders {', '.join(SPLIT_FOLDERS)} that hold them; move or rename {path.parent}"
        )
    split = SPLIT_FOLDERS[folders[0].lower()] if folders else None
    name = text_of(inside)
    stat = path.stat()
    return Item(name, name.partition("/")[0], split, path, fingerprint=str(stat.st_size), modified=str(stat.st_mtime_ns))
