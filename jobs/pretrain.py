"""The pretraining job: Ray Train workers run the loop, a validator runs beside them, the best encoder goes to MLflow."""
from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import ray
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
    ScalingConfig,
    ValidationConfig,
    ValidationTaskConfig,
)

from jobs.config import Pipeline, names
from jobs.data.loading import evaluation_clouds
from jobs.data.prepared import PreparedDataset, check_shards
from jobs.evaluation.features import calibrate_batchnorm, encode_with, split_features
from jobs.packaging import log_encoder
from jobs.pretraining import checkpoint, pictures
from jobs.pretraining.loop import COLUMNS, Outside, run, steps_an_epoch
from jobs.pretraining.ranks import Ranks
from jobs.pretraining.step import build_model
from jobs.pretraining.validation import load_encoder, validate
from jobs.tracking import MetricLog, Stage, curves, log_once, run_stage

SHOWN = 8  # clouds in a picture


def main() -> None:
    run_stage("pretrain", pretrain)


def pretrain(stage: Stage) -> None:
    """Checks everything first, trains, then leaves the best encoder, the pictures and `pretrain.json` in the run."""
    config = stage.config
    dataset = training_shapes(config)
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
        f"{config.cluster.workers} worker(s), {pretrain.backbone.name} and {pretrain.image.tower}"
    )
    fit(config, stage)
    finish(stage, dataset, run_folder, steps)


def training_shapes(config: Pipeline) -> PreparedDataset:
    """The training split without shapes whose geometry stands in the probe's validation or test split."""
    assert config.data.target is not None
    if config.probe is None:
        return PreparedDataset(config.data.target, "train")
    assert config.probe.target is not None
    probe = PreparedDataset(config.probe.target, None)
    held_out = {content for content, split in zip(probe.contents, probe.splits, strict=True) if split != "train"}
    return PreparedDataset(config.data.target, "train", keep=lambda content: content not in held_out)


def run_folder_of(config: Pipeline, pipeline: str) -> Path:
    """Where Ray Train keeps the run: stable over resumes, one a pipeline."""
    return config.cluster.storage / "pretrain" / pipeline


def check_space(config: Pipeline, run_folder: Path) -> None:
    """ValueError when the storage cannot hold the checkpoints of the run."""
    model = build_model(config.pretrain, config.seed)
    values = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    needed = checkpoint.bytes_needed(values) / 1e9 + config.cluster.min_free_gb
    run_folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(run_folder).free / 1e9
    if free < needed:
        raise ValueError(
            f"{config.cluster.storage} has {free:.1f} GB free and the checkpoints need {needed:.1f} GB "
            f"({config.cluster.min_free_gb:g} GB of it kept free): free some space or set cluster.storage elsewhere"
        )


def fit(config: Pipeline, stage: Stage) -> None:
    """Trains to the end, over worker failures; a run of the same pipeline goes on from its newest whole checkpoint."""
    cluster = config.cluster
    shared = {"config": config.to_json(), "run_id": stage.run_id, "pipeline": stage.pipeline, "tracking_uri": stage.client.tracking_uri}
    resources: dict[str, float] = {"CPU": cluster.cpus_per_worker}
    if cluster.gpus_per_worker:
        resources["GPU"] = cluster.gpus_per_worker
    trainer = ray.train.torch.TorchTrainer(  # type: ignore[call-arg]  # Ray's annotations show the first version of Train
        train_worker,
        train_loop_config=shared,
        torch_config=ray.train.torch.TorchConfig(
            backend="nccl" if cluster.gpus_per_worker else "gloo", timeout_s=int(cluster.collective_timeout_s)
        ),
        scaling_config=ScalingConfig(
            num_workers=cluster.workers, use_gpu=cluster.gpus_per_worker > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(  # type: ignore[call-arg]
            name=stage.pipeline,
            storage_path=str(config.cluster.storage / "pretrain"),
            failure_config=FailureConfig(max_failures=cluster.max_failures),
            # Ray keeps the last two (one may be cut short by a crash); the validator keeps the best.
            checkpoint_config=CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="epoch", checkpoint_score_order="max"),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
        validation_config=ValidationConfig(
            fn=validate_checkpoint, task_config=ValidationTaskConfig(fn_kwargs=shared), ray_remote_kwargs={"num_cpus": 0, "max_retries": 2}
        ),
    )
    trainer.fit()


def train_worker(shared: dict[str, str]) -> None:
    """One rank: the loop, with its reports to Ray Train and (rank 0) its metrics to MLflow."""
    config = Pipeline.model_validate_json(shared["config"])
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    torch.set_num_threads(config.cluster.threads_per_worker)
    run_folder = run_folder_of(config, shared["pipeline"])
    latest = ray.train.get_checkpoint()
    resume_from, passed_over = checkpoint.usable(run_folder, Path(latest.path) if latest else None)
    log = MetricLog(MlflowClient(shared["tracking_uri"]), shared["run_id"], COLUMNS) if ranks.rank == 0 else None

    def say(line: str) -> None:
        print(f"pretrain: {line}", flush=True)

    def report(metrics: dict[str, Any], write: Any, validated: bool) -> None:
        if ranks.rank != 0:
            ray.train.report(metrics)
            return
        folder = Path(tempfile.mkdtemp(prefix="checkpoint-"))
        try:
            write(folder)
            # A name of its own each time: after a fallback to an older checkpoint the same epoch is written again.
            name = f"epoch-{metrics['epoch']:05d}-{uuid.uuid4().hex[:8]}"
            ray.train.report(metrics, checkpoint=Checkpoint(str(folder)), checkpoint_dir_name=name, validation=validated)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    if ranks.rank == 0:
        for reason in passed_over:
            say(f"passed over a checkpoint: {reason}")
    outside = Outside(report=report, log=log.log if log else lambda rows: None, say=say)
    run(config, training_shapes(config), ranks, outside, resume_from)


def validate_checkpoint(checkpoint: Checkpoint, **shared: str) -> dict[str, float]:
    """The validator's task: score a checkpoint, log the score, keep the best, and log every n-th encoder."""
    config = Pipeline.model_validate_json(shared["config"])
    run_folder = run_folder_of(config, shared["pipeline"])
    client = MlflowClient(shared["tracking_uri"])
    with checkpoint.as_directory() as directory:
        folder = Path(directory)
        score = validate(config, folder, run_folder, torch.device("cpu"))
        facts = checkpoint_facts(folder)
        log_once(client, shared["run_id"], names.VALIDATION_SCORE, score, facts["step"])
        every = config.pretrain.keep_every
        if every and facts["epoch"] % every == 0:
            log_checkpoint(client, shared["run_id"], config, folder, f"encoder-epoch-{facts['epoch']}", {})
    print(f"pretrain: epoch {facts['epoch']} validation SVM balanced accuracy {score:.3f}", flush=True)
    return {names.VALIDATION_SCORE: score}


checkpoint_facts = checkpoint.facts


def log_checkpoint(client: MlflowClient, run_id: str, config: Pipeline, folder: Path, name: str, tags: dict[str, str]) -> str:
    """The encoder of a checkpoint as a LoggedModel; its id."""
    facts = checkpoint.facts(folder)
    weights = checkpoint.encoder_weights(folder)
    weights = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    return log_encoder(
        client,
        run_id,
        name=name,
        backbone=config.pretrain.backbone,
        weights=weights,
        step=facts["step"],
        tags={"epoch": str(facts["epoch"]), names.TAG_CONFIG: config.digest(), **tags},
    )


def finish(stage: Stage, dataset: PreparedDataset, run_folder: Path, steps: int) -> None:
    """The best encoder, the pictures and the facts."""
    config = stage.config
    folder, chosen = checkpoint.best(run_folder)
    stage.say(f"best is epoch {chosen['epoch']} with validation balanced accuracy {chosen['score']:.3f}; drawing")
    tags = {names.TAG_DATA: dataset.manifest["digest"], names.TAG_CODE: stage.code_digest, names.TAG_PIPELINE: stage.pipeline}
    model_id = log_checkpoint(stage.client, stage.run_id, config, folder, "encoder", tags)
    lines = curves(stage.client, stage.run_id, [*COLUMNS, names.CLOUDS_PER_S, names.VALIDATION_SCORE])
    stage.picture("losses", lambda path: pictures.losses(path, lines))
    stage.picture("weights", lambda path: pictures.weights(path, lines))
    stage.picture("learning_rate", lambda path: pictures.learning_rate(path, lines))
    draw_features(stage, dataset, folder)
    unweighted = lines[names.LOSS_INTRA][1] + lines[names.LOSS_CROSS][1]
    stage.leave(
        {
            # The unweighted sum of both losses: weights change the scale of the weighted one.
            "loss_before": float(unweighted[0]),
            "loss_after": float(unweighted[-steps:].mean()),
            "weights": {"intra": float(lines[names.WEIGHT_INTRA][1][-1]), "cross": float(lines[names.WEIGHT_CROSS][1][-1])},
            "clouds_per_s": float(np.median(lines[names.CLOUDS_PER_S][1])),
            "epochs": config.pretrain.epochs,
            "best_epoch": chosen["epoch"],
            "validation_score": chosen["score"],
            "model_id": model_id,
            "checkpoint": str(folder),
        }
    )


def draw_features(stage: Stage, dataset: PreparedDataset, best: Path) -> None:
    """Validation features under random weights and after, and some of the clouds."""
    config, settings = stage.config, stage.config.evaluate
    device = torch.device("cpu")
    assert config.probe_data.target is not None
    val = PreparedDataset(config.probe_data.target, "val")
    random = build_model(config.pretrain, config.seed).encoder
    calibrate_batchnorm(random, dataset, points=settings.points, batch=settings.batch, device=device)
    before, after = (
        split_features(encode_with(encoder, device), val, points=settings.points, batch=settings.batch)
        for encoder in (random, load_encoder(config.pretrain.backbone, best))
    )
    stage.picture("features", lambda path: pictures.embedding(path, before, after, val.categories))
    points_BNC = np.concatenate([points.numpy() for points, _ in evaluation_clouds(val, settings.points, settings.batch)])
    some = np.unique(np.linspace(0, len(val) - 1, SHOWN).astype(int))  # spread over the ids, so over the categories
    stage.picture("clouds", lambda path: pictures.clouds(path, points_BNC[some], [val.categories[val.labels[row]] for row in some]))


if __name__ == "__main__":
    main()
