"""ShapeNetPart's two forms, written small by the test, and read back."""
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from jobs.config import check_data
from jobs.data.part_table import OFFICIAL_TABLE
from jobs.data.prepared import PreparedDataset
from jobs.prepare import prepare

POINTS = 20
VAL = "ply_data_val0.h5"
LISTED_VAL = "train_test_split/shuffled_val_file_list.json"


def clouds(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, POINTS, 3)).astype(np.float32)


def two(*labels: int) -> dict[str, np.ndarray]:
    return {"data": clouds(2, 0), "label": np.array(labels)}


def parts_of(labels: np.ndarray) -> np.ndarray:
    """Every point a part of its shape's category, in turn."""
    allowed = [OFFICIAL_TABLE.of(OFFICIAL_TABLE.categories[label]) for label in labels]
    return np.array([[one[point % len(one)] for point in range(POINTS)] for one in allowed])


def write(path: Path, **datasets: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values


def release(folder: Path) -> Path:
    """The HDF5 release: two train files; labels [n, 1] uint8, parts uint8 in one file and int64 in the other."""
    folder.mkdir(parents=True)
    for number, (name, kind) in enumerate((("train0", np.uint8), ("train1", np.int64), ("val0", np.uint8), ("test0", np.uint8))):
        labels = np.arange(16)
        small, parts = labels.astype(np.uint8)[:, None], parts_of(labels).astype(kind)
        write(folder / f"ply_data_{name}.h5", data=clouds(16, number), label=small, pid=parts)
    return folder


def prepared(tmp_path: Path, source: Path, lines: list[str] | None = None, **section: Any) -> PreparedDataset:
    values = {"kind": "shapenetpart", "source": str(source), "target": str(tmp_path / "prepared"), "points": POINTS, **section}
    prepare(check_data(values, "test"), say=(lines if lines is not None else []).append, parallel=False)
    return PreparedDataset(tmp_path / "prepared", None)


def text_release(folder: Path) -> dict[str, np.ndarray]:
    """The text release with normals: two categories, three shapes a split, more points than are stored."""
    rows = {}
    (folder / "train_test_split").mkdir(parents=True)
    (folder / "synsetoffset2category.txt").write_text("Airplane\t02691156\nMug\t03797390\n")
    for split in ("train", "val", "test"):
        listed = []
        for synset, label in (("02691156", 0), ("03797390", 11)):
            for number in range(3):
                name = f"{split}{number}"
                cloud = np.random.default_rng([label, number, len(split)]).standard_normal((POINTS + 5, 6)).round(5)
                part = np.resize(parts_of(np.array([label]))[0], POINTS + 5)
                (folder / synset).mkdir(exist_ok=True)
                lines = [" ".join([*(f"{value:.5f}" for value in row), f"{one:.6f}"]) for row, one in zip(cloud, part, strict=True)]
                (folder / synset / f"{name}.txt").write_text("\n".join(lines) + "\n")
                rows[f"{synset}/{name}"] = np.column_stack([cloud, part])
                listed.append(f"shape_data/{synset}/{name}")
        (folder / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(listed))
    return rows


def test_the_official_table_has_16_categories_and_50_parts_at_their_published_numbers() -> None:
    assert len(OFFICIAL_TABLE.categories) == 16 and len(OFFICIAL_TABLE.parts) == 50
    starts = [OFFICIAL_TABLE.of(category)[0] for category in OFFICIAL_TABLE.categories]
    assert starts == [0, 4, 6, 8, 12, 16, 19, 22, 24, 28, 30, 36, 38, 41, 44, 47]  # index_start of the published evaluation


def test_the_hdf5_release_keeps_its_points_parts_and_splits(tmp_path: Path) -> None:
    lines: list[str] = []
    dataset = prepared(tmp_path, release(tmp_path / "raw"), lines)
    assert dataset.manifest["part_names"] == list(OFFICIAL_TABLE.parts)
    assert {split: dataset.splits.count(split) for split in ("train", "val", "test")} == {"train": 32, "val": 16, "test": 16}
    for number, name in enumerate(("train0", "train1", "val0", "test0")):
        for label in range(16):
            row = dataset.ids.index(f"{name[:-1]}/ply_data_{name}/{label:05d}")
            np.testing.assert_array_equal(dataset.points(row), clouds(16, number)[label])
            np.testing.assert_array_equal(dataset.parts(row), parts_of(np.array([label]))[0])
            assert dataset.categories[dataset.labels[row]] == OFFICIAL_TABLE.categories[label]
    assert any("distributed with 12137 train, 1870 val, 2874 test" in line for line in lines)


def test_the_text_release_is_read_by_its_lists_and_each_point_keeps_its_part(tmp_path: Path) -> None:
    rows = text_release(tmp_path / "raw")
    dataset = prepared(tmp_path, tmp_path / "raw")
    assert len(dataset) == 18 and set(dataset.categories) == {"Airplane", "Mug"}
    for row, name in enumerate(dataset.ids):
        assert dataset.splits[row] == name.split("/")[1][:-1]
        raw = rows[name]
        for point, part in zip(dataset.points(row), dataset.parts(row), strict=True):  # type: ignore[arg-type]
            at = int(np.abs(raw[:, :3] - point).sum(1).argmin())
            np.testing.assert_allclose(raw[at, :3], point, atol=1e-6)
            assert raw[at, 6] == part


def test_another_table_comes_with_the_data_or_is_named(tmp_path: Path) -> None:
    table = {"classes": ["ant", "bee"], "parts": ["ant/head", "ant/leg", "bee/wing"]}
    labels = np.array([0, 1, 0, 1])
    parts = np.where(labels[:, None] == 0, np.arange(POINTS) % 2, 2)
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, split in enumerate(("train", "val", "test")):
        write(raw / f"ply_data_{split}0.h5", data=clouds(4, number), label=labels, pid=parts)
    with pytest.raises(ValueError, match="point 0 of row 1 has the part 2, but those of Bag are 4 to 5"):
        prepared(tmp_path / "a", raw)
    named = tmp_path / "insects.json"
    named.write_text(json.dumps(table))
    by_name = prepared(tmp_path / "b", raw, table=str(named))
    named.rename(raw / "categories.json")
    beside = prepared(tmp_path / "c", raw)
    assert by_name.manifest["part_names"] == beside.manifest["part_names"] == table["parts"]
    assert by_name.manifest["digest"] == beside.manifest["digest"] and by_name.categories == ["ant", "bee"]


def test_the_releases_own_table_is_read(tmp_path: Path) -> None:
    raw = release(tmp_path / "raw")
    (raw / "all_object_categories.txt").write_text("Mug\t03797390\nCap\t02954340\n")
    (raw / "overallid_to_catid_partid.json").write_text(json.dumps([["03797390", 0], ["03797390", 1], ["02954340", 0]]))
    with pytest.raises(ValueError, match="label of row 2 is 2, but there are 2 categories"):
        prepared(tmp_path, raw)
    (raw / "overallid_to_catid_partid.json").write_text(json.dumps([["03797390", 0], ["999", 1]]))
    with pytest.raises(ValueError, match="do not fit each other"):
        prepared(tmp_path, raw)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: (raw / "ply_data_val0.h5").unlink(), r"no ply_data_val\*.h5: the val split is missing"),
        (lambda raw: os.truncate(raw / "ply_data_test0.h5", 700), "ply_data_test0.h5 cannot be read as HDF5"),
        (lambda raw: write(raw / VAL, data=clouds(2, 0), label=np.zeros(2, int)), "no dataset 'pid', each point's part"),
        (lambda raw: write(raw / VAL, **two(0, 0), pid=np.zeros((2, 7), int)), r"pid has the shape \[2, 7\]"),
        (lambda raw: write(raw / VAL, **two(0, 16), pid=np.zeros((2, POINTS), int)), "label of row 1 is 16"),
        (lambda raw: write(raw / VAL, **two(0, 3), pid=np.zeros((2, POINTS), int)), "row 1 has the part 0, but those of Car are 8 to 11"),
        (lambda raw: (raw / "categories.json").write_text('{"classes": ["a"], "parts": ["b/c"]}'), "'b/c' belongs to no category"),
        (lambda raw: (raw / "categories.json").write_text('{"classes": ["a"]}'), "parts is not such a list"),
        (lambda raw: (raw / "categories.json").write_text("{"), "cannot be read as JSON"),
    ],
)
def test_broken_releases_are_refused_before_any_work(tmp_path: Path, damage: Any, message: str) -> None:
    raw = release(tmp_path / "raw")
    damage(raw)
    with pytest.raises(ValueError, match=message):
        prepared(tmp_path, raw)


def test_broken_text_files_are_rejects_with_their_reasons(tmp_path: Path) -> None:
    text_release(tmp_path / "raw")
    folder = tmp_path / "raw" / "02691156"
    (folder / "train0.txt").unlink()
    (folder / "train1.txt").write_text((folder / "train2.txt").read_text().replace("0.000000", "9.000000"))
    (folder / "val0.txt").write_text("1 2 3\n" * 30)
    (folder / "val1.txt").write_text("one two\n" * 30)
    (folder / "stray.txt").write_text((folder / "val2.txt").read_text())
    dataset = prepared(tmp_path, tmp_path / "raw")
    reasons = {one["id"]: one["reason"] for one in map(json.loads, (tmp_path / "prepared" / "rejects.jsonl").read_text().splitlines())}
    assert len(dataset) == 14
    assert "train0.txt is missing" in reasons["02691156/train0"]
    assert "has the part 9; those of Airplane are 0 to 3" in reasons["02691156/train1"]
    assert "has 3 columns" in reasons["02691156/val0"] and "no table of numbers" in reasons["02691156/val1"]
    assert "none of the lists" in reasons["02691156/stray"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: (raw / "synsetoffset2category.txt").unlink(), "is no ShapeNetPart"),
        (lambda raw: (raw / "synsetoffset2category.txt").write_text("Teapot 1\n"), "'Teapot 1' is not CATEGORY SYNSET"),
        (lambda raw: (raw / LISTED_VAL).unlink(), "shuffled_val_file_list.json is missing"),
        (lambda raw: (raw / LISTED_VAL).write_text("["), "is not JSON"),
        (lambda raw: (raw / LISTED_VAL).write_text('["shape_data/02691156/train0"]'), "stands in train and in val"),
        (lambda raw: (raw / LISTED_VAL).write_text('["shape_data/777/a"]'), "knows no 777"),
    ],
)
def test_broken_lists_are_refused(tmp_path: Path, damage: Any, message: str) -> None:
    text_release(tmp_path / "raw")
    damage(tmp_path / "raw")
    with pytest.raises(ValueError, match=message):
        prepared(tmp_path, tmp_path / "raw")
