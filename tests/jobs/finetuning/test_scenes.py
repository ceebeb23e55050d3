"""Semantic segmentation: areas held out, blocks as they are, three and nine channels, whole rooms, what cannot serve."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.config import Pipeline, check_data, check_evaluation
from jobs.config.evaluations import Scenes
from jobs.config.sections import Backbone
from jobs.data.format import read_manifest
from jobs.data.loading import evaluable_splits
from jobs.data.prepared import PreparedDataset
from jobs.data.rooms import CLASSES
from jobs.evaluation.scenes import room_of, rooms_of, scene_scores
from jobs.finetuning.folds import fold
from jobs.finetuning.labelled import evaluation_batch, training_batches
from jobs.finetuning.plan import Training
from jobs.finetuning.tasks import SceneSegmentation, task_of
from jobs.finetuning.training import Start, Supervised, Tuned, tune
from jobs.judged import Judged
from jobs.models.dgcnn_semseg import DGCNNSemSeg
from jobs.models.pointnet import PointNet
from jobs.models.rpc import RPC
from jobs.prepare import prepare
from jobs.pretraining.ranks import ALONE
from jobs.supervised import check_splits, judge_here
from jobs.training.loop import Outside

POINTS = 128


def settings(**values: Any) -> Scenes:
    given = {"task": "scenes", "epochs": 2, "batch": 16, "lr": 0.05, "min_lr": 0.001, **values}
    found = check_evaluation(given, "test")
    assert isinstance(found, Scenes)
    return found


def train(rooms: Path, folder: Path, backbone: str = "pointnet", **values: Any) -> tuple[Tuned, Supervised]:
    chosen = settings(**values)
    outside = Outside(report=lambda metrics, write, validated: None, log=lambda rows: None, say=lambda line: None)
    start = Start(Backbone(name=backbone, k=8), None)  # type: ignore[arg-type]
    return tune(task_of(chosen, read_manifest(rooms)), start, chosen, evaluable_splits(rooms), POINTS, ALONE, outside, folder, None)


def test_a_fold_holds_out_one_area_and_whole_rooms_of_the_others(rooms: Path) -> None:
    whole = PreparedDataset(rooms, None)
    for area in (1, 5):
        splits = fold(rooms, area, 0.1)
        ids = {name: set(dataset.ids) for name, dataset in splits.items()}
        assert set.union(*ids.values()) == set(whole.ids) and sum(map(len, ids.values())) == len(whole)
        assert ids["test"] == {one for one in whole.ids if one.startswith(f"Area_{area}/")}
        of = {name: {room_of(one) for one in found} for name, found in ids.items()}
        assert not of["train"] & of["val"] and len(of["val"]) == 5, "of two rooms of each of five areas one"
    own, same = evaluable_splits(rooms), fold(rooms, 5, 0.1)
    assert {name: dataset.ids for name, dataset in own.items()} == {name: dataset.ids for name, dataset in same.items()}
    for row in (0, 7):
        assert (same["val"].points(row) == own["val"].points(row)).all() and (same["val"].parts(row) == own["val"].parts(row)).all()
    with pytest.raises(ValueError, match="Area_5, Area_6"):
        fold(rooms, 7, 0.1)


def test_blocks_are_taken_as_they_are_with_all_their_channels(rooms: Path) -> None:
    dataset = PreparedDataset(rooms, "train")
    batch = next(training_batches(dataset, np.arange(8), seed=0, epoch=0, batch=8, rank=0, world=1, points=160, augment=False))
    assert batch.points_BNC.shape == (8, 160, 9) and batch.parts_BN is not None
    for cloud, told, row in zip(batch.points_BNC.numpy(), batch.parts_BN.numpy(), batch.rows_B, strict=True):
        stored, truth = dataset.points(row), dataset.parts(row)
        assert truth is not None
        rows = {(tuple(point), int(label)) for point, label in zip(stored.tolist(), truth, strict=True)}
        assert {(tuple(point), int(label)) for point, label in zip(cloud.tolist(), told, strict=True)} == rows


def test_training_learns_and_rooms_are_scored_apart_from_blocks(rooms: Path, tmp_path: Path) -> None:
    tuned, course = train(rooms, tmp_path, epochs=8)
    assert tuned.test is not None and tuned.test_rows is not None and tuned.rooms is not None
    task = course.task
    assert isinstance(task, SceneSegmentation)
    assert tuned.test["overall_accuracy"] > 0.35, "a third is wall"
    test = course.splits["test"]
    names = list(rooms_of(test.ids))
    assert tuned.test_rows.shape == (len(test), 13 * 13) and tuned.rooms.shape == (len(names), 13 * 13)
    assert (tuned.test_rows.sum(1) == POINTS).all()
    confusion = np.zeros((13, 13))
    for row in range(len(test)):
        batch = evaluation_batch(test, [row], POINTS)
        assert batch.parts_BN is not None
        with torch.no_grad():
            told = course.model(batch.points_BNC, batch.labels_B).argmax(2)[0]
        for true, one in zip(batch.parts_BN[0].tolist(), told.tolist(), strict=True):
            confusion[true, one] += 1
    assert tuned.test == pytest.approx(scene_scores(confusion))
    points, truth, _ = course.room("test", names[0])
    looks = evaluation_batch(test, rooms_of(test.ids)[names[0]], POINTS).points_BNC[:, :, 6:].flatten(0, 1)
    distinct = {tuple(point) for point in looks.tolist()}
    assert len(points) == len(truth) == len(distinct) == tuned.rooms[0].sum()
    assert 2.0 < np.ptp(points[:, 2]) < 3.3, "metres from floor to ceiling"


def test_nine_channels_start_from_the_three_that_are_trained(rooms: Path) -> None:
    task = SceneSegmentation(CLASSES, channels=9, smoothing=0.2)
    encoder = DGCNNSemSeg(8)
    model = task.model(encoder, "dgcnn_semseg")
    wide = model.get_submodule("encoder")
    assert isinstance(wide, DGCNNSemSeg) and wide.channels == 9
    assert (wide.conv1[0].weight[:, :3] == encoder.conv1[0].weight[:, :3]).all()  # type: ignore[index, union-attr]
    batch = evaluation_batch(PreparedDataset(rooms, "val"), [0, 1], POINTS)
    grey = batch.points_BNC.clone()
    grey[:, :, 3:6] = 0.5
    assert not torch.equal(model.eval()(batch.points_BNC, batch.labels_B), model(grey, batch.labels_B)), "it sees colour"
    blind = SceneSegmentation(CLASSES, channels=3, smoothing=0.2).model(DGCNNSemSeg(8), "dgcnn_semseg").eval()
    torch.testing.assert_close(blind(batch.points_BNC, batch.labels_B), blind(grey, batch.labels_B), rtol=0, atol=0)


def test_several_areas_are_scored_together_and_one_by_one(rooms: Path) -> None:
    torch.manual_seed(0)
    judged = Judged("a model", Backbone(name="pointnet"), PointNet().state_dict(), POINTS)
    outcome = judge_here(judged, rooms, settings(areas=(5, 2), epochs=1), POINTS, 0, lambda line: None)
    assert set(outcome.listed["trainings"]) == {f"{side}, Area_{area} held out" for side in ("trained", "random") for area in (2, 5)}
    one = outcome.metrics["trained"]
    assert {"miou", "voted_miou", "val_miou", "area2_miou", "area5_miou", "area2_voted_miou", "overall_accuracy"} <= one.keys()
    low, high = sorted((one["area2_overall_accuracy"], one["area5_overall_accuracy"]))
    assert low <= one["overall_accuracy"] <= high
    assert outcome.gains["voted_miou_of_a_room"]["low"] <= outcome.gains["voted_miou_of_a_room"]["high"]
    rooms_of_5 = [f"Area_5/{name}" for name in ("office_1", "office_2")]
    ids, values = outcome.items["voted_miou_of_a_room"]
    assert ids[:2] == rooms_of_5 and len(ids) == len(values) == 4, "in the order of the areas as they were asked for"
    assert {"class", "points", "trained", "random", "trained_voted"} <= outcome.listed["per_class"][0].keys()
    assert one["voted_miou_of_a_room"] == pytest.approx(np.mean(values))
    assert {"confusion", "rooms", "rooms.html", "learning_curves"} == outcome.pictures.keys() and outcome.protocol["channels"] == 3


@pytest.mark.parametrize(
    ("encoder", "values", "said"),
    [
        (PointNet(), {"channels": 9}, "channels 9 needs the backbone dgcnn_semseg, not pointnet"),
        (PointNet(), {"areas": (3, 3)}, "each once"),
        (RPC(8), {}, "rpc has no features of single points"),
    ],
)
def test_what_cannot_serve_is_refused_before_training(rooms: Path, encoder: torch.nn.Module, values: dict[str, Any], said: str) -> None:
    name = type(encoder).__name__.lower()
    judged = Judged("a model", Backbone(name=name, k=8), encoder.state_dict(), POINTS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=said):
        judge_here(judged, rooms, settings(**values), POINTS, 0, lambda line: None)


def test_shapes_and_missing_classes_are_refused(rooms: Path, tmp_path: Path) -> None:
    judged = Judged("a model", Backbone(name="pointnet"), PointNet().state_dict(), POINTS)
    shapes = {"kind": "synthetic", "shapes": 64, "points": 128, "views": 1, "image_size": 16, "target": str(tmp_path / "shapes")}
    prepare(check_data(shapes, "test"), say=lambda line: None, parallel=False)
    with pytest.raises(ValueError, match="holds no rooms"):
        judge_here(judged, tmp_path / "shapes", settings(), POINTS, 0, lambda line: None)
    with pytest.raises(ValueError, match="stores 160 points"):
        judge_here(judged, rooms, settings(), 200, 0, lambda line: None)
    splits, training, door = evaluable_splits(rooms), Training("trained"), CLASSES.index("door")
    train = splits["train"]
    bare = train.only([row for row in range(len(train)) if door not in np.asarray(train.parts(row))])
    with pytest.raises(ValueError, match="has blocks with door in val and none in train"):
        check_splits({**splits, "train": bare}, rooms, settings(), training, 1)
    with pytest.raises(ValueError, match="none of the blocks in val where Area_2 is held out"):
        check_splits({"train": train}, rooms, settings(), Training("trained", area=2), 1)
    with pytest.raises(ValueError, match="has 3 blocks in batches of 16: fewer than the 4 workers"):
        few = train.only(range(3))
        check_splits({"train": few, "val": few}, rooms, settings(), training, 4)


def test_a_pipelines_rooms_are_checked_before_it_starts() -> None:
    shapes = {"kind": "synthetic"}
    for scenes, said in (
        ({"data": {"kind": "synthetic"}}, "holds shapes, not rooms"),
        ({"data": {"kind": "synthetic-rooms"}, "channels": 9}, "channels 9 needs the backbone dgcnn_semseg"),
        ({}, "holds shapes, not rooms"),
    ):
        with pytest.raises(ValueError, match=said):
            Pipeline.model_validate({"data": shapes, "evaluations": [{"task": "scenes", **scenes}]})
    given = [{"task": "scenes", "data": {"kind": "synthetic-rooms"}, "channels": 9}]
    fine = Pipeline.model_validate({"data": shapes, "pretrain": {"backbone": {"name": "dgcnn_semseg"}}, "evaluations": given})
    assert fine.stages[-1] == "scenes"
