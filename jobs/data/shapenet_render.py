"""The ShapeNetRender layout of CrossPoint, CrossNet and AdaCrossNet: a PLY cloud and a folder of rendered views a shape.

SOURCE/ShapeNet/<synset>/<id>.ply
SOURCE/ShapeNetRendering/<synset>/<id>/rendering/NN.png
"""

from __future__ import annotations

from pathlib import Path

from jobs.config.datasets import ShapenetRender
from jobs.data.images import decode
from jobs.data.items import Item, Reject, Shape, check_name, checked_points, content_of, text_of
from jobs.data.ply import read_vertices

CLOUDS, VIEWS = "ShapeNet", "ShapeNetRendering"


def list_items(cfg: ShapenetRender) -> list[Item]:
    """Every shape that has a cloud or views. ValueError when a folder is missing or holds none."""
    clouds, views = cfg.source / CLOUDS, cfg.source / VIEWS
    for folder in (cfg.source, clouds, views):
        if not folder.is_dir():
            raise ValueError(
                f"{folder} does not exist: data.source must hold {CLOUDS}/<synset>/<id>.ply and {VIEWS}/<synset>/<id>/rendering/NN.png"
            )
    names = {(path.parent.name, path.stem) for path in clouds.glob("*/*.ply")} | {
        (path.parent.name, path.name) for path in views.glob("*/*") if path.is_dir()
    }
    if not names:
        raise ValueError(f"{cfg.source} holds no shape: no {CLOUDS}/<synset>/<id>.ply")
    return [
        _item(clouds / synset / f"{name}.ply", views / synset / name / "rendering", synset, name, cfg.views)
        for synset, name in sorted(names)
    ]


def read(item: Item, cfg: ShapenetRender) -> Shape:
    """Cloud and views as they are; Reject when either is missing or broken. A broken view is skipped where others are whole."""
    assert item.path is not None and item.views is not None
    check_name(item.path, cfg.source)
    if not item.path.is_file():
        raise Reject(f"has views but no cloud: {CLOUDS}/{item.id}.ply is missing")
    files = _view_files(item.views)[: cfg.views]
    if not files:
        raise Reject(f"has no views: no PNG in {VIEWS}/{item.id}/rendering")
    points = checked_points(read_vertices(item.path))
    views, skipped = [], []
    for file in files:
        data = file.read_bytes()
        try:
            decode(data)
            views.append(data)
        except ValueError:
            skipped.append((text_of(file.relative_to(cfg.source)), f"this view of {len(data)} bytes does not decode as an image"))
    if not views:
        raise Reject(f"none of its {len(files)} views decodes as an image")
    return Shape(points, content_of(points), views=views, skipped=skipped)


def _item(path: Path, views: Path, synset: str, name: str, count: int) -> Item:
    files = [path, *_view_files(views)[:count]]
    stats = {file.name: file.stat() for file in files if file.is_file()}
    return Item(
        text_of(Path(synset, name)), text_of(Path(synset)), None, path, views,
        fingerprint=",".join(f"{name}:{stat.st_size}" for name, stat in stats.items()),
        modified=",".join(str(stat.st_mtime_ns) for stat in stats.values()),
    )  # fmt: skip


def _view_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.png") if file.is_file())
