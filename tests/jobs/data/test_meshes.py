import os
from pathlib import Path

import numpy as np
import pytest
import trimesh

from jobs.config.datasets import Meshes
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
    for name in ("chair/readme.txt", "chair/.ipynb_checkpoints/a.off", "lamp/._d.obj", "__MACOSX/lamp/d.obj", "lamp/__MACOSX/d.obj"):
        write(tmp_path, name, "left behind")
    write(tmp_path, "lamp/TEST/e.off", GOOD)
    found = {(item.id, item.category, item.split) for item in meshes.list_items(config(tmp_path))}
    assert found == {
        ("chair/train/a.off", "chair", "train"),
        ("chair/test/b.OFF", "chair", "test"),
        ("chair/validation/c.stl", "chair", "val"),
        ("lamp/d.obj", "lamp", None),
        ("lamp/TEST/e.off", "lamp", "test"),
    }


def test_a_folder_laid_out_another_way_is_an_error_that_says_how(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere does not exist"):
        meshes.list_items(config(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"holds no mesh; expected <class>/\[<split>/\]"):
        meshes.list_items(config(tmp_path))
    write(tmp_path / "one", "train/chair/a.off", GOOD)
    with pytest.raises(ValueError, match=r"the layout is <class>/<split>/, not <split>/<class>/"):
        meshes.list_items(config(tmp_path / "one"))
    write(tmp_path / "one", "docs/readme.txt", "not a mesh")
    with pytest.raises(ValueError, match=r"one holds train: the layout is <class>/<split>/"):
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
        GOOD.replace("OFF\n", "off "),
        GOOD.replace("\n", "\r"),
        GOOD.replace("4 4 0\n", "4 4\n"),
        GOOD.replace("\n", " "),  # one line
        GOOD.replace("1 0 0\n0 2 0\n", "1 0\n0 0 2\n0 "),  # a vertex over two lines
        GOOD.replace("3 0 1 2\n3 0 1 3\n", "3 0 1 2 3 0 1 3\n"),  # two faces on a line
        GOOD.replace("3 0 1 2\n", "3 0 1 2 255 0 0\n").replace("OFF", "COFF").replace("1 0 0\n", "1 0 0\n\n"),  # a coloured face
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
        (GOOD[: GOOD.index("3 0 2 3")], "is cut short: 4 faces declared, 2 whole ones found"),
        (GOOD[:-4], "is cut short: 4 faces declared, 3 whole ones found"),
        (GOOD.replace("1 0 0", "nan 0 0"), "3 of 4 faces have a corner that is not finite"),
        (GOOD.replace("1 0 0", "1e300 0 0"), "too large"),
        (GOOD.replace("1 0 0", "one 0 0"), "a vertex holds something that is no number"),
        (GOOD.replace("3 1 2 3", "3 1 2 9"), "a face names a vertex outside the range 0 to 3"),
        (f"OFF\n4 0 0\n{VERTICES}", "holds no faces"),
        ("OFF\n-4 -4 0\n", "negative numbers: -4 vertices and -4 faces"),
        ("OFF\n4 4 0\n0 0 0\n", "is cut short: 4 vertices declared, numbers for 1 found"),
        (GOOD.replace("1 0 0\n", "1 0\n"), "begins with '0', not with its number of corners"),  # a number is missing
        (GOOD.replace("3 1 2 3", "3 1 2 x"), "no vertex number"),
        (GOOD.replace("3 1 2 3", "3 1 2 99999999999999999999"), "no vertex number"),
        ("OFF BINARY\n", "does not give the numbers"),
        (f"OFF\n4 2 0\n{VERTICES}3 0 0 1\n3 1 1 1\n", "none of its 2 faces has an area"),
    ],
)
def test_a_broken_off_file_is_rejected_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(Reject, match=reason):
        meshes.load_triangles(write(tmp_path, "a.off", text))


def test_polygons_of_several_sizes_in_one_file_are_fans_in_the_files_order(tmp_path: Path) -> None:
    ring = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4), np.zeros(8)], 1)
    faces = [range(8), range(5), (0, 1, 2), (0, 2, 4, 6), (0, 1)]
    lines = [" ".join(map(repr, map(float, corner))) for corner in ring] + [f"{len(f)} {' '.join(map(str, f))} 9 9 9" for f in faces]
    triangles = meshes.load_triangles(write(tmp_path, "a.off", "OFF\n8 5 0\n" + "\n".join(lines)))
    expected = [ring[[face[0], face[at], face[at + 1]]] for face in map(list, faces) for at in range(1, len(face) - 1)]
    assert np.array_equal(triangles, expected)


def test_a_file_name_that_is_not_utf8_is_a_reject_that_shows_its_bytes(tmp_path: Path) -> None:
    write(tmp_path, "chair/a.off", GOOD)
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/chair/b\xff.off")).write_text(GOOD)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    cfg = config(tmp_path, views=0)
    _, item = meshes.list_items(cfg)
    assert item.id == r"chair/b\xff.off"
    with pytest.raises(Reject, match=r"is not UTF-8: b'.*/chair/b\\xff\.off'; rename it"):
        meshes.read(item, cfg)


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
