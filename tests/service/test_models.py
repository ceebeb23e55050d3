"""`import` and `evaluate` against a real MLflow: from a published file to its scores."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from cluster.local import LocalCluster
from jobs.config import check_data
from jobs.models.pointnet import PointNet
from jobs.models.projection import inv_head
from jobs.prepare import prepare
from service.home import Home

TREE = Path(__file__).parents[2]


@pytest.fixture
def run(shared: tuple[Home, LocalCluster]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command with the real project's jobs; returns what came of it."""
    uri = shared[1].tracking_uri
    assert uri is not None
    environment = {**os.environ, "ADACROSSNET_PROJECT": str(TREE), "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "service.cli", *arguments]
        return subprocess.run(line, cwd=TREE, env=environment, capture_output=True, text=True, timeout=300)

    return command


@pytest.fixture
def published_file(tmp_path: Path) -> Path:
    """PointNet as CrossPoint saves it under DDP, with its projection."""
    torch.manual_seed(3)
    state = {**PointNet().state_dict(), **{f"inv_head.{name}": value for name, value in inv_head(1024).state_dict().items()}}
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "best_model.pth")
    return tmp_path / "best_model.pth"


@pytest.mark.soak
def test_a_published_file_is_registered_once_and_judged_beside_random_weights(
    run: Callable[..., subprocess.CompletedProcess[str]], published_file: Path, tmp_path: Path, shared: tuple[Home, LocalCluster]
) -> None:
    imported = run("import", str(published_file), "--backbone", "pointnet", "--variant", "crosspoint")
    assert imported.returncode == 0, imported.stderr
    assert "30 tensors, 9 left out; registered as adacrossnet-pointnet version" in imported.stdout
    again = run("import", str(published_file), "--backbone", "pointnet", "--variant", "crosspoint")
    assert again.stdout == imported.stdout, "the same weights stay one version"

    model = imported.stdout.split("adacrossnet evaluate ")[1].split()[0]
    data = {"kind": "synthetic", "shapes": 96, "points": 64, "views": 1, "image_size": 32, "target": str(tmp_path / "data")}
    prepare(check_data(data, "test"), say=lambda line: None, parallel=False)
    judged = run("evaluate", model, "--data", str(tmp_path / "data"), "--points", "64", "--json")
    assert judged.returncode == 0, judged.stderr
    facts = json.loads(judged.stdout)
    assert facts["model"] == model and facts["protocol"]["points"] == 64
    assert set(facts["scores"]) == {"trained", "random", "random_uncalibrated"}
    client = MlflowClient(shared[1].tracking_uri)
    logged = client.get_run(facts["run"]).data.metrics
    assert logged["svm/synthetic/balanced_accuracy"] == facts["scores"]["trained"]["test"]["balanced_accuracy"]
    name, version = model.removeprefix("models:/").split("/")
    of_model = client.get_logged_model(client.get_model_version(name, version).source.rpartition("/")[2]).metrics
    assert {metric.key for metric in of_model} >= {"svm/synthetic/accuracy", "svm/synthetic/val_accuracy"}


@pytest.mark.soak
def test_what_cannot_be_imported_or_evaluated_says_why(
    run: Callable[..., subprocess.CompletedProcess[str]], published_file: Path, tmp_path: Path
) -> None:
    wrong = run("import", str(published_file), "--backbone", "dgcnn", "--k", "20")
    assert wrong.returncode == 1 and "does not fit DGCNN" in wrong.stderr and "conv1.0.weight: missing" in wrong.stderr
    torch.save(PointNet(), tmp_path / "module.pth")
    refused = run("import", str(tmp_path / "module.pth"), "--backbone", "pointnet")
    assert refused.returncode == 1 and "refused" in refused.stderr and "torch.save(model.state_dict()" in refused.stderr
    assert "there is no file" in run("import", str(tmp_path / "none.pth"), "--backbone", "pointnet").stderr
    assert "holds no manifest.json" in run("evaluate", "models:/adacrossnet-pointnet/1", "--data", str(tmp_path)).stderr
