"""The pretraining job: Ray Train workers run the loop, a validator runs beside them, the best encoder goes to MLflow."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from mlflow import MlflowClient
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ValidationConfig,
    ValidationTaskConfig,
)
from ray.train.collective import broadcast_from_rank_zero

from jobs.config import Pipeline, names
from jobs.data.prepared import check_shards
from jobs.pretraining.allocator import keep_freed_memory
from jobs.pretraining.checkpoint import facts, usable, validation_over, wait_for_validations
from jobs.pretraining.loop import run, steps_an_epoch
from jobs.pretraining.ranks import Ranks
from jobs.pretraining.shapes import check_points, training_shapes
from jobs.pretraining.space import check_space, check_temporary
from jobs.pretraining.workers import workers
from jobs.tracking import MetricLog, Stage, log_once, run_stage
from jobs.training.loop import CalledAway, Outside
from jobs.training.preemption import Notices, taken_away
from jobs.training.storing import keep, report_checkpoint

STOPPED = "stopped.txt"  # why the ranks stopped by themselves


def main() -> None:
    run_stage("pretrain", pretrain)


def pretrain(stage: Stage) -> None:
    """Checks everything first, trains, then leaves the best encoder, the pictures and `pretrain.json` in the run."""
    config = stage.config
    dataset = training_shapes(config)
    check_points(config)
    steps = steps_an_epoch(config, len(dataset))
    run_folder = run_folder_of(config, stage.pipeline)
    check_space(config, run_folder)
    for folder in {config.data.target, config.probe_data.target}:
        assert folder is not None
        check_shards(folder)
    stage.tag({names.TAG_DATA: dataset.manifest["digest"]})
    pretrain = config.pretrain
    stage.say(
        f"{len(dataset)} shapes, {pretrain.epochs} epochs of {steps} steps of {pretrain.batch}, "
        f"{config.cluster.workers_said}, {pretrain.backbone.name} and {pretrain.image.tower}"
    )
    fit(config, stage)
    from jobs.pretraining.results import leave_results  # scikit-learn and matplotlib: later, the first step waits for neither

    leave_results(stage, dataset, run_folder, steps)


def run_folder_of(config: Pipeline, pipeline: str) -> Path:
    """Where Ray Train keeps the run: stable over resumes, one a pipeline."""
    return config.cluster.storage / "pretrain" / pipeline


def fit(config: Pipeline, stage: Stage) -> None:
    """Trains to the end, over worker failures; a run of the same pipeline goes on from its newest whole checkpoint."""
    cluster = config.cluster
    shared = {"config": config.to_json(), "run_id": stage.run_id, "pipeline": stage.pipeline, "tracking_uri": stage.client.tracking_uri}
    validator: dict[str, float] = {"num_cpus": 0, "num_gpus": cluster.validator_gpus, "max_retries": 2}
    trainer = ray.train.torch.TorchTrainer(  # type: ignore[call-arg]  # Ray's annotations show the first version of Train
        train_worker,
        train_loop_config=shared,
        **workers(cluster),
        run_config=RunConfig(  # type: ignore[call-arg]
            name=stage.pipeline,
            storage_path=str(config.cluster.storage / "pretrain"),
            failure_config=FailureConfig(max_failures=cluster.max_failures),
            # Ray keeps the last two (one may be cut short by a crash); the validator keeps the best.
            checkpoint_config=CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="epoch", checkpoint_score_order="max"),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
        validation_config=ValidationConfig(
            fn=validate_checkpoint, task_config=ValidationTaskConfig(fn_kwargs=shared), ray_remote_kwargs=validator
        ),
    )
    stopped = run_folder_of(config, stage.pipeline) / STOPPED
    stopped.unlink(missing_ok=True)
    trainer.fit()
    if stopped.exists():
        raise FloatingPointError(stopped.read_text())


def train_worker(shared: dict[str, str]) -> None:
    """One rank: the loop, with its reports to Ray Train and (rank 0) its metrics to MLflow."""
    config = Pipeline.model_validate_json(shared["config"])
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    torch.set_num_threads(config.cluster.threads_per_worker)
    keep_freed_memory()
    run_folder = run_folder_of(config, shared["pipeline"])
    latest = ray.train.get_checkpoint()
    # Rank 0 chooses for all: the folder is not still while old checkpoints are deleted.
    chosen = usable(run_folder, Path(latest.path) if latest else None) if ranks.rank == 0 else None
    resume_from, passed_over = broadcast_from_rank_zero(chosen)
    log = MetricLog(MlflowClient(shared["tracking_uri"]), shared["run_id"]) if ranks.rank == 0 else None
    waiting: list[int] = []  # epochs whose validation was asked for

    def say(line: str) -> None:
        print(f"pretrain: {line}", flush=True)

    def report(metrics: dict[str, Any], write: Any, validated: bool) -> None:
        if ranks.rank != 0 or not (validated or metrics["epoch"] % config.pretrain.checkpoint_every == 0):
            ray.train.report(metrics)
            return
        if validated:
            wait_for_validations(run_folder, waiting, say)
            waiting.append(metrics["epoch"])
        report_checkpoint(metrics, write, validated)

    if ranks.rank == 0:
        check_temporary(config)
        for reason in passed_over:
            say(f"passed over a checkpoint: {reason}")
    log_rows = log.log if log else lambda rows: None
    outside = Outside(report, log_rows, say, called_away=Notices(ranks).called_away, keep=keep(ranks))
    try:
        run(config, training_shapes(config), ranks, outside, resume_from)
    except CalledAway as why:
        if ranks.rank == 0:
            say(f"a node is about to be taken away: {why}")
        raise taken_away(why) from None
    except FloatingPointError as error:  # on every rank alike: the same again however often it is tried, so no failure to Ray
        if ranks.rank == 0:
            (run_folder / STOPPED).write_text(str(error))


def validate_checkpoint(checkpoint: Checkpoint, **shared: str) -> dict[str, float]:
    """The validator's task: score a checkpoint, log the score, keep the best, and log every n-th encoder."""
    from jobs.pretraining.results import log_checkpoint
    from jobs.pretraining.validation import validate

    config = Pipeline.model_validate_json(shared["config"])
    run_folder = run_folder_of(config, shared["pipeline"])
    client = MlflowClient(shared["tracking_uri"])
    torch.set_num_threads(config.cluster.threads_per_worker)
    device = torch.device("cuda" if config.cluster.validator_gpus else "cpu")
    with checkpoint.as_directory() as directory:
        folder = Path(directory)
        written = facts(folder)
        try:
            score = validate(config, folder, run_folder, device)
        finally:
            validation_over(run_folder, written["epoch"])
        metric = names.selection_score(config.pretrain.paper_compat)
        log_once(client, shared["run_id"], metric, score, written["step"])
        every = config.pretrain.keep_every
        if every and written["epoch"] % every == 0:
            log_checkpoint(client, shared["run_id"], config, folder, f"encoder-epoch-{written['epoch']}", {})
    what = "validation SVM balanced accuracy" if metric == names.VALIDATION_SCORE else "TEST SVM accuracy (selecting on it, as published)"
    print(f"pretrain: epoch {written['epoch']} {what} {score:.3f}", flush=True)
    return {metric: score}


if __name__ == "__main__":
    main()
