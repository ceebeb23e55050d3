"""A folder of meshes, SOURCE/<class>/[<split>/]*.{off,obj,ply,stl,glb}: points sampled by area, views rendered from several azimuths."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from jobs.config.sections import Meshes
from jobs.data import rendering
from jobs.data.draws import generator
from jobs.data.items import Item, Reject, Shape, content_of
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
    classes = sorted(path for path in cfg.source.iterdir() if path.is_dir() and not path.name.startswith("."))
    if classes and all(path.name in SPLIT_FOLDERS for path in classes):
        raise ValueError(
            f"{cfg.source} holds {', '.join(path.name for path in classes)}: the layout is <class>/<split>/, not <split>/<class>/"
        )
    items = [
        _item(cfg.source, path)
        for folder in classes
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not items:
        raise ValueError(f"{cfg.source} holds no mesh: expected <class>/[<split>/]*.{{off,obj,ply,stl,glb}} under it")
    return sorted(items, key=lambda item: item.id)


def read(item: Item, cfg: Meshes) -> Shape:
    """Points by area and rendered views of one mesh. Reject says why a mesh has no usable surface."""
    assert item.path is not None
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
    if path.suffix.lower() == ".off":
        _check_off(path)
    try:
        # skip_materials keeps textures out; process=False keeps vertices as stored
        scene = trimesh.load_scene(path, process=False, skip_materials=True)
        meshes = [mesh for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh)]
        soup = np.concatenate([np.asarray(mesh.vertices, float)[mesh.faces] for mesh in meshes]) if meshes else np.empty((0, 3, 3))
    except Exception as error:  # trimesh's loaders raise whatever a broken file leads them to
        raise Reject(f"cannot be read as a mesh ({type(error).__name__}: {str(error)[:120]})") from None
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


def _item(source: Path, path: Path) -> Item:
    inside = path.relative_to(source)
    folders = inside.parts[1:-1]
    if len(folders) > 1 or (folders and folders[0] not in SPLIT_FOLDERS):
        raise ValueError(
            f"{path}: a class folder holds meshes, or the folders {', '.join(SPLIT_FOLDERS)} that hold them; move or rename {path.parent}"
        )
    split = SPLIT_FOLDERS[folders[0]] if folders else None
    return Item(inside.as_posix(), inside.parts[0], split, path, fingerprint=str(path.stat().st_size))


def _check_off(path: Path) -> None:
    """Reject an OFF file cut short: trimesh would take the faces that are left. The header may be glued to the counts (`OFF8 6 0`)."""
    text = path.read_bytes().decode("latin-1")
    lines = [words for line in text.split("\n") if (words := line.partition("#")[0].split())]
    first = lines[0][0] if lines else ""
    place = first.upper().find("OFF")
    if place < 0:
        raise Reject("is no OFF file: it does not begin with OFF")
    glued = [first[place + 3 :], *lines[0][1:]] if first[place + 3 :] else lines[0][1:]
    counts, body = (glued, lines[1:]) if glued else (lines[1] if len(lines) > 1 else [], lines[2:])
    try:
        vertices, faces = int(counts[0]), int(counts[1])
    except (IndexError, ValueError):
        raise Reject(f"its OFF header does not give the numbers of vertices and faces: {' '.join(counts)[:60]!r}") from None
    if len(body) < vertices + faces:
        raise Reject(f"is cut short: {vertices} vertices and {faces} faces declared, {len(body)} lines found")
    last = body[vertices + faces - 1] if faces else []
    if last and (not last[0].isdigit() or len(last) <= int(last[0])):
        raise Reject(f"is cut short within its last face: {' '.join(last)[:60]!r}")
