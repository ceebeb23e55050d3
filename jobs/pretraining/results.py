"""What a pretraining leaves in MLflow when it has ended: the best encoder, the pictures and the facts."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mlflow import MlflowClient

from jobs.config import Pipeline, names
from jobs.data.loading import evaluation_clouds
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.features import calibrate_batchnorm, encode_with, split_features
from jobs.packaging import log_encoder
from jobs.pretraining import checkpoint, pictures
from jobs.pretraining.loop import COLUMNS
from jobs.pretraining.step import build_model
from jobs.pretraining.validation import load_encoder
from jobs.tracking import Stage, curves

SHOWN = 8  # clouds in a picture


def leave_results(stage: Stage, dataset: PreparedDataset, run_folder: Path, steps: int) -> None:
    """The best encoder, the pictures and the facts."""
    config = stage.config
    folder, chosen = checkpoint.best(run_folder)
    selected = "validation balanced accuracy" if config.pretrain.paper_compat is None else "TEST accuracy (selected on test, as published)"
    stage.say(f"best is epoch {chosen['epoch']} with {selected} {chosen['score']:.3f}; drawing")
    tags = {names.TAG_DATA: dataset.manifest["digest"], names.TAG_CODE: stage.code_digest, names.TAG_PIPELINE: stage.pipeline}
    model_id = log_checkpoint(stage.client, stage.run_id, config, folder, "encoder", tags)
    lines = curves(stage.client, stage.run_id, [*COLUMNS, names.CLOUDS_PER_S])
    stage.picture("losses", lambda path: pictures.losses(path, lines))
    stage.picture("weights", lambda path: pictures.weights(path, lines))
    stage.picture("learning_rate", lambda path: pictures.learning_rate(path, lines))
    draw_features(stage, folder)
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
            "selected_on": "validation" if config.pretrain.paper_compat is None else "test, as published",
            "selection_score": chosen["score"],
            "model_id": model_id,
            "checkpoint": str(folder),
        }
    )


def draw_features(stage: Stage, best: Path) -> None:
    """Validation features under random weights and after, and some of the clouds."""
    config, settings = stage.config, stage.config.evaluate
    device = torch.device("cpu")
    assert config.probe_data.target is not None
    val = PreparedDataset(config.probe_data.target, "val")
    random = build_model(config.pretrain, config.seed).encoder
    train = PreparedDataset(config.probe_data.target, "train")
    calibrate_batchnorm(random, train, points=settings.points, batch=settings.batch, device=device)
    before, after = (
        split_features(encode_with(encoder, device), val, points=settings.points, batch=settings.batch)
        for encoder in (random, load_encoder(config.pretrain.backbone, best))
    )
    stage.picture("features", lambda path: pictures.embedding(path, before, after, val.categories))
    points_BNC = np.concatenate([points.numpy() for points, _ in evaluation_clouds(val, settings.points, settings.batch)])
    some = np.unique(np.linspace(0, len(val) - 1, SHOWN).astype(int))  # spread over the ids, so over the categories
    stage.picture("clouds", lambda path: pictures.clouds(path, points_BNC[some], [val.categories[val.labels[row]] for row in some]))


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
