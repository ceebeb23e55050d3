"""Registering: what a version says of itself. MLflow's own store, no server."""
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs.config import check, names
from jobs.register import register
from jobs.tracking import Stage


def test_a_version_names_the_code_that_trained_it_not_that_of_the_registering_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.sqlite'}")  # its registry asks that one for the model
    client = MlflowClient()
    experiment = client.create_experiment("test", artifact_location=(tmp_path / "artifacts").as_uri())
    runs = {name: client.create_run(experiment).info.run_id for name in ("pretrain", "evaluate", "register")}
    client.set_tag(runs["pretrain"], names.TAG_CODE, "code of the training")
    model = client.create_logged_model(experiment, name="encoder", source_run_id=runs["pretrain"])
    one = {"accuracy": 0.5, "balanced_accuracy": 0.25}
    scores = {encoder: {"val": one, "test": one} for encoder in ("trained", "random")}
    client.log_dict(runs["evaluate"], {"model_id": model.model_id, "scores": scores, "protocol": {"dataset": "tiny"}}, "evaluate.json")
    config = check({"data": {"kind": "synthetic"}, "pretrain": {"backbone": {"name": "pointnet"}}}, "test")
    register(Stage("register", config, runs["register"], runs, "p-1", "code of today", client))
    version = client.get_model_version_by_alias("adacrossnet-pointnet", names.ALIAS_CANDIDATE)
    assert (version.tags[names.TAG_CODE], version.run_id) == ("code of the training", runs["pretrain"])
    assert version.tags[names.evaluation_metric("svm", "tiny", "trained.test.accuracy")] == "0.500000"
