"""The supervised evaluations (fine-tuning, part segmentation): trainings from the judged encoder and from random weights.

As a stage of a pipeline they train with Ray Train on the cluster's workers; from the command line in this process.
"""
from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from mlflow import MlflowClient
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, LoggingConfig, RunConfig
from ray.train.collective import broadcast_from_rank_zero
from safetensors.torch import load_file, save_file

from jobs.config import Pipeline, check_evaluation
from jobs.config.evaluations import Tuning
from jobs.config.sections import Backbone
from jobs.data.format import read_manifest
from jobs.data.loading import check_stored, evaluable_splits
from jobs.data.prepared import PreparedDataset, check_shards
from jobs.evaluation.outcome import Outcome
from jobs.finetuning.heads import check_per_point
from jobs.finetuning.labelled import nested_fraction
from jobs.finetuning.outcome import SIDES, Shown, Trained, outcome_of
from jobs.finetuning.tasks import Task, task_of
from jobs.finetuning.training import Start, Supervised, tune
from jobs.judged import Judged
from jobs.models.tables import build_backbone
from jobs.pretraining.allocator import keep_freed_memory
from jobs.pretraining.checkpoint import usable
from jobs.pretraining.ranks import Ranks
from jobs.pretraining.workers import workers
from jobs.scoring import evaluation_stage
from jobs.tracking import MetricLog, Stage
from jobs.training.loop import Outside

RESULT, ROWS, WEIGHTS, STOPPED = "result.json", "test_rows.npy", "weights.safetensors", "stopped.txt"
SHOWN = 6  # shapes in the gallery: the worst, the best, and some between


def supervised_stage(stage: Stage) -> None:
    """A stage of a pipeline: what it registered, trained on with Ray Train."""

    def judge(judged: Judged, folder: Path, settings: Any, points: int, seed: int, say: Callable[[str], None]) -> Outcome:
        checked(judged, folder, settings, points, stage.config.cluster.workers)
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
        for side, fraction in plan(settings):
            say(f"{side}, {100 * fraction:g}% of the labels: {settings.epochs} epochs at most")
            _fit(stage.config, {**shared, "side": side, "fraction": fraction}, place)
        splits = evaluable_splits(folder)
        found = {key: _read(place / _name(*key)) for key in plan(settings)}
        return outcome_of(settings, found, splits, task_of(settings, read_manifest(folder)).selects)

    evaluation_stage(stage, judge)


def judge_here(judged: Judged, folder: Path, settings: Any, points: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """The same in this process, one training after another."""
    task, splits = checked(judged, folder, settings, points)
    found: dict[tuple[str, float], Trained] = {}
    with tempfile.TemporaryDirectory() as place:
        for side, fraction in plan(settings):
            start = Start(judged.backbone, judged.weights if side == "trained" else None, fraction)
            curve: list[tuple[int, float]] = []

            def report(metrics: dict[str, Any], write: Callable[[Path], None], validated: bool, curve: Any = curve) -> None:
                curve.append((metrics["epoch"], metrics[f"val/{task.selects}"]))

            def told(line: str, side: str = side) -> None:
                say(f"{side}: {line}")

            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            outside = Outside(report=report, log=lambda rows: None, say=told)
            run_folder = Path(place) / _name(side, fraction)
            tuned, course = tune(task, start, settings, splits, points, Ranks(0, 1, device), outside, run_folder, None)
            found[side, fraction] = Trained(tuned.facts(), tuned.test_rows, curve, shown(course, tuned.test_rows))
            say(f"{side}, {100 * fraction:g}% of the labels: {_said(tuned.facts())}")
    return outcome_of(settings, found, splits, task.selects)


def plan(settings: Any) -> list[tuple[str, float]]:
    """(encoder, fraction of the labels) of every training."""
    fractions = settings.fractions if settings.task == "finetune" else (1.0,)
    return [(side, fraction) for fraction in fractions for side in SIDES]


def checked(judged: Judged, folder: Path, settings: Any, points: int, ranks: int = 1) -> tuple[Task, dict[str, PreparedDataset]]:
    """Task and splits. ValueError, before anything is trained, when the dataset or the encoder cannot serve."""
    check_shards(folder)
    manifest = check_stored(folder, points, "points")
    splits, task = evaluable_splits(folder), task_of(settings, manifest)
    for split in ("train", "val"):
        if split not in splits:
            raise ValueError(f"{folder} holds no shape in {split}, which {settings.task} needs: prepare it with more shapes")
    taught = {splits["train"].categories[label] for label in np.unique(splits["train"].labels)}
    for split in ("val", "test"):
        asked = {splits[split].categories[label] for label in np.unique(splits[split].labels)} if split in splits else set()
        if asked - taught:
            raise ValueError(f"{folder} has shapes of {', '.join(sorted(asked - taught)[:5])} in {split} and none in train")
    for _, fraction in plan(settings):
        labelled = len(nested_fraction(splits["train"], fraction, settings.seed))
        if min(settings.batch, labelled) < ranks:
            raise ValueError(
                f"{settings.task} with {100 * fraction:g}% of the labels has {labelled} shapes in batches of {settings.batch}: "
                f"fewer than the {ranks} workers; lower cluster.workers"
            )
    if settings.task == "finetune" and len(taught) < 2:
        raise ValueError(f"{folder} holds shapes of one category in train: a classifier needs two")
    if settings.task == "parts":
        check_per_point(build_backbone(judged.backbone.name, judged.backbone.k), judged.backbone.name)
    return task, splits


def shown(course: Supervised, rows: np.ndarray | None) -> tuple[Shown, ...]:
    """Shapes for the gallery, by their IoU from worst to best; none where the task has no parts or there is no test split."""
    if rows is None or course.settings.task != "parts":  # type: ignore[attr-defined]
        return ()
    order = np.argsort(rows[:, 0], kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))
    dataset = course.splits["test"]
    return tuple((dataset.ids[row], *course.predict("test", int(row)), float(rows[row, 0])) for row in order[places])


def _fit(config: Pipeline, shared: dict[str, Any], place: Path) -> None:
    """One training with Ray Train; a run of the same pipeline goes on from its newest whole checkpoint, and keeps what has ended."""
    name = _name(shared["side"], shared["fraction"])
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
    side, fraction, folder = shared["side"], shared["fraction"], Path(shared["data"])
    place = Path(shared["place"]) / _name(side, fraction)
    task, splits = task_of(settings, read_manifest(folder)), evaluable_splits(folder)
    backbone = Backbone.model_validate_json(shared["backbone"])
    start = Start(backbone, load_file(Path(shared["place"]) / WEIGHTS) if side == "trained" else None, fraction)
    latest = ray.train.get_checkpoint()
    chosen = usable(place, Path(latest.path) if latest else None)[0] if ranks.rank == 0 else None
    log = MetricLog(MlflowClient(shared["tracking_uri"]), shared["run_id"]) if ranks.rank == 0 else None
    prefix = f"{side}_{100 * fraction:g}pct"

    def logged(rows: list[tuple[int, dict[str, float]]]) -> None:
        if log is not None:
            log.log([(step, {f"{prefix}/{key}": value for key, value in metrics.items()}) for step, metrics in rows])

    def say(line: str) -> None:
        print(f"{shared['stage']}: {side}: {line}", flush=True)

    def report(metrics: dict[str, Any], write: Callable[[Path], None], validated: bool) -> None:
        if ranks.rank != 0:
            ray.train.report(metrics)
            return
        logged([(metrics["epoch"], {f"val/{task.selects}": metrics[f"val/{task.selects}"]})])
        written = Path(tempfile.mkdtemp(prefix="checkpoint-"))
        try:
            write(written)
            name = f"epoch-{metrics['epoch']:05d}-{uuid.uuid4().hex[:8]}"
            ray.train.report(metrics, checkpoint=Checkpoint(str(written)), checkpoint_dir_name=name)
        finally:
            shutil.rmtree(written, ignore_errors=True)

    outside = Outside(report=report, log=logged, say=say)
    try:
        tuned, course = tune(
            task, start, settings, splits, shared["points"], ranks, outside, place, broadcast_from_rank_zero(chosen)
        )
    except FloatingPointError as error:  # on every rank alike
        if ranks.rank == 0:
            (place / STOPPED).write_text(str(error))
        return
    if ranks.rank == 0:
        say(_said(tuned.facts()))
        client = MlflowClient(shared["tracking_uri"])
        history = client.get_metric_history(shared["run_id"], f"{prefix}/val/{task.selects}")
        curve = sorted((point.step, point.value) for point in history)
        _write(place, Trained(tuned.facts(), tuned.test_rows, curve, shown(course, tuned.test_rows)))


def _write(place: Path, trained: Trained) -> None:
    if trained.rows is not None:
        np.save(place / ROWS, trained.rows)
    for number, (name, points, truth, told, iou) in enumerate(trained.shown):
        np.savez(place / f"shown-{number}.npz", name=name, points=points, truth=truth, told=told, iou=iou)
    temporary = place / f".{RESULT}"
    temporary.write_text(json.dumps({"facts": trained.facts, "curve": trained.curve}))
    temporary.rename(place / RESULT)


def _read(place: Path) -> Trained:
    values = json.loads((place / RESULT).read_text())
    rows = np.load(place / ROWS) if (place / ROWS).exists() else None
    shapes = []
    for path in sorted(place.glob("shown-*.npz")):
        with np.load(path) as one:
            shapes.append((str(one["name"]), one["points"], one["truth"], one["told"], float(one["iou"])))
    return Trained(values["facts"], rows, [(int(epoch), float(score)) for epoch, score in values["curve"]], tuple(shapes))


def _name(side: str, fraction: float) -> str:
    return f"{side}-{100 * fraction:g}pct"


def _said(facts: dict[str, Any]) -> str:
    parts = [f"{part} " + ", ".join(f"{key} {value:.3f}" for key, value in facts[part].items()) for part in ("val", "test") if facts[part]]
    return f"best epoch {facts['epoch']} of {facts['epochs']}: {'; '.join(parts)}"


