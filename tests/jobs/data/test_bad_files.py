"""Files that are not what they should be: each is said with its name before, or as soon as, it is read."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from jobs.config import ConfigError, check_data
from jobs.data.items import Reject
from jobs.data.rooms import blocks
from jobs.prepare import prepare


def modelnet(folder: Path, names: str = "chair\ntable\n") -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        with h5py.File(folder / f"ply_data_{split}0.h5", "w") as file:
            file["data"] = rng.standard_normal((8, 64, 3)).astype(np.float32)
            file["label"] = np.array([0, 1] * 4, np.uint8)[:, None]
    (folder / "shape_names.txt").write_text(names, encoding="latin-1")


def replace(folder: Path, name: str, value: Any) -> None:
    with h5py.File(folder / "ply_data_train0.h5", "a") as file:
        del file[name]
        if value is None:
            file.create_group(name)
        else:
            file[name] = value


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: replace(folder, "data", None), "holds no dataset 'data'"),
        (lambda folder: replace(folder, "label", None), "holds no dataset 'label'"),
        (lambda folder: replace(folder, "label", np.uint8(1)), r"label has the shape \[\]"),
        (lambda folder: (folder / "shape_names.txt").write_text("chair\nchair\n"), "shape_names.txt names chair twice"),
        (lambda folder: (folder / "shape_names.txt").write_bytes(b"chai\xe9\ntable\n"), "shape_names.txt is not UTF-8 text"),
        (lambda folder: replace(folder, "data", np.full((8, 64, 3), np.nan, np.float32)), "none of the 8 train shapes of the source"),
    ],
)
def test_what_is_wrong_in_a_release_is_named(tmp_path: Path, spoil: Callable[[Path], Any], said: str) -> None:
    modelnet(tmp_path)
    spoil(tmp_path)
    section = {"kind": "modelnet40", "source": str(tmp_path), "points": 64, "target": str(tmp_path / "out")}
    with pytest.raises(ValueError, match=said):
        prepare(check_data(section, "test"), say=lambda line: None, parallel=False)


def test_objects_without_background_are_no_obj_bg_and_a_mask_has_a_number_a_point(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("training", "test"):
        path = tmp_path / "main_split_nobg" / f"{split}_objectdataset.h5"
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file["data"] = rng.standard_normal((4, 64, 3)).astype(np.float32)
            file["label"] = np.arange(4)
            file["mask"] = np.zeros((3, 64), np.int32)
    for variant, said in (("obj_bg", "has no background, which obj_bg has"), ("obj_only", r"mask has the shape \[3, 64\]")):
        values = {"kind": "scanobjectnn", "source": str(tmp_path / "main_split_nobg"), "variant": variant, "points": 64}
        with pytest.raises(ValueError, match=said):
            prepare(check_data({**values, "target": str(tmp_path / "out")}, "test"), say=lambda line: None, parallel=False)


def test_a_stray_point_and_a_tiny_stride_are_refused_not_walked_through() -> None:
    xyz = np.vstack([np.random.default_rng(0).random((200, 3)), [[1e6, 1e6, 0.0]]])
    with pytest.raises(Reject, match="1000000 m by 1000000 m"):
        next(blocks(xyz, np.zeros((201, 3)), np.zeros(201, np.int64), name="r", seed=0, points=64, stride=0.5))
    with pytest.raises(ConfigError, match="stride"):
        check_data({"kind": "synthetic-rooms", "stride": 0.0001}, "test")
