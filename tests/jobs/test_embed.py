"""Embedding a folder of whatever people have: clouds, meshes, broken files."""
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
import trimesh

from jobs import packaging
from jobs.config.sections import Backbone
from jobs.embed import _resolved, embed
from jobs.models.tables import build_backbone


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model") / "m"
    torch.manual_seed(0)
    packaging.save(folder, Backbone(name="pointnet"), build_backbone("pointnet", k=1).state_dict())
    return str(folder)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "things"
    (folder / "deep").mkdir(parents=True)
    cloud = np.random.default_rng(0).normal(size=(90, 3))
    np.save(folder / "a.npy", cloud)
    np.save(folder / "a_moved_and_scaled.npy", 7 * cloud + 3)
    np.savetxt(folder / "deep/b.xyz", cloud)
    trimesh.creation.box().export(folder / "c.off")
    trimesh.PointCloud(cloud).export(folder / "d.ply")
    trimesh.creation.icosphere().export(folder / "deep/e.ply")
    np.save(folder / "nan.npy", np.full((90, 3), np.nan))
    (folder / "broken.off").write_text("OFF\n8 6 0\n0 0 0\n")
    for name in ("empty.npy", "empty.txt"):
        (folder / name).touch()
    (folder / "notes.md").write_text("not a shape")
    return folder


def test_every_readable_file_becomes_a_row_and_the_rest_is_said(
    model: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "f.parquet"
    assert embed(model, source, out, points=64) == 6
    table = pyarrow.parquet.read_table(out)
    assert table.column("id").to_pylist() == ["a.npy", "a_moved_and_scaled.npy", "c.off", "d.ply", "deep/b.xyz", "deep/e.ply"]
    features = np.stack(table.column("feature").to_numpy())
    assert features.shape == (6, 1024)
    assert np.isfinite(features).all()
    described = table.schema.metadata
    assert (described[b"model"], described[b"points"], described[b"source"]) == (model.encode(), b"64", str(source).encode())
    said = capsys.readouterr().out
    assert "skipped nan.npy: 90 of 90 points are not finite" in said
    assert "skipped broken.off: is cut short" in said
    assert "skipped empty.npy: the file is empty" in said and "skipped empty.txt: the file is empty" in said


def test_the_same_folder_gives_the_same_features(model: str, source: Path, tmp_path: Path) -> None:
    tables = []
    for name in ("one.parquet", "two.parquet"):
        embed(model, source, tmp_path / name, points=64)
        tables.append(pyarrow.parquet.read_table(tmp_path / name))
    assert tables[0].equals(tables[1])


def test_a_cloud_is_brought_to_the_unit_ball_first(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    for name, scale, shift in (("x", 1.0, 0.0), ("y", 7.0, 3.0)):
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "same.npy", scale * np.random.default_rng(1).normal(size=(64, 3)) + shift)
    features = []
    for name in ("x", "y"):
        embed(model, folder / name, tmp_path / f"{name}.parquet", points=64)
        features.append(np.stack(pyarrow.parquet.read_table(tmp_path / f"{name}.parquet").column("feature").to_numpy()))
    np.testing.assert_allclose(features[0], features[1], atol=1e-4)


def test_an_output_that_cannot_be_written_is_said_before_the_model_is_loaded(source: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "folder.parquet", tmp_path / "file" / "f.parquet"):
        with pytest.raises(ValueError, match=f"{out} cannot be written"):
            embed("models:/never-asked-for/1", source, out, points=64)


def test_nothing_is_left_beside_the_output(model: str, source: Path, tmp_path: Path) -> None:
    embed(model, source, tmp_path / "out" / "f.parquet", points=64)
    with pytest.raises(ValueError, match="holds no shape"):
        (tmp_path / "empty").mkdir()
        embed(model, tmp_path / "empty", tmp_path / "out" / "g.parquet", points=64)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["f.parquet"]


def test_a_folder_that_holds_no_model_is_named_alone(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{source} holds no MLmodel file") as error:
        embed(str(source), source, tmp_path / "f.parquet", points=64)
    assert "sqlite" not in str(error.value)


def test_too_few_points_for_the_encoder_point_at_the_option(source: Path, tmp_path: Path) -> None:
    packaging.save(tmp_path / "m", Backbone(name="dgcnn", k=20), build_backbone("dgcnn", k=20).state_dict())
    with pytest.raises(ValueError, match=r"choose k between 1 and 8.*--points"):
        embed(str(tmp_path / "m"), source, tmp_path / "f.parquet", points=8)


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_source_with_nothing_in_it_is_refused(model: str, tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=str(tmp_path / folder)):
        embed(model, tmp_path / folder, tmp_path / "f.parquet", points=64)


def test_a_model_that_is_not_there_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises((ValueError, OSError), match="no_such_model"):
        embed(str(tmp_path / "no_such_model"), source, tmp_path / "f.parquet", points=64)


@pytest.mark.parametrize("model", ["models:/m-0a1b", "models:/encoder/latest", "runs:/0a1b/encoder", "folder"])
def test_what_names_no_version_goes_to_mlflow_as_it_is(model: str) -> None:
    assert _resolved(model) == (model, 1024)
