from pathlib import Path

import numpy as np
import pytest

from jobs.config.datasets import ShapenetRender
from jobs.data import shapenet_render
from jobs.data.items import Item, Reject
from jobs.data.splat import png

PIXELS = np.zeros((24, 24, 4), np.uint8)


def write_shape(source: Path, name: str, points: int = 40, views: int = 3, fill: float = 0.0) -> None:
    cloud, folder = source / "ShapeNet" / "0001" / f"{name}.ply", source / "ShapeNetRendering" / "0001" / name / "rendering"
    cloud.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    rows = np.random.default_rng(points).random((points, 3)) + fill
    head = f"ply\nformat ascii 1.0\nelement vertex {points}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    cloud.write_text(head + "".join(f"{x} {y} {z}\n" for x, y, z in rows))
    for view in range(views):
        (folder / f"{view:02d}.png").write_bytes(png(PIXELS + view))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_shape(tmp_path, "a")
    write_shape(tmp_path, "b", points=30, views=2)
    return tmp_path


def config(source: Path, views: int = 24) -> ShapenetRender:
    return ShapenetRender(kind="shapenet-render", source=source, views=views)


def item(source: Path, name: str) -> Item:
    return next(item for item in shapenet_render.list_items(config(source)) if item.id == f"0001/{name}")


def test_a_shape_is_its_cloud_and_the_first_views_in_name_order(source: Path) -> None:
    shape = shapenet_render.read(item(source, "a"), config(source, views=2))
    assert shape.points.shape == (40, 3)
    assert shape.views == [png(PIXELS), png(PIXELS + 1)]
    assert len(shapenet_render.read(item(source, "b"), config(source)).views) == 2


def test_a_shape_without_views_and_views_without_a_shape_are_rejects(source: Path) -> None:
    (source / "ShapeNet" / "0001" / "a.ply").rename(source / "ShapeNet" / "0001" / "c.ply")
    with pytest.raises(Reject, match=r"has views but no cloud: ShapeNet/0001/a.ply is missing"):
        shapenet_render.read(item(source, "a"), config(source))
    with pytest.raises(Reject, match=r"has no views: no PNG in ShapeNetRendering/0001/c/rendering"):
        shapenet_render.read(item(source, "c"), config(source))


def test_a_broken_view_is_skipped_with_its_file_and_the_shape_is_kept(source: Path) -> None:
    broken = source / "ShapeNetRendering/0001/a/rendering/01.png"
    broken.write_bytes(broken.read_bytes()[:50])
    shape = shapenet_render.read(item(source, "a"), config(source))
    assert len(shape.views) == 2
    assert shape.skipped == [("ShapeNetRendering/0001/a/rendering/01.png", "this view of 50 bytes does not decode as an image")]


def test_a_shape_whose_views_are_all_broken_is_a_reject(source: Path) -> None:
    for view in (source / "ShapeNetRendering/0001/b/rendering").iterdir():
        view.write_bytes(b"")
    with pytest.raises(Reject, match="none of its 2 views decodes"):
        shapenet_render.read(item(source, "b"), config(source))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [("end_header\n", "end_header\nnan nan nan\n", "1 of 40 points are not finite"), ("vertex 40", "vertex 4", "holds 4 points")],
)
def test_nan_points_and_too_few_points_are_rejects(source: Path, old: str, new: str, reason: str) -> None:
    cloud = source / "ShapeNet/0001/a.ply"
    cloud.write_text(cloud.read_text().replace(old, new))
    with pytest.raises(Reject, match=reason):
        shapenet_render.read(item(source, "a"), config(source))


def test_a_missing_or_empty_source_is_an_error_that_shows_the_layout(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist: data.source must hold ShapeNet/<synset>/<id>.ply"):
        shapenet_render.list_items(config(tmp_path / "nowhere"))
    for name in ("ShapeNet", "ShapeNetRendering"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="holds no shape"):
        shapenet_render.list_items(config(tmp_path))


def test_the_fingerprint_changes_with_the_files(source: Path) -> None:
    before = item(source, "a").fingerprint
    (source / "ShapeNetRendering/0001/a/rendering/02.png").unlink()
    assert item(source, "a").fingerprint != before
