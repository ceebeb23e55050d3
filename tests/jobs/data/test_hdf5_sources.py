"""ModelNet's and ScanObjectNN's files, written small by the test in the forms that people have, and read back."""
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from jobs.config import ConfigError, check_data
from jobs.data.prepared import PreparedDataset
from jobs.data.scanobjectnn import CATEGORIES
from jobs.prepare import prepare

POINTS = 24
TRAIN = "ply_data_train1.h5"
NAMES = ("airplane", "bathtub", "bed", "bench")


def clouds(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, POINTS, 3)).astype(np.float32)


def write(path: Path, **datasets: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def modelnet(folder: Path, train: int = 12, test: int = 8) -> Path:
    """The HDF5 release: two train files, labels [n, 1] uint8 in one and [n] int64 in the other."""
    folder.mkdir(parents=True)
    (folder / "shape_names.txt").write_text("\n".join(NAMES) + "\n")
    write(folder / "ply_data_train0.h5", data=clouds(train, 0), label=(np.arange(train) % 4).astype(np.uint8)[:, None])
    write(folder / "ply_data_train1.h5", data=clouds(train, 1), label=np.arange(train) % 4)
    write(folder / "ply_data_test0.h5", data=clouds(test, 2), label=(np.arange(test) % 4).astype(np.uint8)[:, None])
    return folder


def prepared(tmp_path: Path, source: Path, lines: list[str] | None = None, **section: Any) -> PreparedDataset:
    values = {"source": str(source), "target": str(tmp_path / "prepared"), "points": POINTS, **section}
    prepare(check_data(values, "test"), say=(lines if lines is not None else []).append, parallel=False)
    return PreparedDataset(tmp_path / "prepared", None)


def scans(folder: Path, stem: str = "objectdataset", masked: bool = True) -> dict[str, np.ndarray]:
    mask = np.where(np.arange(POINTS) < 4, -1, 0)[None].repeat(30, 0)
    found = {}
    for split, name in (("train", f"training_{stem}"), ("test", f"test_{stem}")):
        found[split] = clouds(30, len(name))
        more = {"mask": mask} if masked else {}
        write(folder / f"{name}.h5", data=found[split], label=np.arange(30) % 15, **more)
    return found


def test_modelnets_files_are_read_in_name_order_with_both_forms_of_labels(tmp_path: Path) -> None:
    lines: list[str] = []
    dataset = prepared(tmp_path, modelnet(tmp_path / "raw"), lines, kind="modelnet40")
    assert dataset.categories == list(NAMES)
    assert len(dataset) == 32
    assert {split: dataset.splits.count(split) for split in ("train", "val", "test")} == {"train": 20, "val": 4, "test": 8}
    expected = {f"train/ply_data_train{file}/{row:05d}": cloud for file in (0, 1) for row, cloud in enumerate(clouds(12, file))}
    expected |= {f"test/ply_data_test0/{row:05d}": cloud for row, cloud in enumerate(clouds(8, 2))}
    for row, name in enumerate(dataset.ids):
        np.testing.assert_array_equal(dataset.points(row), expected[name])
        assert dataset.categories[dataset.labels[row]] == NAMES[int(name[-5:]) % 4]
    assert any("holds 24 train, 8 test shapes; the dataset is distributed with 9840 train, 2468 test" in line for line in lines)


def test_modelnet10_is_the_subset_by_name(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, modelnet(tmp_path / "raw"), kind="modelnet10")
    assert dataset.categories == ["bathtub", "bed"]
    assert len(dataset) == 16


def test_modelnets_off_folders_are_turned_upright(tmp_path: Path) -> None:
    for name in NAMES[1:3]:
        for split, count in (("train", 4), ("test", 2)):
            for number in range(count):
                path = tmp_path / "raw" / name / split / f"{name}_{number:04d}.off"
                path.parent.mkdir(parents=True, exist_ok=True)
                tall = 5 + number + 10 * len(name) + 5 * (split == "test")  # no two of them equal
                corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, tall)]
                faces = ["3 0 1 3", "3 0 3 2", "3 4 6 7", "3 4 7 5", "3 0 4 5", "3 0 5 1", "3 2 3 7", "3 2 7 6", "3 0 2 6", "3 0 6 4"]
                rows = [f"{x} {y} {z}" for x, y, z in corners]
                path.write_text("\n".join([f"OFF{len(corners)} {len(faces)} 0", *rows, *faces]))
    dataset = prepared(tmp_path, tmp_path / "raw", kind="modelnet10")
    assert len(dataset) == 12
    extent = np.ptp(dataset.points(0), axis=0)
    assert extent[1] > 2 * max(extent[0], extent[2]), "z in the files is y in the dataset"


def test_scans_keep_their_background_or_lose_it_as_the_variant_asks(tmp_path: Path) -> None:
    raw = scans(tmp_path / "raw" / "main_split")
    with_background = prepared(tmp_path / "a", tmp_path / "raw", kind="scanobjectnn", variant="obj_bg")
    assert with_background.categories == sorted(CATEGORIES)
    assert with_background.manifest["variant"] == "obj_bg"
    row = with_background.ids.index("train/training_objectdataset/00003")
    np.testing.assert_array_equal(with_background.points(row), raw["train"][3])
    assert with_background.categories[with_background.labels[row]] == CATEGORIES[3]

    without = prepared(tmp_path / "b", tmp_path / "raw", kind="scanobjectnn", variant="obj_only", points=POINTS - 4)
    row = without.ids.index("test/test_objectdataset/00007")
    np.testing.assert_array_equal(without.points(row), raw["test"][7][4:])


def test_the_hardest_variant_and_a_repacked_folder_are_found(tmp_path: Path) -> None:
    raw = scans(tmp_path / "raw" / "main_split", "objectdataset_augmentedrot_scale75")
    dataset = prepared(tmp_path / "a", tmp_path / "raw", kind="scanobjectnn", variant="pb_t50_rs")
    row = dataset.ids.index("train/training_objectdataset_augmentedrot_scale75/00000")
    np.testing.assert_array_equal(dataset.points(row), raw["train"][0])
    for split in ("train", "test"):
        write(tmp_path / "repacked" / f"{split}.h5", data=clouds(30, 9 if split == "train" else 8), label=np.arange(30) % 15)
    assert len(prepared(tmp_path / "b", tmp_path / "repacked", kind="scanobjectnn", variant="pb_t50_rs")) == 60


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: (raw / "shape_names.txt").unlink(), "shape_names.txt is missing"),
        (lambda raw: (raw / "ply_data_test0.h5").unlink(), r"no ply_data_test\*.h5: the test split is missing"),
        (lambda raw: os.truncate(raw / "ply_data_train1.h5", 900), "ply_data_train1.h5 cannot be read as HDF5"),
        (lambda raw: write(raw / TRAIN, points=clouds(3, 0), label=np.zeros(3, int)), "no dataset 'data', but label, points"),
        (lambda raw: write(raw / TRAIN, data=clouds(3, 0), label=np.array([0, 9, 1])), "label of row 1 is 9, but there are 4"),
        (lambda raw: write(raw / TRAIN, data=clouds(3, 0), label=np.zeros(2, int)), "3 clouds and 2 labels"),
        (lambda raw: write(raw / TRAIN, data=clouds(3, 0)[:, :, :2], label=np.zeros(3, int)), r"clouds are \[n, points, 3\]"),
        (lambda raw: write(raw / TRAIN, data=clouds(3, 0), label=np.zeros((3, 2), int)), r"label has the shape \[3, 2\]"),
    ],
)
def test_broken_files_are_refused_by_name_before_any_work(tmp_path: Path, damage: Any, message: str) -> None:
    raw = modelnet(tmp_path / "raw")
    damage(raw)
    with pytest.raises(ValueError, match=message):
        prepared(tmp_path, raw, kind="modelnet40")


def test_a_cloud_with_nan_is_a_reject_with_its_reason(tmp_path: Path) -> None:
    raw = modelnet(tmp_path / "raw")
    broken = clouds(12, 1)
    broken[5, 3, 0] = np.nan
    write(raw / "ply_data_train1.h5", data=broken, label=np.arange(12) % 4)
    dataset = prepared(tmp_path, raw, kind="modelnet40")
    assert len(dataset) == 31
    rejects = (tmp_path / "prepared" / "rejects.jsonl").read_text()
    assert "train/ply_data_train1/00005" in rejects
    assert "1 of 24 points are not finite" in rejects


def test_a_mixed_up_variant_says_what_is_there_and_a_missing_one_is_asked_for(tmp_path: Path) -> None:
    scans(tmp_path / "raw" / "main_split", masked=False)
    with pytest.raises(ValueError, match=r"no train file of the variant pb_t50_rs: expected .*augmentedrot.*; there is main_split/test"):
        prepared(tmp_path, tmp_path / "raw", kind="scanobjectnn", variant="pb_t50_rs")
    with pytest.raises(ValueError, match="holds no mask of the background"):
        prepared(tmp_path, tmp_path / "raw", kind="scanobjectnn", variant="obj_only")
    with pytest.raises(ConfigError, match="variant: is required"):
        check_data({"kind": "scanobjectnn", "source": str(tmp_path)}, "test")
