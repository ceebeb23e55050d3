import os
from pathlib import Path

import numpy as np
import pytest
import trimesh

from jobs.config.sections import Meshes
from jobs.data import meshes
from jobs.data.images import decode
from jobs.data.items import Reject

VERTICES = "0 0 0\n1 0 0\n0 2 0\n0 0 3\n"
FACES = "3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"
GOOD = f"OFF\n4 4 0\n{VERTICES}{FACES}"


def config(source: Path, **changed: object) -> Meshes:
    return Meshes.model_validate({"kind": "meshes", "source": source, "points": 100, "views": 2, "image_size": 48, **changed})


def write(source: Path, name: str, text: str) -> Path:
    path = source / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_folders_say_class_and_split(tmp_path: Path) -> None:
    for name in ("chair/train/a.off", "chair/test/b.OFF", "chair/validation/c.stl", "lamp/d.obj"):
        write(tmp_path, name, GOOD)
    write(tmp_path, "chair/readme.txt", "not a mesh")
    found = {(item.id, item.category, item.split) for item in meshes.list_items(config(tmp_path))}
    assert found == {
        ("chair/train/a.off", "chair", "train"),
        ("chair/test/b.OFF", "chair", "test"),
        ("chair/validation/c.stl", "chair", "val"),
        ("lamp/d.obj", "lamp", None),
    }


def test_a_folder_laid_out_another_way_is_an_error_that_says_how(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere does not exist"):
        meshes.list_items(config(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"holds no mesh: expected <class>/\[<split>/\]"):
        meshes.list_items(config(tmp_path))
    write(tmp_path / "one", "train/chair/a.off", GOOD)
    with pytest.raises(ValueError, match=r"the layout is <class>/<split>/, not <split>/<class>/"):
        meshes.list_items(config(tmp_path / "one"))
    write(tmp_path / "two", "chair/old/a.off", GOOD)
    with pytest.raises(ValueError, match=r"a class folder holds meshes, or the folders train, test"):
        meshes.list_items(config(tmp_path / "two"))


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("OFF\n", "OFF"),  # the header glued to the counts, as in ModelNet
        GOOD.replace("OFF\n", "OFF "),
        f"# made by hand\nOFF\n# counts\n4 4 0\n\n{VERTICES}\n{FACES}",
        GOOD.replace("\n", "\r\n"),
        f"OFF\n5 6 0\n{VERTICES}9 9 9\n{FACES}3 0 0 1\n3 1 1 1\n",  # degenerate faces, a vertex in no face
    ],
)
def test_dirty_off_files_give_the_same_surface(tmp_path: Path, text: str) -> None:
    triangles = meshes.load_triangles(write(tmp_path, "a.off", text))
    expected = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])[[[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]]
    assert np.array_equal(triangles, expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty"),
        ("solid a\n", "is no OFF file"),
        ("OFF\n", "does not give the numbers of vertices and faces"),
        ("OFF\nfour 4 0\n", "does not give the numbers of vertices and faces: 'four 4 0'"),
        (GOOD[: GOOD.index("3 0 2 3")], "is cut short: 4 vertices and 4 faces declared, 6 lines found"),
        (GOOD[:-4], "is cut short within its last face: '3 1'"),
        (GOOD.replace("1 0 0", "nan 0 0"), "3 of 4 faces have a corner that is not finite"),
        (GOOD.replace("1 0 0", "1e300 0 0"), "too large"),
        (GOOD.replace("1 0 0", "one 0 0"), "cannot be read as a mesh"),
        (GOOD.replace("3 1 2 3", "3 1 2 9"), "cannot be read as a mesh .*outside the range"),
        (f"OFF\n4 0 0\n{VERTICES}", "cannot be read as a mesh|holds no faces"),
        (f"OFF\n4 2 0\n{VERTICES}3 0 0 1\n3 1 1 1\n", "none of its 2 faces has an area"),
    ],
)
def test_a_broken_off_file_is_rejected_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(Reject, match=reason):
        meshes.load_triangles(write(tmp_path, "a.off", text))


@pytest.mark.parametrize("suffix", ["off", "obj", "ply", "stl", "glb"])
def test_every_format_gives_the_same_cube(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cube.{suffix}"
    trimesh.creation.box((1, 2, 3)).export(path)
    triangles = meshes.load_triangles(path)
    assert len(triangles) == 12
    np.testing.assert_allclose(np.ptp(triangles.reshape(-1, 3), axis=0), [1, 2, 3])


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl", "glb"])
def test_a_truncated_file_of_any_format_is_a_reject_not_a_crash(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ball.{suffix}"
    trimesh.creation.icosphere(1).export(path)
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(Reject):
        meshes.load_triangles(path)


def test_a_cloud_without_faces_is_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    trimesh.PointCloud(np.random.default_rng(0).random((30, 3))).export(path)
    with pytest.raises(Reject, match="holds no faces"):
        meshes.load_triangles(path)


def test_a_mesh_is_sampled_in_the_unit_ball_and_rendered_without_a_display(tmp_path: Path) -> None:
    write(tmp_path, "tetra/a.off", GOOD)
    cfg = config(tmp_path)
    (item,) = meshes.list_items(cfg)
    shape = meshes.read(item, cfg)
    assert shape.points.shape == (100, 3) and np.linalg.norm(shape.points, axis=1).max() <= 1 + 1e-6
    front, back = (decode(view) for view in shape.views)
    for view in (front, back):
        covered = (view != 255).any(2).mean()
        assert view.shape == (48, 48, 3) and 0.02 < covered < 0.8
    assert not np.array_equal(front, back)
    assert shape.views == meshes.read(item, cfg).views


def test_one_mesh_leaves_nothing_in_the_next_ones_views(tmp_path: Path) -> None:
    write(tmp_path, "tetra/a.off", GOOD)
    trimesh.creation.box((1, 1, 1)).export(tmp_path / "tetra" / "b.off")
    cfg = config(tmp_path)
    first, second = meshes.list_items(cfg)
    alone = meshes.read(first, cfg).views
    assert meshes.read(second, cfg).views != alone
    assert meshes.read(first, cfg).views == alone


def test_z_up_files_are_stored_with_y_up(tmp_path: Path) -> None:
    path = tmp_path / "mast" / "a.off"
    path.parent.mkdir()
    trimesh.creation.box((0.1, 0.1, 2)).export(path)
    spans = {
        up: np.ptp(meshes.read(meshes.list_items(cfg)[0], cfg).points, axis=0).argmax()
        for up in "yz"
        if (cfg := config(tmp_path, up=up, views=0))
    }
    assert spans == {"y": 2, "z": 1}


def test_copies_of_a_mesh_share_their_content_and_other_meshes_do_not(tmp_path: Path) -> None:
    write(tmp_path, "tetra/a.off", GOOD)
    write(tmp_path, "tetra/b.off", GOOD.replace("OFF\n", "OFF"))
    write(tmp_path, "tetra/c.off", GOOD.replace("1 0 0", "1.5 0 0"))
    cfg = config(tmp_path, views=0)
    a, b, c = (meshes.read(item, cfg) for item in meshes.list_items(cfg))
    assert a.content == b.content != c.content
    assert not np.array_equal(a.points, b.points)  # sampled for its own id


def test_without_egl_and_osmesa_the_packages_to_install_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.data import rendering

    monkeypatch.setattr(rendering, "WINDOWS", {"libNoSuchThing.so": "none"})
    with pytest.raises(ValueError, match=r"apt-get install libegl1 libgl1-mesa-dri"):
        rendering._window()


@pytest.mark.skipif("ADACROSSNET_DATA" not in os.environ, reason="ADACROSSNET_DATA is not set: no real meshes to read")
def test_real_meshes_are_read_and_sampled() -> None:
    cfg = config(Path(os.environ["ADACROSSNET_DATA"]) / "meshes", views=0)
    items = meshes.list_items(cfg)
    assert {item.split for item in items} == {"train", "test"}
    for item in items[::12]:
        assert np.isfinite(meshes.read(item, cfg).points).all()
