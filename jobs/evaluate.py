"""The evaluation job: a linear SVM on the best encoder's frozen features, the same encoder with random weights beside it."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient

from jobs.config import names
from jobs.config.evaluations import Evaluate
from jobs.config.places import Place
from jobs.data.loading import check_evaluable, evaluable_splits
from jobs.data.prepared import PreparedDataset, check_shards
from jobs.evaluation import pictures
from jobs.evaluation.features import Encode, sides
from jobs.evaluation.judging import judge
from jobs.evaluation.outcome import Items
from jobs.evaluation.svm import Result
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
    manifest, splits = probed(probe, settings.points)
    stage.tag({names.TAG_DATA: manifest["digest"]})
    pretrained = stage.facts_of("pretrain")
    model_id = pretrained["model_id"]
    found, results = compare(
        lambda: load_encoder(f"models:/{model_id}").predict,
        lambda: build_model(config.pretrain, config.seed).encoder,
        splits,
        settings,
        stage.say,
    )
    confusion = results["trained"].confusion
    if confusion is not None:
        title = f"Linear SVM on frozen features, C = {found['trained']['c']:g}"
        stage.picture("confusion", lambda path: pictures.confusion(path, confusion, manifest["categories"], title))
    log_scores(stage.client, stage.run_id, found, manifest, model_id)
    stage.client.log_dict(stage.run_id, items(results["trained"], splits), names.ITEMS)
    read_with = {**protocol(manifest, settings, found["trained"]["c"]), "epoch_selected_on": pretrained["selected_on"]}
    table = [] if confusion is None else per_class(confusion, manifest["categories"])
    stage.leave({"scores": found, "protocol": read_with, "model_id": model_id, "per_class": table})


def probed(folder: Place, points: int) -> tuple[dict[str, Any], dict[str, PreparedDataset]]:
    """Manifest and splits of a prepared dataset that an SVM can be judged on; ValueError when it cannot, before any work."""
    check_shards(folder)
    check_evaluable(folder, points)
    manifest = PreparedDataset(folder, None).manifest
    return manifest, evaluable_splits(folder)


def compare(
    trained: Callable[[], Encode],
    random: Callable[[], torch.nn.Module],
    splits: dict[str, PreparedDataset],
    settings: Evaluate,
    say: Callable[[str], None],
) -> tuple[dict[str, dict[str, Any]], dict[str, Result]]:
    """Scores of `trained`, and of what `random` builds with its BatchNorm calibrated and untouched; and what they are made of."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compared = sides(trained, random, splits["train"], points=settings.points, batch=settings.batch, device=device)
    found: dict[str, dict[str, Any]] = {}
    results: dict[str, Result] = {}
    for name, build in compared.items():
        say(f"{name}: features of {sum(map(len, splits.values()))} shapes")
        encode = build()
        found[name], results[name] = judge(encode, splits, settings)
        say(f"{name}: {_line(results[name])}")
    return found, results


def items(result: Result, splits: dict[str, PreparedDataset]) -> Items:
    """Which shapes were told right."""
    return {f"{split}.accuracy": (splits[split].ids, right.astype(float).tolist()) for split, right in result.right.items()}


def per_class(confusion: np.ndarray, categories: Sequence[str]) -> list[dict[str, Any]]:
    """A row a category that has test shapes: how many, the share told right, and what it is most often taken for."""
    rows = []
    for row, name in enumerate(categories):
        count, wrong = int(confusion[row].sum()), np.where(np.arange(len(categories)) == row, 0, confusion[row])
        if count:
            taken = categories[int(wrong.argmax())] if wrong.any() else None
            rows.append({"category": name, "shapes": count, "recall": float(confusion[row, row] / count), "taken_for": taken})
    return rows


def _line(result: Result) -> str:
    line = f"C = {result.c:g}, validation balanced accuracy {result.val['balanced_accuracy']:.3f}"
    return line if result.test is None else f"{line}, test {result.test['balanced_accuracy']:.3f} (accuracy {result.test['accuracy']:.3f})"


def protocol(manifest: dict[str, Any], settings: Evaluate, c: float) -> dict[str, Any]:
    """What a score must be read with."""
    return {
        "dataset": manifest["name"],
        "kind": manifest["kind"],
        "variant": manifest.get("variant"),
        "digest": manifest["digest"],
        "points": settings.points,
        "classifier": "linear SVC, one-vs-one, on raw features",
        "c": c,
        "c_grid": list(settings.c_grid),
        "fixed_c": settings.fixed_c,
        "chosen_by": "balanced accuracy on validation; refitted on train + validation for test",
        "shapes": {split: manifest["splits"].get(split, {}).get("count", 0) for split in SPLITS},
    }


def log_scores(
    client: MlflowClient, run_id: str, found: dict[str, dict[str, Any]], manifest: dict[str, Any], model_id: str | None
) -> None:
    """Metrics of the run; the trained encoder's are attached to its LoggedModel, where it is one, and the dataset's digest."""
    dataset = manifest["name"]
    for name, scores in found.items():
        attached = name == "trained" and model_id is not None
        of_model = {"model_id": str(model_id), "dataset_name": dataset, "dataset_digest": manifest["digest"]} if attached else {}
        prefix = "" if name == "trained" else f"{name}_"
        fixed = scores.get("fixed_c", {}).get("test")
        for part, values in (("", scores["test"]), ("val_", scores["val"]), ("fixed_c_", fixed)):
            for metric, value in (values or {}).items():
                key = names.evaluation_metric("svm", dataset, f"{prefix}{part}{metric}")
                log_once(client, run_id, key, value, 0, **of_model)


if __name__ == "__main__":
    main()
