"""The supervised evaluations (fine-tuning, part and semantic segmentation): trainings from the judged encoder and from random weights.

As a stage of a pipeline they train with Ray Train on the cluster's workers; from the command line in this process.
"""
from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from mlflow import MlflowClient
from numpy.typing import NDArray
from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig
from ray.train.collective import broadcast_from_rank_zero
from safetensors.torch import load_file, save_file

from jobs.config import Pipeline, check_evaluation
from jobs.config.evaluations import Tuning
from jobs.config.pipeline import check_encoder
from jobs.config.places import Place, place_of
from jobs.config.sections import Backbone
from jobs.data.format import read_manifest
from jobs.data.loading import check_enough, check_stored
from jobs.data.prepared import PreparedDataset, check_shards
from jobs.evaluation.outcome import Outcome
from jobs.evaluation.scenes import rooms_of
from jobs.finetuning.labelled import nested_fraction
from jobs.finetuning.outcome import Shown, Trained, outcome_of
from jobs.finetuning.plan import Training, plan, splits_of
from jobs.finetuning.scenes import room_mious
from jobs.finetuning.tasks import Task, task_of
from jobs.finetuning.training import Start, Supervised, Tuned, tune
from jobs.judged import Judged
from jobs.pretraining.allocator import keep_freed_memory
from jobs.pretraining.checkpoint import usable
from jobs.pretraining.ranks import Ranks
from jobs.pretraining.workers import workers
from jobs.scoring import evaluation_stage
from jobs.tracking import MetricLog, Stage
from jobs.training.loop import CalledAway, Outside
from jobs.training.preemption import Notices, taken_away
from jobs.training.storing import keep, report_checkpoint

RESULT, WEIGHTS, STOPPED = "result.json", "weights.safetensors", "stopped.txt"
ROWS, ROOMS, VAL_ROWS = "test_rows.npy", "test_rooms.npy", "val_rows.npy"
SHOWN, SHOWN_ROOMS = 6, 2  # in the pictures: the worst, the best, and some between


def supervised_stage(stage: Stage) -> None:
    """A stage of a pipeline: what it registered, trained on with Ray Train."""

    def judge(judged: Judged, folder: Place, settings: Any, points: int, seed: int, say: Callable[[str], None]) -> Outcome:
        checked(judged, folder, settings, points, stage.config.cluster.most)
        ray.init(log_to_driver=True)
        place = stage.config.cluster.storage / "evaluations" / stage.pipeline / stage.name
        place.mkdir(parents=True, exist_ok=True)
        save_file(dict(judged.weights), place / WEIGHTS)
        shared = {
            "config": stage.config.to_json(),
            "settings": settings.model_dump_json(exclude={"data"}),
            "backbone": judged.backbone.model_dump_json(),
            "data": str(folder),
            "points": points,
            "place": str(place),
            "run_id": stage.run_id,
            "tracking_uri": stage.client.tracking_uri,
            "stage": stage.name,
        }
        for training in plan(settings):
            say(f"{training.said}: {settings.epochs} epochs at most")
            _fit(stage.config, {**shared, "training": list(training)}, place)
        found = {training: _read(place / training.name) for training in plan(settings)}
        return outcome_of(settings, found, folder, task_of(settings, read_manifest(folder)).selects)

    evaluation_stage(stage, judge)


def judge_here(judged: Judged, folder: Place, settings: Any, points: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """The same in this process, one training after another."""
    task = checked(judged, folder, settings, points)
    found: dict[Training, Trained] = {}
    with tempfile.TemporaryDirectory() as place:
        for training in plan(settings):
            start = Start(judged.backbone, judged.weights if training.side == "trained" else None, training.fraction)
            curve: list[tuple[int, float]] = []

            def report(metrics: dict[str, Any], write: Callable[[Path], None], validated: bool, curve: Any = curve) -> None:
                curve.append((metrics["epoch"], metrics[f"val/{task.selects}"]))

            def told(line: str, name: str = training.said) -> None:
                say(f"{name}: {line}")

            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            outside = Outside(report=report, log=lambda rows: None, say=told)
            splits = splits_of(folder, settings, training.area)
            tuned, course = tune(task, start, settings, splits, points, Ranks(0, 1, device), outside, Path(place) / training.name, None)
            found[training] = _kept(tuned, course, curve)
            say(f"{training.said}: {_said(tuned.facts())}")
    return outcome_of(settings, found, folder, task.selects)


def checked(judged: Judged, folder: Place, settings: Any, points: int, ranks: int = 1) -> Task:
    """The task. ValueError, before anything is trained, when the dataset or the encoder cannot serve."""
    check_shards(folder)
    manifest = check_enough(folder, points, "points") if settings.task == "scenes" else check_stored(folder, points, "points")
    task = task_of(settings, manifest)
    check_encoder(settings.task, settings, judged.backbone, points)
    for training in plan(settings):
        if training.side == "trained":  # from random weights on the same
            check_splits(splits_of(folder, settings, training.area), folder, settings, training, ranks)
    return task


def check_splits(splits: dict[str, PreparedDataset], folder: Place, settings: Any, training: Training, ranks: int) -> None:
    """ValueError when a training has nothing to learn from or is judged on what it never saw."""
    items, label, labels = ("blocks", "class", _classes) if settings.task == "scenes" else ("shapes", "category", _categories)
    held = f" where Area_{training.area} is held out" if training.area else ""
    for split in ("train", "val"):
        if split not in splits:
            raise ValueError(f"{folder} holds none of the {items} in {split}{held}, which {settings.task} needs: prepare it with more")
    taught = labels(splits["train"])
    for split in ("val", "test"):
        asked = labels(splits[split]) if split in splits else set()
        if asked - taught:
            raise ValueError(f"{folder} has {items} with {', '.join(sorted(asked - taught)[:5])} in {split} and none in train{held}")
    labelled = len(nested_fraction(splits["train"], training.fraction, settings.seed))
    if min(settings.batch, labelled) < ranks:
        raise ValueError(
            f"{settings.task} with {100 * training.fraction:g}% of the labels has {labelled} {items} in batches of {settings.batch}: "
            f"fewer than the {ranks} workers; lower cluster.workers"
        )
    if len(taught) < 2 and settings.task != "parts":
        raise ValueError(f"{folder} holds {items} of one {label} in train: {settings.task} needs two")


def _categories(dataset: PreparedDataset) -> set[str]:
    return {dataset.categories[label] for label in np.unique(dataset.labels)}


def _classes(dataset: PreparedDataset) -> set[str]:
    names, present = dataset.manifest["part_names"], np.zeros(len(dataset.manifest["part_names"]), bool)
    dataset.expect(range(len(dataset)))
    for row in range(len(dataset)):
        present[np.asarray(dataset.parts(row))] = True
    return {name for name, there in zip(names, present, strict=True) if there}


def _kept(tuned: Tuned, course: Supervised, curve: list[tuple[int, float]]) -> Trained:
    return Trained(tuned.facts(), tuned.test_rows, curve, shown(course, tuned), tuned.rooms, tuned.val_rows)


def shown(course: Supervised, tuned: Tuned) -> tuple[Shown, ...]:
    """What there is to look at, from the worst to the best IoU: shapes with parts, or whole rooms."""
    dataset = course.splits.get("test")
    if dataset is None or tuned.test_rows is None or course.settings.task == "finetune":  # type: ignore[attr-defined]
        return ()
    if tuned.rooms is None:
        ious = tuned.test_rows[:, 0]
        return tuple((dataset.ids[row], *course.predict("test", row), float(ious[row])) for row in _spread(ious, SHOWN))
    names, mious = list(rooms_of(dataset.ids)), room_mious([tuned.rooms])
    return tuple((names[row], *course.room("test", names[row]), float(mious[row])) for row in _spread(mious, SHOWN_ROOMS))


def _spread(values: NDArray[np.float64], count: int) -> list[int]:
    """Rows of the smallest value, the largest, and some between, in that order."""
    order = np.argsort(values, kind="stable")
    return [int(order[place]) for place in np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]


def _fit(config: Pipeline, shared: dict[str, Any], place: Path) -> None:
    """One training with Ray Train; a run of the same pipeline goes on from its newest whole checkpoint, and keeps what has ended."""
    name = Training(*shared["training"]).name
    if (place / name / RESULT).exists():
        return
    (place / name / STOPPED).unlink(missing_ok=True)
    ray.train.torch.TorchTrainer(
        _rank,
        train_loop_config=shared,
        **workers(config.cluster),
        run_config=RunConfig(  # type: ignore[call-arg]  # Ray's annotations show the first version of Train
            name=name,
            storage_path=str(place),
            failure_config=FailureConfig(max_failures=config.cluster.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="epoch", checkpoint_score_order="max"),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    ).fit()
    if (place / name / STOPPED).exists():
        raise FloatingPointError((place / name / STOPPED).read_text())
    for path in (place / name).glob("epoch-*"):  # it has ended: its best weights are kept
        shutil.rmtree(path, ignore_errors=True)


def _rank(shared: dict[str, Any]) -> None:
    """One worker of a training."""
    config = Pipeline.model_validate_json(shared["config"])
    settings = check_evaluation(json.loads(shared["settings"]), "settings")
    assert isinstance(settings, Tuning)
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    torch.set_num_threads(config.cluster.threads_per_worker)
    keep_freed_memory()
    training, folder = Training(*shared["training"]), place_of(shared["data"])
    place = Path(shared["place"]) / training.name
    task, splits = task_of(settings, read_manifest(folder)), splits_of(folder, settings, training.area)
    backbone = Backbone.model_validate_json(shared["backbone"])
    weights = load_file(Path(shared["place"]) / WEIGHTS) if training.side == "trained" else None
    start = Start(backbone, weights, training.fraction)
    latest = ray.train.get_checkpoint()
    chosen = usable(place, Path(latest.path) if latest else None)[0] if ranks.rank == 0 else None
    log = MetricLog(MlflowClient(shared["tracking_uri"]), shared["run_id"]) if ranks.rank == 0 else None
    prefix = training.name.replace("-", "_")

    def logged(rows: list[tuple[int, dict[str, float]]]) -> None:
        if log is not None:
            log.log([(step, {f"{prefix}/{key}": value for key, value in metrics.items()}) for step, metrics in rows])

    def say(line: str) -> None:
        print(f"{shared['stage']}: {training.said}: {line}", flush=True)

    def report(metrics: dict[str, Any], write: Callable[[Path], None], validated: bool) -> None:
        if ranks.rank != 0:
            ray.train.report(metrics)
            return
        logged([(metrics["epoch"], {f"val/{task.selects}": metrics[f"val/{task.selects}"]})])
        report_checkpoint(metrics, write)

    outside = Outside(report, logged, say, called_away=Notices(ranks).called_away, keep=keep(ranks))
    try:
        tuned, course = tune(
            task, start, settings, splits, shared["points"], ranks, outside, place, broadcast_from_rank_zero(chosen)
        )
    except CalledAway as why:
        if ranks.rank == 0:
            say(f"a node is about to be taken away: {why}")
        raise taken_away(why) from None
    except FloatingPointError as error:  # on every rank alike
        if ranks.rank == 0:
            (place / STOPPED).write_text(str(error))
        return
    if ranks.rank == 0:
        say(_said(tuned.facts()))
        client = MlflowClient(shared["tracking_uri"])
        history = client.get_metric_history(shared["run_id"], f"{prefix}/val/{task.selects}")
        curve = sorted((point.step, point.value) for point in history)
        _write(place, _kept(tuned, course, curve))


def _write(place: Path, trained: Trained) -> None:
    if trained.rows is not None:
        np.save(place / ROWS, trained.rows)
    if trained.rooms is not None:
        np.save(place / ROOMS, trained.rooms)
    if trained.val_rows is not None:
        np.save(place / VAL_ROWS, trained.val_rows)
    for number, (name, points, truth, told, iou) in enumerate(trained.shown):
        np.savez(place / f"shown-{number}.npz", name=name, points=points, truth=truth, told=told, iou=iou)
    temporary = place / f".{RESULT}"
    temporary.write_text(json.dumps({"facts": trained.facts, "curve": trained.curve}))
    temporary.rename(place / RESULT)


def _read(place: Path) -> Trained:
    values = json.loads((place / RESULT).read_text())
    rows, rooms, val_rows = (np.load(place / file) if (place / file).exists() else None for file in (ROWS, ROOMS, VAL_ROWS))
    shapes = []
    for path in sorted(place.glob("shown-*.npz")):
        with np.load(path) as one:
            shapes.append((str(one["name"]), one["points"], one["truth"], one["told"], float(one["iou"])))
    return Trained(values["facts"], rows, [(int(epoch), float(score)) for epoch, score in values["curve"]], tuple(shapes), rooms, val_rows)


def _said(facts: dict[str, Any]) -> str:
    parts = [f"{part} " + ", ".join(f"{key} {value:.3f}" for key, value in facts[part].items()) for part in ("val", "test") if facts[part]]
    return f"best epoch {facts['epoch']} of {facts['epochs']}: {'; '.join(parts)}"


