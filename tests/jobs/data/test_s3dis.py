"""S3DIS's two forms, written small by the test, and read back."""
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from jobs.config import ConfigError, check_data
from jobs.data.loading import check_evaluable, check_trainable
from jobs.data.prepared import PreparedDataset
from jobs.data.rooms import CLASSES, blocks
from jobs.prepare import prepare
from jobs.show import contact_sheet
from jobs.verify import verify

POINTS = 32
FOURTH = "ply_data_all_4.h5"


def prepared(tmp_path: Path, source: Path, **section: Any) -> PreparedDataset:
    values = {"kind": "s3dis", "source": str(source), "target": str(tmp_path / "prepared"), "points": POINTS, **section}
    prepare(check_data(values, "test"), say=lambda line: None, parallel=False)
    return PreparedDataset(tmp_path / "prepared", None)


def write(path: Path, **datasets: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values


def release(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Eleven files of two blocks, so that name order is not the files' order; rooms of three blocks in areas 1, 2 and 5."""
    rng = np.random.default_rng(0)
    data = rng.random((22, POINTS, 9)).astype(np.float32)
    label = rng.integers(13, size=(22, POINTS)).astype(np.uint8)
    for number in range(11):
        write(folder / f"ply_data_all_{number}.h5", data=data[2 * number :][:2], label=label[2 * number :][:2])
    rooms = [f"Area_{(1, 2, 5)[block // 3 % 3]}_office_{block // 9 + 1}" for block in range(22)]
    (folder / "room_filelist.txt").write_text("\n".join(rooms) + "\n")
    return data, label, rooms


def raw(folder: Path, rooms: tuple[str, ...] = ("Area_1/office_1", "Area_1/hall_1", "Area_2/office_1", "Area_5/office_1")) -> None:
    """Rooms of 2.2 m by 1.3 m with floor, a wall and something of a class without a name."""
    for number, room in enumerate(rooms):
        rng = np.random.default_rng(number)
        place = folder / room / "Annotations"
        place.mkdir(parents=True)
        for name, count in (("floor_1", 900), ("wall_1", 500), ("stairs_1", 200)):
            xyz = np.column_stack([rng.uniform(3, 5.2, count), rng.uniform(-1, 0.3, count), rng.uniform(0, 2.5, count)])
            rows = np.column_stack([xyz.round(3), rng.integers(256, size=(count, 3))])
            (place / f"{name}.txt").write_text("\n".join(" ".join(f"{value:g}" for value in row) for row in rows) + "\n")


def test_released_blocks_keep_their_points_labels_and_rooms_in_the_order_of_the_files(tmp_path: Path) -> None:
    data, label, rooms = release(tmp_path / "raw")
    dataset = prepared(tmp_path, tmp_path / "raw")
    assert dataset.manifest["channels"] == 9 and dataset.manifest["part_names"] == list(CLASSES)
    assert dataset.categories == ["Area_1", "Area_2", "Area_5"] and len(dataset) == 22
    seen: dict[str, int] = {}
    for block, name in enumerate(rooms):
        number = seen[name] = seen.get(name, -1) + 1
        row = dataset.ids.index(f"{name[:6]}/{name[7:]}/{number:05d}")
        np.testing.assert_array_equal(dataset.points(row), data[block])
        np.testing.assert_array_equal(dataset.parts(row), label[block])
        assert (dataset.splits[row] == "test") == (name[:6] == "Area_5")


def test_the_list_of_files_decides_their_order(tmp_path: Path) -> None:
    data, _, rooms = release(tmp_path / "raw")
    order = [3, 0, *range(4, 11), 1, 2]
    (tmp_path / "raw" / "all_files.txt").write_text("".join(f"indoor3d_sem_seg_hdf5_data/ply_data_all_{number}.h5\n" for number in order))
    dataset = prepared(tmp_path, tmp_path / "raw")
    row = dataset.ids.index(f"{rooms[0][:6]}/{rooms[0][7:]}/00000")
    np.testing.assert_array_equal(dataset.points(row), data[6])


def test_splits_are_whole_rooms(tmp_path: Path) -> None:
    raw(tmp_path / "raw", tuple(f"Area_{area}/office_{room}" for area in (1, 3) for room in range(12)))
    dataset = prepared(tmp_path, tmp_path / "raw", test_area=3, val_share=0.25)
    rooms: dict[str, set[str]] = {}
    for name, split in zip(dataset.ids, dataset.splits, strict=True):
        rooms.setdefault(name.rpartition("/")[0], set()).add(split)
    assert all(len(splits) == 1 for splits in rooms.values())
    counts = {split: sum(splits == {split} for splits in rooms.values()) for split in ("train", "val", "test")}
    assert counts == {"train": 9, "val": 3, "test": 12}
    assert all((splits == {"test"}) == room.startswith("Area_3") for room, splits in rooms.items())


def cut(xyz: np.ndarray, rgb: np.ndarray, stride: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every 1 m square on a grid of `stride` that holds 100 points: (indices, what each point's nine numbers are)."""
    xyz = xyz - xyz.min(0)
    size, found = xyz.max(0), []
    x = 0.0
    while x == 0 or x < size[0] - 1 + stride - 1e-12:
        y = 0.0
        while y == 0 or y < size[1] - 1 + stride - 1e-12:
            inside = [i for i, p in enumerate(xyz) if x <= p[0] <= x + 1 and y <= p[1] <= y + 1]
            if len(inside) >= 100:
                found.append((np.array(inside), np.column_stack([xyz[inside], rgb[inside] / 255, xyz[inside] / size])))
            y += stride
        x += stride
    return found


@pytest.mark.parametrize("stride", [0.5, 1.0])
def test_raw_rooms_are_cut_as_the_release_is(stride: float) -> None:
    rng = np.random.default_rng(3)
    xyz = np.column_stack([rng.uniform(3, 5.7, 4000), rng.uniform(-1, 0.3, 4000), rng.uniform(0.2, 2.5, 4000)])
    rgb, classes = rng.integers(256, size=(4000, 3)).astype(float), rng.integers(13, size=4000)
    expected = cut(xyz, rgb, stride)
    found = list(blocks(xyz, rgb, classes, name="room", seed=0, points=400, stride=stride))
    assert len(found) == len(expected) > 2
    for (points, labels), (inside, values) in zip(found, expected, strict=True):
        at = np.array([int(np.abs(values[:, 6:] - point[6:]).sum(1).argmin()) for point in points])
        np.testing.assert_allclose(points[:, 2:], values[at, 2:], atol=1e-6)
        shift = points[:, :2] - values[at, :2]
        np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-6)  # moved as a whole,
        np.testing.assert_allclose(points[:, :2].min(0), -0.5, atol=1e-6)  # so that its least corner stands half a metre from the middle
        np.testing.assert_array_equal(labels, classes[inside[at]])
        assert len(np.unique(at)) == len(inside) if len(inside) <= 400 else len(np.unique(at)) > 200


def test_raw_rooms_become_blocks_and_classes_without_a_name_are_clutter(tmp_path: Path) -> None:
    raw(tmp_path / "raw")
    dataset = prepared(tmp_path, tmp_path / "raw")
    assert {name.rpartition("/")[0] for name in dataset.ids} == {"Area_1/office_1", "Area_1/hall_1", "Area_2/office_1", "Area_5/office_1"}
    labels = {CLASSES[label] for row in range(len(dataset)) for label in dataset.parts(row)}  # type: ignore[union-attr]
    assert labels == {"floor", "wall", "clutter"}
    assert not verify(tmp_path / "prepared")
    contact_sheet(tmp_path / "prepared", tmp_path / "sheet.png", shapes=4)


def test_a_stray_character_costs_its_line_and_is_said(tmp_path: Path) -> None:
    raw(tmp_path / "raw")
    file = tmp_path / "raw/Area_1/office_1/Annotations/floor_1.txt"
    lines = file.read_text().splitlines()
    lines[7] = lines[7].replace(" ", "\x10", 1)
    file.write_text("\n".join(lines))
    empty = tmp_path / "raw/Area_1/hall_1/Annotations"
    for path in empty.iterdir():
        path.unlink()
    prepared(tmp_path, tmp_path / "raw")
    rejects = [json.loads(line) for line in (tmp_path / "prepared" / "rejects.jsonl").read_text().splitlines()]
    assert {"path": "Area_1/office_1/Annotations/floor_1.txt", "reason": "line 8 is no row of x y z r g b and was left out"} in rejects
    assert {"id": "Area_1/hall_1", "reason": "has no points: no .txt file in its folder Annotations"} in rejects


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: (raw / "room_filelist.txt").unlink(), "room_filelist.txt is missing"),
        (lambda raw: (raw / "room_filelist.txt").write_text("Area_1_a\n" * 21), "names 21 rooms, but the 11 files hold 22 blocks"),
        (lambda raw: (raw / "room_filelist.txt").write_text("Area_5_a\n" * 21 + "kitchen\n"), "'kitchen' names no room of an area"),
        (lambda raw: (raw / "room_filelist.txt").write_text("Area_1_a\n" * 22), "holds no Area_5 to hold out"),
        (lambda raw: (raw / "all_files.txt").write_text("x/ply_data_all_77.h5"), "names ply_data_all_77.h5, which is not in"),
        (lambda raw: os.truncate(raw / "ply_data_all_4.h5", 600), "ply_data_all_4.h5 cannot be read as HDF5"),
        (lambda raw: write(raw / FOURTH, data=np.zeros((2, POINTS, 9))), "holds no dataset 'label'"),
        (lambda raw: write(raw / FOURTH, data=np.zeros((2, POINTS, 6)), label=np.zeros((2, POINTS), int)), "blocks are"),
        (lambda raw: write(raw / FOURTH, data=np.zeros((2, POINTS, 9)), label=np.zeros((2, 5), int)), r"label has the shape \[2, 5\]"),
        (lambda raw: write(raw / FOURTH, data=np.zeros((2, POINTS, 9)), label=np.full((2, POINTS), 13)), "row 0 lies outside 0 to 12"),
    ],
)
def test_broken_releases_are_refused_before_any_work(tmp_path: Path, damage: Any, message: str) -> None:
    release(tmp_path / "raw")
    damage(tmp_path / "raw")
    with pytest.raises(ValueError, match=message):
        prepared(tmp_path, tmp_path / "raw")


def test_rooms_are_no_shapes_and_what_is_no_s3dis_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is no S3DIS"):
        prepared(tmp_path, tmp_path / "empty")
    release(tmp_path / "raw")
    with pytest.raises(ConfigError, match="turned is not for rooms"):
        prepared(tmp_path, tmp_path / "raw", turned=True)
    dataset = prepared(tmp_path, tmp_path / "raw")
    with pytest.raises(ValueError, match="holds blocks of rooms"):
        check_evaluable(dataset.folder, 16)
    with pytest.raises(ValueError, match="holds blocks of rooms"):
        check_trainable(dataset, 16)
