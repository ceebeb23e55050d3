"""What pruning takes and what it never touches. MLflow's own store, no server."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobs.config import names
from jobs.config.sections import Backbone
from jobs.models.pointnet import PointNet
from jobs.packaging import load_encoder, log_encoder
from service.aliases import roll_back
from service.mlflow_runs import Runs
from service.paired import paired
from service.pruning import prunable, prune
from service.tables import FAILED, SUCCEEDED, Pipeline

NAME = "adacrossnet-pointnet"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.chdir(tmp_path)  # where artifacts go
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    return Runs(f"sqlite:///{tmp_path / 'mlflow.sqlite'}")


def logged(runs: Runs, run: str, seed: int) -> str:
    torch.manual_seed(seed)
    return log_encoder(
        runs.client, run, name="encoder", backbone=Backbone(name="pointnet"), weights=PointNet().state_dict(), step=seed, tags={}
    )


def test_versions_that_are_named_or_new_and_their_encoders_stay(runs: Runs) -> None:
    experiment = runs.experiment("adacrossnet")
    run, going_on = (runs.create(experiment, "pretrain", {}) for _ in range(2))
    models = [logged(runs, run, seed) for seed in range(5)]
    of_open_run = logged(runs, going_on, 7)
    runs.client.create_registered_model(NAME)
    runs.client.create_registered_model("other-name")
    for model in models[:3]:
        runs.client.create_model_version(NAME, f"models:/{model}", run, model_id=model)
    runs.client.create_model_version("other-name", f"models:/{models[4]}", run, model_id=models[4])
    runs.client.set_registered_model_alias(NAME, "champion", "1")
    runs.close(run, "FINISHED")

    found = prunable(runs, "adacrossnet-", None, [])
    assert found.versions == [] and [one.model_id for one in found.models] == [models[3]], "no version points to it"
    failed = Pipeline(id="p", state=FAILED, config={"suite": {"model": f"models:/{NAME}/2"}})
    assert prunable(runs, "adacrossnet-", 1, [failed]).versions == [], "a suite that can be resumed judges it"
    found = prunable(runs, "adacrossnet-", 1, [])
    assert [str(one.version) for one in found.versions] == ["2"], "1 is champion, 3 is the newest"
    assert {one.model_id for one in found.models} == {models[1], models[3]}
    assert (found.kept_versions, found.kept_models) == (3, 4)
    prune(runs, found)
    assert [str(one.version) for one in runs.client.search_model_versions(f"name = '{NAME}'")] == ["3", "1"]
    for model in (f"models:/{NAME}@champion", f"models:/{NAME}/3", "models:/other-name/1", f"models:/{of_open_run}"):
        load_encoder(model)
    assert prunable(runs, "adacrossnet-", 1, []).models == []


def test_what_a_pipeline_that_has_not_succeeded_made_stays_and_every_page_is_read(runs: Runs) -> None:
    experiment = runs.experiment("adacrossnet")
    run = runs.create(experiment, "pretrain", {names.TAG_PIPELINE: "p"})
    model = logged(runs, run, 0)
    runs.close(run, "FINISHED")
    runs.client.create_registered_model(NAME)
    for _ in range(2):
        runs.client.create_model_version(NAME, f"models:/{model}", run, tags={names.TAG_PIPELINE: "p"}, model_id=model)
    for state, versions in ((FAILED, 0), (SUCCEEDED, 1)):
        found = prunable(runs, "adacrossnet-", 1, [Pipeline(id="p", state=state, config={})])
        assert (len(found.versions), found.models) == (versions, [])
    for number in range(101):  # more than a page, and the one that matters comes last
        runs.client.create_registered_model(f"other-{number:03d}")
    runs.client.create_registered_model("z-last")
    second = logged(runs, run, 1)
    runs.client.create_model_version("z-last", f"models:/{second}", run, model_id=second)
    assert prunable(runs, "adacrossnet-", None, []).models == []


def test_an_evaluation_whose_run_is_gone_is_no_silent_mlflow(runs: Runs) -> None:
    gone = {"svm/d/run": "0" * 32}
    assert paired(runs, gone, gone, "svm", "d") == {}


def test_a_rollback_that_was_broken_off_is_finished(runs: Runs) -> None:
    run = runs.create(runs.experiment("adacrossnet"), "pretrain", {})
    model = logged(runs, run, 0)
    runs.client.create_registered_model(NAME)
    for _ in range(2):
        runs.client.create_model_version(NAME, f"models:/{model}", run, model_id=model)
    runs.client.set_registered_model_alias(NAME, names.ALIAS_CHAMPION, "1")  # as it stands after the first of the two
    runs.client.set_registered_model_alias(NAME, names.ALIAS_PREVIOUS, "1")
    runs.client.set_model_version_tag(NAME, "2", "rolled_back.at", "2026-01-01T00:00:00Z")
    runs.client.set_model_version_tag(NAME, "1", "promoted.at", "2026-01-02T00:00:00Z")
    with pytest.raises(ValueError, match="a promotion was broken off"):
        roll_back(runs, NAME, "anna", "again")
    runs.client.set_model_version_tag(NAME, "2", "rolled_back.at", "2026-01-03T00:00:00Z")
    assert roll_back(runs, NAME, "anna", "again") == ("1", "2")
    aliases = runs.client.get_registered_model(NAME).aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {"champion": "1", "previous": "2"}
