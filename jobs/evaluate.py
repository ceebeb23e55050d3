"""The evaluation job: a linear SVM on the best encoder's frozen features, the same encoder with random weights beside it."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from jobs.config import names
from jobs.data.loading import check_evaluable
from jobs.data.prepared import PreparedDataset, check_shards
from jobs.evaluation import pictures
from jobs.evaluation.features import calibrate_batchnorm, encode_with, split_features
from jobs.evaluation.svm import Result, evaluate, score_at
from jobs.packaging import load_encoder
from jobs.pretraining.step import build_model
from jobs.tracking import Stage, log_once, run_stage

SPLITS = ("train", "val", "test")


def main() -> None:
    run_stage("evaluate", evaluate_stage)


def evaluate_stage(stage: Stage) -> None:
    """Scores the pretrained encoder and the random baselines; metrics go to the run and to the encoder's LoggedModel."""
    config, settings = stage.config, stage.config.evaluate
    probe = config.probe_data.target
    assert probe is not None
    check_shards(probe)
    check_evaluable(probe, settings.points)
    manifest = PreparedDataset(probe, None).manifest
    splits = {name: PreparedDataset(probe, name) for name in SPLITS if manifest["splits"].get(name, {}).get("count")}
    stage.tag({names.TAG_DATA: manifest["digest"]})
    model_id = stage.facts_of("pretrain")["model_id"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    encoders: dict[str, Callable[[], Callable[[np.ndarray], np.ndarray]]] = {
        "trained": lambda: load_encoder(f"models:/{model_id}").predict,
        "random": lambda: encode_with(_random(stage, splits["train"], device, calibrated=True), device),
        "random_uncalibrated": lambda: encode_with(_random(stage, splits["train"], device, calibrated=False), device),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, build in encoders.items():
        stage.say(f"{name}: features of {sum(map(len, splits.values()))} shapes")
        encode = build()
        features = {split: split_features(encode, shapes, points=settings.points, batch=settings.batch) for split, shapes in splits.items()}
        train, val, test = features["train"], features["val"], features.get("test")
        result = evaluate(train, val, test, settings.c_grid, len(manifest["categories"]))
        found[name] = result.as_dict()
        if test is not None:
            found[name]["fixed_c"] = {"c": settings.fixed_c, "test": score_at(settings.fixed_c, train, val, test)[0]}
        stage.say(f"{name}: {_line(result)}")
        if name == "trained" and result.confusion is not None:
            matrix, title = result.confusion, f"Linear SVM on frozen features, C = {result.c:g}"
            stage.picture("confusion", lambda path, m=matrix, t=title: pictures.confusion(path, m, manifest["categories"], t))  # type: ignore[misc]
    protocol = _protocol(stage, manifest, found["trained"]["c"])
    _log(stage, found, manifest, model_id)
    stage.leave({"scores": found, "protocol": protocol, "model_id": model_id})


def _random(stage: Stage, train: PreparedDataset, device: torch.device, calibrated: bool) -> torch.nn.Module:
    settings = stage.config.evaluate
    encoder: torch.nn.Module = build_model(stage.config.pretrain, stage.config.seed).encoder
    if calibrated:
        calibrate_batchnorm(encoder, train, points=settings.points, batch=settings.batch, device=device)
    return encoder


def _line(result: Result) -> str:
    line = f"C = {result.c:g}, validation balanced accuracy {result.val['balanced_accuracy']:.3f}"
    return line if result.test is None else f"{line}, test {result.test['balanced_accuracy']:.3f} (accuracy {result.test['accuracy']:.3f})"


def _protocol(stage: Stage, manifest: dict[str, Any], c: float) -> dict[str, Any]:
    return {
        "dataset": manifest["name"],
        "kind": manifest["kind"],
        "variant": manifest.get("variant"),
        "digest": manifest["digest"],
        "points": stage.config.evaluate.points,
        "classifier": "linear SVC, one-vs-one, on raw features",
        "c": c,
        "chosen_by": "balanced accuracy on validation; refitted on train + validation for test",
        "shapes": {split: manifest["splits"].get(split, {}).get("count", 0) for split in SPLITS},
    }


def _log(stage: Stage, found: dict[str, dict[str, Any]], manifest: dict[str, Any], model_id: str) -> None:
    dataset = manifest["name"]
    for name, scores in found.items():
        of_model = {"model_id": model_id, "dataset_name": dataset, "dataset_digest": manifest["digest"]} if name == "trained" else {}
        prefix = "" if name == "trained" else f"{name}_"
        fixed = scores.get("fixed_c", {}).get("test")
        for part, values in (("", scores["test"]), ("val_", scores["val"]), ("fixed_c_", fixed)):
            for metric, value in (values or {}).items():
                key = names.evaluation_metric("svm", dataset, f"{prefix}{part}{metric}")
                log_once(stage.client, stage.run_id, key, value, 0, **of_model)


if __name__ == "__main__":
    main()
