"""How a confirming trial's encoder is judged: the protocol of an evaluation, the test split looked at once."""
from __future__ import annotations

from typing import Any

import torch
from mlflow import MlflowClient

from jobs.config import Pipeline, names
from jobs.data.loading import evaluable_splits
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.features import calibrate_batchnorm, encode_with, split_features
from jobs.evaluation.svm import evaluate
from jobs.sweeping import children
from jobs.tracking import log_once

SCORED = "scores.json"  # what is left of it in the trial's folder


def judge(config: Pipeline, encoder: torch.nn.Module, calibrate: bool) -> dict[str, Any]:
    """Scores of the linear SVM on frozen features; `calibrate` sets BatchNorm's statistics by an unlabelled pass over train first."""
    settings, probe = config.evaluate, config.probe_data.target
    assert probe is not None
    device = torch.device("cuda" if config.cluster.gpus_per_worker else "cpu")
    splits = evaluable_splits(probe)
    if calibrate:
        calibrate_batchnorm(encoder, splits["train"], points=settings.points, batch=settings.batch, device=device)
    encode = encode_with(encoder, device)
    found = {name: split_features(encode, shapes, points=settings.points, batch=settings.batch) for name, shapes in splits.items()}
    categories = len(splits["train"].categories)
    return evaluate(found["train"], found["val"], found.get("test"), settings.c_grid, categories).as_dict()


def log_scores(client: MlflowClient, parent: str, key: str, config: Pipeline, scores: dict[str, Any]) -> None:
    """Metrics of the trial's run under the sweep's run `parent`."""
    run_id, probe = children.find(client, parent, key), config.probe_data.target
    assert run_id is not None and probe is not None, "a confirming trial made its run before it trained"
    dataset = PreparedDataset(probe, None).manifest["name"]
    for part, values in (("val_", scores["val"]), ("", scores["test"] or {})):
        for metric, value in values.items():
            log_once(client, run_id, names.evaluation_metric("svm", dataset, f"{part}{metric}"), value, 0)
