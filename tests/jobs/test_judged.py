"""Every form in which an encoder is named, and what is said of what is none. MLflow's own store, no server."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from jobs import fewshot
from jobs.config import check_data, check_evaluation
from jobs.config.sections import Backbone
from jobs.evaluate_model import SVM, evaluate_model
from jobs.import_published import register
from jobs.judged import Judged, find_judged
from jobs.models.pointnet import PointNet
from jobs.models.published import Reading
from jobs.prepare import prepare
from jobs.pretraining import checkpoint
from service.mlflow_runs import Runs
from service.versions import compared


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)  # where artifacts go
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    return MlflowClient()


@pytest.fixture
def encoder() -> PointNet:
    torch.manual_seed(5)
    return PointNet()


def features(judged: Judged) -> np.ndarray:
    points = np.random.default_rng(0).standard_normal((3, 40, 3)).astype(np.float32)
    return judged.encode(torch.device("cpu"))(points)


def test_all_forms_of_one_encoder_give_the_same_features(client: MlflowClient, encoder: PointNet, tmp_path: Path) -> None:
    file = tmp_path / "best_model.pth"
    torch.save(encoder.state_dict(), file)
    number = register(file, Backbone(name="pointnet"), None, Reading(encoder.state_dict()), "judged")
    version = client.get_model_version("adacrossnet-pointnet", number)
    client.set_registered_model_alias("adacrossnet-pointnet", "champion", number)
    folder = tmp_path / "epoch-00003"
    folder.mkdir()
    checkpoint.write(folder, {}, encoder, epoch=3, step=9, backbone={"name": "pointnet", "k": 20})
    forms = (
        f"models:/adacrossnet-pointnet/{number}", "models:/adacrossnet-pointnet@champion", str(version.source),
        version.run_id, f"runs:/{version.run_id}", str(folder),
    )  # fmt: skip
    found = [find_judged(client, form) for form in forms] + [find_judged(client, str(file), backbone="pointnet")]
    expected = features(found[-1])
    for one in found:
        assert one.backbone.name == "pointnet"
        np.testing.assert_allclose(features(one), expected, atol=1e-6)
    assert [one.model_id for one in found[:5]] == [str(version.source).removeprefix("models:/")] * 5 and found[5].model_id is None
    assert [one.version is not None for one in found] == [True, True, False, False, False, False, False]


def test_what_is_none_is_said_with_the_forms(client: MlflowClient, encoder: PointNet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no nothing: name models:/NAME@ALIAS"):
        find_judged(client, "nothing")
    with pytest.raises(ValueError, match="no such registered version"):
        find_judged(client, "models:/adacrossnet-pointnet@champion")
    with pytest.raises(ValueError, match="there is no run"):
        find_judged(client, "0" * 32)
    bare = client.create_run(client.create_experiment("bare")).info.run_id
    with pytest.raises(ValueError, match="logged no encoder"):
        find_judged(client, bare)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="holds no checkpoint"):
        find_judged(client, str(tmp_path / "folder"))
    torch.save(encoder.state_dict(), tmp_path / "a.pth")
    with pytest.raises(ValueError, match="does not say which encoder it holds: give --backbone"):
        find_judged(client, str(tmp_path / "a.pth"))


def test_a_checkpoint_is_trusted_only_whole_and_an_old_one_is_told_what_it_holds(
    client: MlflowClient, encoder: PointNet, tmp_path: Path
) -> None:
    folder = tmp_path / "epoch"
    folder.mkdir()
    checkpoint.write(folder, {}, encoder, epoch=1, step=1)
    with pytest.raises(ValueError, match="an older version wrote it"):
        find_judged(client, str(folder))
    assert find_judged(client, str(folder), backbone="pointnet").backbone.name == "pointnet"
    with pytest.raises(ValueError, match="holds no dgcnn"):
        find_judged(client, str(folder), backbone="dgcnn", k=20)
    shutil.copytree(folder, tmp_path / "cut")
    (tmp_path / "cut" / checkpoint.ENCODER).write_bytes(b"short")
    with pytest.raises(ValueError, match=r"is not a complete checkpoint.*cut short"):
        find_judged(client, str(tmp_path / "cut"), backbone="pointnet")


def test_scores_stand_on_the_run_the_logged_model_and_the_version(client: MlflowClient, encoder: PointNet, tmp_path: Path) -> None:
    torch.save(encoder.state_dict(), tmp_path / "best_model.pth")
    number = register(tmp_path / "best_model.pth", Backbone(name="pointnet"), None, Reading(encoder.state_dict()), "judged")
    data = {"kind": "synthetic", "shapes": 160, "points": 64, "views": 1, "image_size": 16, "target": str(tmp_path / "data")}
    digest = prepare(check_data(data, "test"), say=lambda line: None, parallel=False)["digest"]
    judged = find_judged(client, f"models:/adacrossnet-pointnet/{number}")
    settings = check_evaluation({"task": "fewshot", "ways": [2], "shots": [2], "queries": 3, "episodes": 3}, "test")
    facts = evaluate_model(client, judged, tmp_path / "data", "fewshot", settings, 64, 0, lambda line: None)
    score = facts["scores"]["trained"]["2way_2shot_accuracy"]
    assert client.get_run(facts["run"]).data.metrics["fewshot/synthetic/2way_2shot_accuracy"] == score
    (of_model,) = [one for one in client.get_logged_model(str(judged.model_id)).metrics if one.key.endswith("2shot_accuracy")]
    assert of_model.value == score and of_model.dataset_digest == digest and of_model.dataset_name == "synthetic"
    tags = client.get_model_version("adacrossnet-pointnet", number).tags
    assert float(tags["fewshot/synthetic/trained.2way_2shot_accuracy"]) == pytest.approx(score, abs=1e-6)
    assert tags["fewshot/synthetic/protocol.digest"] == digest and tags["fewshot/synthetic/protocol.points"] == "64"
    listed = client.download_artifacts(facts["run"], "episodes.json", str(tmp_path))
    assert len(json.loads(Path(listed).read_text())) == 3
    svm = evaluate_model(client, judged, tmp_path / "data", SVM, None, 64, 0, lambda line: None)
    tags = client.get_model_version("adacrossnet-pointnet", number).tags
    balanced = svm["scores"]["trained"]["test"]["balanced_accuracy"]
    assert float(tags["svm/synthetic/trained.test.balanced_accuracy"]) == pytest.approx(balanced, abs=1e-6)
    assert np.mean([row["recall"] for row in svm["per_class"]]) == pytest.approx(balanced)

    other = PointNet()
    torch.save(other.state_dict(), tmp_path / "other.pth")
    second = register(tmp_path / "other.pth", Backbone(name="pointnet"), None, Reading(other.state_dict()), "judged")
    beside = find_judged(client, f"models:/adacrossnet-pointnet/{second}")
    again = evaluate_model(client, beside, tmp_path / "data", SVM, None, 64, 0, lambda line: None)
    evaluate_model(client, beside, tmp_path / "data", "fewshot", settings, 64, 0, lambda line: None)
    runs = Runs(client.tracking_uri)
    both = (client.get_model_version("adacrossnet-pointnet", one) for one in (number, second))
    rows = {row["score"]: row for row in compared(runs, *both)}
    accuracy = rows["svm/synthetic/test.accuracy"]
    gain = again["scores"]["trained"]["test"]["accuracy"] - svm["scores"]["trained"]["test"]["accuracy"]
    assert accuracy["difference"] == pytest.approx(gain, abs=1e-6) and accuracy["paired"]["mean"] == pytest.approx(gain)
    assert accuracy["paired"]["low"] <= gain <= accuracy["paired"]["high"] and accuracy["of_test"]
    assert rows["svm/synthetic/val.accuracy"]["paired"]["items"] == svm["protocol"]["shapes"]["val"]
    assert rows["fewshot/synthetic/2way_2shot_accuracy"]["paired"]["items"] == 3
    assert rows["svm/synthetic/test.balanced_accuracy"]["paired"] is None, "it is no mean over shapes"


def test_a_dataset_without_enough_shapes_is_refused_before_a_run_begins(client: MlflowClient, encoder: PointNet, tmp_path: Path) -> None:
    torch.save(encoder.state_dict(), tmp_path / "a.pth")
    data = {"kind": "synthetic", "shapes": 64, "points": 64, "views": 1, "image_size": 16, "target": str(tmp_path / "data")}
    prepare(check_data(data, "test"), say=lambda line: None, parallel=False)
    judged = find_judged(client, str(tmp_path / "a.pth"), backbone="pointnet")
    settings = check_evaluation({"task": "fewshot"}, "test")
    with pytest.raises(ValueError, match="5-way 10-shot with 20 queries needs 5 categories of 30 shapes"):
        evaluate_model(client, judged, tmp_path / "data", "fewshot", settings, 64, 0, lambda line: None)
    with pytest.raises(ValueError, match=r"points is 128, but .* stores 64"):
        fewshot.judge(judged, tmp_path / "data", settings, 128, 0, lambda line: None)
    assert client.search_experiments(filter_string="name = 'adacrossnet'") == []


@pytest.mark.parametrize("task", ["parts", "finetune"])
def test_supervised_tasks_train_both_encoders_and_leave_tables_and_pictures(
    client: MlflowClient, encoder: PointNet, tmp_path: Path, task: str
) -> None:
    torch.save(encoder.state_dict(), tmp_path / "best_model.pth")
    number = register(tmp_path / "best_model.pth", Backbone(name="pointnet"), None, Reading(encoder.state_dict()), "judged")
    data = {"kind": "synthetic", "shapes": 160, "points": 64, "views": 1, "image_size": 16, "target": str(tmp_path / "data")}
    prepare(check_data(data, "test"), say=lambda line: None, parallel=False)
    judged = find_judged(client, f"models:/adacrossnet-pointnet/{number}")
    more = {"fractions": [0.2, 1.0]} if task == "finetune" else {}
    settings = check_evaluation({"task": task, "epochs": 2, "batch": 16, "lr": 0.02, **more}, "test")
    facts = evaluate_model(client, judged, tmp_path / "data", task, settings, 64, 0, lambda line: None)
    logged = client.get_run(facts["run"]).data.metrics
    tags = client.get_model_version("adacrossnet-pointnet", number).tags
    names = ("instance_miou", "category_miou", "accuracy") if task == "parts" else ("accuracy_20pct", "balanced_accuracy_100pct")
    for metric in names:
        for prefix, side in (("", "trained"), ("random_", "random")):
            assert logged[f"{task}/synthetic/{prefix}{metric}"] == facts["scores"][side][metric]
            assert float(tags[f"{task}/synthetic/{side}.{metric}"]) == pytest.approx(facts["scores"][side][metric], abs=1e-6)
    gain = facts["gains"][facts["headline"][-1]]
    assert gain["mean"] == pytest.approx(
        facts["scores"]["trained"][facts["headline"][-1]] - facts["scores"]["random"][facts["headline"][-1]]
    )
    drawn = {Path(item.path).name for item in client.list_artifacts(facts["run"], "pictures")}
    own = {"parts_gallery.png", "parts_gallery.html"} if task == "parts" else {"finetune_label_fractions.png"}
    assert drawn == {f"{task}_learning_curves.png"} | own
    files = {item.path for item in client.list_artifacts(facts["run"])}
    assert {"trainings.json", f"{task}.json"} <= files and ("per_category.json" in files) == (task == "parts")
