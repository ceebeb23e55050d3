"""The life of an evaluation's run. MLflow's own store, no server."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from jobs import evaluate_model, svm
from jobs.config import check_data
from jobs.config.sections import Backbone
from jobs.import_published import register
from jobs.judged import find_judged
from jobs.models.pointnet import PointNet
from jobs.models.published import Reading
from jobs.prepare import prepare


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # where artifacts go
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    torch.save(PointNet().state_dict(), tmp_path / "best_model.pth")
    version = register(tmp_path / "best_model.pth", Backbone(name="pointnet"), None, Reading(PointNet().state_dict()), "evaluations")
    return f"models:/adacrossnet-pointnet/{version}"


def test_a_failure_after_the_run_began_ends_it_as_failed(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"kind": "synthetic", "shapes": 96, "points": 64, "views": 1, "image_size": 32, "target": str(tmp_path / "data")}
    prepare(check_data(data, "test"), say=lambda line: None, parallel=False)

    client = MlflowClient()
    judged = find_judged(client, model)

    def full_disk(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(svm.pictures, "confusion", full_disk)
        with pytest.raises(OSError, match="No space left"):
            evaluate_model.evaluate_model(client, judged, tmp_path / "data", "svm", None, 64, 0, lambda line: None)
    evaluate_model.evaluate_model(client, judged, tmp_path / "data", "svm", None, 64, 0, lambda line: None)
    experiment = client.get_experiment_by_name("evaluations")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], "tags.stage = 'evaluate'", order_by=["attributes.start_time ASC"])
    assert [run.info.status for run in found] == ["FAILED", "FINISHED"]
