"""Registering: what a version says of itself. MLflow's own store, no server."""
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs.config import check, names
from jobs.register import register
from jobs.tracking import Stage


@pytest.fixture
def register_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., MlflowClient]:
    """Registers what a pipeline trained and evaluated; returns the client."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.sqlite'}")  # its registry asks that one for the model
    client = MlflowClient()
    experiment = client.create_experiment("test", artifact_location=(tmp_path / "artifacts").as_uri())

    def register_it(pipeline: str, **values: object) -> MlflowClient:
        config = check({"data": {"kind": "synthetic"}, "pretrain": {"backbone": {"name": "pointnet"}}, **values}, "test")
        register(Stage("register", config, runs["register"], runs, pipeline, "code of today", client))
        return client

    runs = {name: client.create_run(experiment).info.run_id for name in ("pretrain", "evaluate", "register")}
    client.set_tag(runs["pretrain"], names.TAG_CODE, "code of the training")
    model = client.create_logged_model(experiment, name="encoder", source_run_id=runs["pretrain"])
    one = {"accuracy": 0.5, "balanced_accuracy": 0.25}
    scores = {encoder: {"val": one, "test": one} for encoder in ("trained", "random")}
    client.log_dict(runs["evaluate"], {"model_id": model.model_id, "scores": scores, "protocol": {"dataset": "tiny"}}, "evaluate.json")
    return register_it


def test_a_version_names_the_code_that_trained_it_not_that_of_the_registering_job(register_as: Callable[..., MlflowClient]) -> None:
    client = register_as("p-1")
    version = client.get_model_version_by_alias("adacrossnet-pointnet", names.ALIAS_CANDIDATE)
    assert version.tags[names.TAG_CODE] == "code of the training"
    assert client.get_run(version.run_id).data.tags[names.TAG_CODE] == "code of the training"
    assert version.tags[names.evaluation_metric("svm", "tiny", "trained.test.accuracy")] == "0.500000"


def test_the_alias_moves_to_the_new_version_which_notes_the_old_one_and_stays_where_the_config_says_so(
    register_as: Callable[..., MlflowClient],
) -> None:
    name = "adacrossnet-pointnet"
    register_as("p-1")
    register_as("p-2")
    client = register_as("p-3", candidate=False)
    candidate = client.get_model_version_by_alias(name, names.ALIAS_CANDIDATE)
    assert (str(candidate.version), candidate.tags["replaced_candidate"]) == ("2", "1")
    assert client.get_model_version(name, "3").tags[names.TAG_PIPELINE] == "p-3"
