import json
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from jobs.config.datasets import Synthetic
from jobs.data.images import decode
from jobs.data.prepared import PreparedDataset, check_shards
from jobs.prepare import prepare


def copy_of(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


def edit(folder: Path, **values: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_splits_are_disjoint_and_together_the_whole(small: Path) -> None:
    parts = [set(PreparedDataset(small, split).ids) for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(PreparedDataset(small, None)) == 48


def test_a_shape_has_its_points_parts_views_and_label(small: Path) -> None:
    dataset = PreparedDataset(small, None)
    assert dataset.ids == sorted(dataset.ids)
    for row in range(len(dataset)):
        points, parts = dataset.points(row), dataset.parts(row)
        assert points.shape == (128, 3) and points.dtype == np.float32 and np.isfinite(points).all()
        assert parts is not None and parts.shape == (128,)
        names = {dataset.manifest["part_names"][part] for part in parts}
        assert {name.split("/")[0] for name in names} == {dataset.categories[dataset.labels[row]]} == {dataset.ids[row].split("/")[0]}
        assert dataset.view_count(row) == 2 and [dataset.view(row, which) for which in range(2)] == dataset.views(row)
        assert decode(dataset.view(row, 1)).shape == (32, 32, 3)


def test_another_process_reads_the_same(small: Path) -> None:
    dataset = PreparedDataset(small, "train")
    sent = ForkingPickler.dumps(dataset)  # as DataLoader sends it to its workers
    assert len(sent) < 50_000  # the maps do not travel
    other = ForkingPickler.loads(sent)
    assert all(
        np.array_equal(dataset.points(row), other.points(row)) and dataset.views(row) == other.views(row) for row in range(len(dataset))
    )


def test_keep_leaves_out_geometries_by_content(small: Path) -> None:
    held_out = set(PreparedDataset(small, "test").contents)
    kept = PreparedDataset(small, None, keep=lambda content: content not in held_out)
    assert set(kept.splits) == {"train", "val"}


def test_a_missing_folder_says_how_to_prepare_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist: prepare a dataset there first"):
        PreparedDataset(tmp_path / "nowhere", None)


def test_a_folder_without_manifest_is_unfinished(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no manifest.json: preparing it never finished"):
        PreparedDataset(tmp_path, None)


def test_a_manifest_that_is_no_json_is_refused(small: Path, tmp_path: Path) -> None:
    folder = copy_of(small, tmp_path)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        PreparedDataset(folder, None)


def test_another_schema_version_is_refused(small: Path, tmp_path: Path) -> None:
    folder = copy_of(small, tmp_path)
    edit(folder, schema_version=99)
    with pytest.raises(ValueError, match=r"schema version 99, this code reads 1: prepare the dataset again"):
        PreparedDataset(folder, None)


def test_a_split_without_shapes_is_refused_naming_the_counts(small: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no usable shape in split 'val' \(shapes a split: train \d+"):
        PreparedDataset(small, "val", keep=lambda content: False)
    with pytest.raises(ValueError, match=r"split 'validation': there are train, val, test"):
        PreparedDataset(small, "validation")


def test_whole_shards_pass(small: Path) -> None:
    check_shards(small)


@pytest.mark.parametrize("name", ["shard-00001.arrow", "index.arrow"])
def test_one_flipped_byte_is_found_and_the_file_named(small: Path, tmp_path: Path, name: str) -> None:
    folder = copy_of(small, tmp_path)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf"(?s)is damaged.*{name}: its checksum is not the manifest's"):
        check_shards(folder)


def test_a_missing_and_a_cut_shard_are_refused(small: Path, tmp_path: Path) -> None:
    folder = copy_of(small, tmp_path)
    (folder / "shard-00000.arrow").write_bytes((folder / "shard-00000.arrow").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"shard-00000.arrow is not a whole Arrow file"):
        PreparedDataset(folder, None)
    (folder / "shard-00000.arrow").unlink()
    with pytest.raises(ValueError, match=r"shard-00000.arrow is missing"):
        PreparedDataset(folder, None)
    with pytest.raises(ValueError, match=r"shard-00000.arrow: missing"):
        check_shards(folder)


def test_an_edited_checksum_is_found_by_the_digest(small: Path, tmp_path: Path) -> None:
    folder = copy_of(small, tmp_path)
    edit(folder, digest="0" * 64)
    with pytest.raises(ValueError, match="its digest is not that of its checksums"):
        check_shards(folder)


def test_a_manifest_with_another_number_of_points_is_refused_and_not_read_scrambled(small: Path, tmp_path: Path) -> None:
    folder = copy_of(small, tmp_path)
    edit(folder, points=64)
    with pytest.raises(ValueError, match=r"manifest.json says 64 points a shape, but points of shard-00000.arrow holds 384 numbers a row"):
        PreparedDataset(folder, None)


def test_a_manifest_without_its_keys_is_refused_naming_them(small: Path, tmp_path: Path) -> None:
    folder = copy_of(small, tmp_path)
    values = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({key: values[key] for key in values if key not in ("points", "digest")}))
    with pytest.raises(ValueError, match=r"manifest.json lacks digest, points: it was edited"):
        PreparedDataset(folder, None)


def test_turned_clouds_keep_their_heights_distances_and_contents_and_each_turns_by_an_angle_of_its_own(tmp_path: Path, small: Path) -> None:
    section = {"kind": "synthetic", "shapes": 48, "points": 128, "views": 2, "image_size": 32, "shard_rows": 10}
    cfg = Synthetic.model_validate({**section, "target": tmp_path / "turned", "turned": True})
    prepare(cfg, say=lambda line: None, parallel=False)
    before, after = PreparedDataset(small, None), PreparedDataset(tmp_path / "turned", None)
    angles = []
    for row in range(len(before)):
        a, b = before.points(row), after.points(row)
        np.testing.assert_array_equal(a[:, 1], b[:, 1])
        np.testing.assert_allclose(np.hypot(a[:, 0], a[:, 2]), np.hypot(b[:, 0], b[:, 2]), atol=1e-5)
        turns = np.angle((b[:, 0] + 1j * b[:, 2]) / (a[:, 0] + 1j * a[:, 2]))
        angles.append(np.angle(np.exp(1j * turns).mean()))
        np.testing.assert_allclose(np.exp(1j * turns), np.exp(1j * angles[-1]), atol=1e-2)
    assert len(np.unique(np.round(angles, 4))) == len(before)
    assert (before.contents == after.contents) and before.manifest["digest"] != after.manifest["digest"]
