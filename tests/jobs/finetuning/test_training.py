"""Supervised trainings: batches, losses, one rank as two, going on as if never stopped, early stopping, what is learned."""
from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.config import check_data, check_evaluation
from jobs.config.evaluations import Tuning
from jobs.config.sections import Backbone
from jobs.data.format import read_manifest
from jobs.data.loading import evaluable_splits
from jobs.data.prepared import PreparedDataset
from jobs.finetuning.heads import smoothed
from jobs.finetuning.labelled import evaluation_batches, nested_fraction, training_batches
from jobs.finetuning.tasks import PartSegmentation, task_of
from jobs.finetuning.training import Start, Supervised, Tuned, tune
from jobs.prepare import prepare
from jobs.pretraining.ranks import ALONE
from jobs.training.loop import CalledAway, Outside

POINTS = 64
SMALL: dict[str, Any] = {"epochs": 3, "batch": 16, "lr": 0.02, "min_lr": 0.001}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    section = {"kind": "synthetic", "shapes": 160, "points": 96, "views": 1, "image_size": 16, "target": str(folder)}
    prepare(check_data(section, "test"), say=lambda line: None, parallel=False)
    return folder


def settings(task: str, **values: Any) -> Tuning:
    found = check_evaluation({"task": task, **SMALL, **values}, "test")
    assert isinstance(found, Tuning)
    return found


def train(
    data: Path,
    chosen: Tuning,
    folder: Path,
    backbone: str = "pointnet",
    resume: Path | None = None,
    keep: Path | None = None,
    stop: int = 0,
) -> tuple[Tuned, Supervised, list[dict[str, Any]]]:
    """`keep`: where the checkpoint after `stop` epochs goes."""
    told: list[dict[str, Any]] = []

    def report(metrics: dict[str, Any], write: Any, validated: bool) -> None:
        told.append(metrics)
        if keep is not None and metrics["epoch"] == stop:
            keep.mkdir()
            write(keep)
            shutil.copytree(folder, keep.parent / "b")  # as the disk stood then

    outside = Outside(report=report, log=lambda rows: None, say=lambda line: None)
    task = task_of(chosen, read_manifest(data))
    start = Start(Backbone(name=backbone, k=8), None)  # type: ignore[arg-type]
    tuned, course = tune(task, start, chosen, evaluable_splits(data), POINTS, ALONE, outside, folder, resume)
    return tuned, course, told


def test_fractions_are_nested_and_hold_every_category(data: Path) -> None:
    dataset = PreparedDataset(data, "train")
    small, half, whole = (set(nested_fraction(dataset, fraction, seed=3).tolist()) for fraction in (0.01, 0.5, 1.0))
    assert small < half < whole == set(range(len(dataset)))
    assert len(small) == 16 and {int(dataset.labels[row]) for row in small} == set(range(16))
    assert set(nested_fraction(dataset, 0.5, seed=4).tolist()) != half


def test_batches_are_the_same_for_any_number_of_ranks_and_parts_follow_their_points(data: Path) -> None:
    dataset = PreparedDataset(data, "train")
    rows = np.arange(len(dataset))

    def batches(rank: int, world: int) -> list[Any]:
        found = training_batches(dataset, rows, seed=1, epoch=2, batch=10, rank=rank, world=world, points=POINTS, augment=True)
        return list(found)

    whole, parts = batches(0, 1), [batches(rank, 3) for rank in range(3)]
    assert len(whole) == len(dataset) // 10
    for number, batch in enumerate(whole):
        assert batch.whole == 10
        together = torch.cat([part[number].points_BNC for part in parts])
        torch.testing.assert_close(together, batch.points_BNC, rtol=0, atol=0)
    still = next(training_batches(dataset, rows, seed=1, epoch=2, batch=10, rank=0, world=1, points=96, augment=False))
    for cloud, told, row in zip(still.points_BNC, still.parts_BN, still.rows_B, strict=True):
        stored, truth = dataset.points(row), dataset.parts(row)
        centred = stored - stored.mean(0)
        at = [int(np.abs(centred / np.linalg.norm(centred, axis=1).max() - point.numpy()).sum(1).argmin()) for point in cloud]
        assert sorted(at) == list(range(96)) and truth is not None and (truth[at] == told.numpy()).all()


def test_every_shape_of_a_split_is_judged_once_whatever_the_ranks(data: Path) -> None:
    dataset = PreparedDataset(data, "test")
    found = [
        [row for batch in evaluation_batches(dataset, batch=7, rank=rank, world=3, points=POINTS) for row in batch.rows_B]
        for rank in range(3)
    ]
    assert list(itertools.chain(*found)) == list(range(len(dataset)))


def test_the_smoothed_loss_is_the_published_one() -> None:
    torch.manual_seed(0)
    scores, truth = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 1, 4, 2, 2, 3])
    target = torch.full((6, 5), 0.2 / 4, dtype=torch.float64)
    target[torch.arange(6), truth] = 0.8
    expected = -(target * (scores - scores.exp().sum(1, keepdim=True).log())).sum()
    torch.testing.assert_close(smoothed(scores, truth, 0.2), expected)
    torch.testing.assert_close(smoothed(scores, truth, 0.0), torch.nn.functional.cross_entropy(scores, truth, reduction="sum"))


def test_a_prediction_stays_within_the_parts_of_the_shapes_category(data: Path, tmp_path: Path) -> None:
    _, course, _ = train(data, settings("parts", epochs=1), tmp_path)
    assert isinstance(course.task, PartSegmentation)
    for row in range(5):
        _, truth, told = course.predict("test", row)
        allowed = set(course.task.parts_of[int(course.splits["test"].labels[row])])
        assert set(told.tolist()) <= allowed and set(truth.tolist()) <= allowed


def test_part_segmentation_learns_and_the_best_epoch_is_what_is_judged(data: Path, tmp_path: Path) -> None:
    tuned, course, told = train(data, settings("parts", epochs=12, lr=0.1), tmp_path)
    scores = [one["val/instance_miou"] for one in told]
    assert tuned.val["instance_miou"] == max(scores) and tuned.epoch == int(np.argmax(scores)) + 1 and tuned.epochs == 12
    assert max(scores) > scores[0] + 0.05
    assert course.judge("val")[:, 0].mean() == pytest.approx(max(scores)), "the best weights are loaded"
    assert tuned.test_rows is not None and tuned.test is not None
    assert tuned.test_rows[:, 0].mean() == pytest.approx(tuned.test["instance_miou"])


@pytest.mark.parametrize("task", ["finetune", "scenes"])
def test_a_resumed_training_equals_an_uninterrupted_one(data: Path, rooms: Path, tmp_path: Path, task: str) -> None:
    chosen, data = settings(task, epochs=4), rooms if task == "scenes" else data
    whole, course, told = train(data, chosen, tmp_path / "a", keep=tmp_path / "checkpoint", stop=2)
    again, resumed, after = train(data, chosen, tmp_path / "b", resume=tmp_path / "checkpoint")
    assert after == told[2:] and again.facts() == whole.facts()
    for name, value in course.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("task", ["finetune", "parts"])
def test_called_away_in_an_epoch_it_goes_on_with_the_same_batches_and_the_same_dropout(data: Path, tmp_path: Path, task: str) -> None:
    chosen = settings(task, epochs=3)
    whole, course, told = train(data, chosen, tmp_path / "a")
    away, kept, after, rows = {3, 8}, [], [], []

    def keep(metrics: dict[str, Any], write: Any) -> None:
        kept.append(tmp_path / f"kept-{metrics['step']}")
        kept[-1].mkdir()
        write(kept[-1])
        away.discard(metrics["step"])

    def report(metrics: dict[str, Any], write: Any, validated: bool) -> None:
        after.append(metrics)

    outside = Outside(report, rows.extend, lambda line: None, lambda step: step in away, keep)
    task_, splits, start = task_of(chosen, read_manifest(data)), evaluable_splits(data), Start(Backbone(name="pointnet", k=8), None)
    for resume in (0, 1, 2):
        last = kept[-1] if resume else None
        try:
            again, resumed = tune(task_, start, chosen, splits, POINTS, ALONE, outside, tmp_path / "b", last)
        except CalledAway:
            assert resume < 2
    assert [int(path.name[5:]) for path in kept] == [3, 8] and [step for step, _ in rows] == list(range(1, course.step + 1))
    assert after == told and again.facts() == whole.facts()
    for name, value in course.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)


def test_it_stops_when_validation_gets_no_better_and_a_resume_after_that_trains_no_further(data: Path, tmp_path: Path) -> None:
    chosen = settings("finetune", epochs=30, lr=1e-9, min_lr=0.0, patience=3)
    tuned, _, told = train(data, chosen, tmp_path / "a")
    assert tuned.epochs == len(told) < 30 and tuned.epochs - tuned.epoch == 3
    train(data, chosen, tmp_path / "c", keep=tmp_path / "ended", stop=tuned.epochs)
    again, _, after = train(data, chosen, tmp_path / "c", resume=tmp_path / "ended")
    assert after == [] and again.facts() == tuned.facts()


def test_a_training_that_diverges_says_where(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"the training from random weights on 80 labelled shapes stopped at step \d+ of 15"):
        train(data, settings("finetune", lr=1e30, min_lr=0.0), tmp_path)


def test_pretrained_weights_and_random_ones_get_the_same_head(data: Path, tmp_path: Path) -> None:
    chosen = settings("finetune")
    task, splits = task_of(chosen, read_manifest(data)), evaluable_splits(data)
    backbone = Backbone(name="pointnet")
    first = Supervised(task, Start(backbone, None), chosen, splits, POINTS, ALONE, tmp_path)
    weights = {name: value + 1 for name, value in first.model.encoder.state_dict().items()}  # type: ignore[union-attr, operator]
    second = Supervised(task, Start(backbone, weights), chosen, splits, POINTS, ALONE, tmp_path)
    torch.testing.assert_close(first.model.linear1.weight, second.model.linear1.weight)  # type: ignore[union-attr]
    assert not torch.equal(first.model.encoder.conv1.weight, second.model.encoder.conv1.weight)  # type: ignore[union-attr]


def test_a_backbone_without_features_of_points_is_refused_for_parts(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rpc has no per-point features"):
        train(data, settings("parts"), tmp_path, backbone="rpc")


RANKS = """
import json, sys
from pathlib import Path
import torch
import torch.distributed as dist
from jobs.config import check_evaluation
from jobs.config.sections import Backbone
from jobs.data.format import read_manifest
from jobs.data.loading import evaluable_splits
from jobs.finetuning.tasks import task_of
from jobs.finetuning.training import Start, tune
from jobs.pretraining.ranks import Ranks
from jobs.training.loop import Outside

rank, world, data, folder, values = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), json.loads(sys.argv[5])
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
chosen, told = check_evaluation(values, "test"), []
outside = Outside(report=lambda metrics, write, validated: told.append(metrics), log=lambda rows: None, say=lambda line: None)
task = task_of(chosen, read_manifest(data))
start = Start(Backbone(name="pointnet"), None)
tuned, _ = tune(task, start, chosen, evaluable_splits(data), 64, Ranks(rank, world, torch.device("cpu")), outside, folder / "run", None)
if rank == 0:
    rooms = None if tuned.rooms is None else tuned.rooms.tolist()
    print(json.dumps({"told": told, "facts": tuned.facts(), "rooms": rooms}), flush=True)
if world > 1:
    dist.barrier()
    dist.destroy_process_group()
"""


@pytest.mark.parametrize("task", ["finetune", *(pytest.param(one, marks=pytest.mark.soak) for one in ("parts", "scenes"))])
def test_two_ranks_train_and_judge_as_one(data: Path, rooms: Path, tmp_path: Path, task: str) -> None:
    values = json.dumps({"task": task, **SMALL, "epochs": 2, "batch": 15, "lr": 0.01})
    data = rooms if task == "scenes" else data
    found = []
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        command = [sys.executable, "-c", RANKS]
        arguments = [str(world), str(data), str(folder), values]
        processes = [
            subprocess.Popen([*command, str(rank), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for rank in range(world)
        ]
        said = [process.communicate(timeout=180) for process in processes]
        assert all(process.returncode == 0 for process in processes), [text[-1500:] for _, text in said]
        found.append(json.loads(said[0][0].splitlines()[-1]))
    one, two = found
    for first, second in zip(one["told"], two["told"], strict=True):
        assert first["tune/loss"] == pytest.approx(second["tune/loss"], rel=1e-3)
    if task == "scenes":
        assert np.sum(one["rooms"], 1).tolist() == np.sum(two["rooms"], 1).tolist(), "every point of every room once, whoever voted"
    score = {"finetune": "accuracy", "parts": "instance_miou", "scenes": "overall_accuracy"}[task]
    assert one["facts"]["test"][score] == pytest.approx(two["facts"]["test"][score], abs=0.03)
