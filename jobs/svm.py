"""The linear SVM on a further dataset: features of the judged encoder and of random weights. A stage of a pipeline."""
from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from jobs.config import names
from jobs.config.evaluations import Evaluate
from jobs.config.places import Place
from jobs.data.format import read_manifest
from jobs.evaluate import compare, items, log_scores, per_class, probed, protocol
from jobs.evaluation import pictures
from jobs.evaluation.paired import gain
from jobs.judged import Judged
from jobs.models.tables import build_backbone
from jobs.register import score_tags
from jobs.scoring import judged_of, points_of, retag
from jobs.tracking import Stage, run_stage

HEADLINE = ["accuracy", "balanced_accuracy"]


def main() -> None:
    run_stage("svm", svm_stage)


def svm_stage(stage: Stage) -> None:
    """Run, LoggedModel and version get the scores."""
    config = stage.config
    data = config.data_of(config.evaluation_stages[stage.name]).target
    assert data is not None
    manifest = read_manifest(data)
    stage.tag({names.TAG_DATA: manifest["digest"]})
    judged = judged_of(stage)
    settings = config.evaluate.model_copy(update={"points": points_of(stage, judged, int(manifest["points"]))})
    facts = judge_svm(stage.client, judged, data, settings, config.seed, stage.say, lambda: stage.run_id, called=stage.name)
    stage.leave({**facts, "headline": HEADLINE})


def judge_svm(
    client: MlflowClient,
    judged: Judged,
    data: Place,
    settings: Evaluate,
    seed: int,
    say: Callable[[str], None],
    begin: Callable[[], str],
    *,
    called: str,
) -> dict[str, Any]:
    """Logs scores, confusion and tags, and returns scores and protocol. `begin` gives the run once there is something to log; `called`
    names its picture. ValueError when the dataset cannot be judged on."""
    manifest, splits = probed(data, settings.points)

    def random() -> torch.nn.Module:
        torch.manual_seed(seed)
        return build_backbone(judged.backbone.name, judged.backbone.k)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found, results = compare(lambda: judged.encode(device), random, splits, settings, say)
    c = found["trained"]["c"]
    facts: dict[str, Any] = {"scores": found, "protocol": protocol(manifest, settings, c), "model_id": judged.model_id, "per_class": []}
    right = {side: results[side].right["test"].astype(float) for side in ("trained", "random") if "test" in results[side].right}
    facts["gains"] = {"accuracy": gain(right)} if right else {}
    run = begin()
    log_scores(client, run, found, manifest, judged.model_id)
    client.log_dict(run, items(results["trained"], splits), names.ITEMS)
    confusion = results["trained"].confusion
    if confusion is not None:
        facts["per_class"] = per_class(confusion, manifest["categories"])
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder) / f"{called}_confusion.png"
            pictures.confusion(picture, confusion, manifest["categories"], f"{judged.label}, C = {c:g}")
            client.log_artifact(run, str(picture), "pictures")
    if judged.version is not None:
        of_svm = {key: value for key, value in score_tags(facts).items() if not key.startswith("protocol.")}  # those are its pipeline's
        of_svm[names.evaluation_metric("svm", manifest["name"], names.TAG_ITEMS)] = run
        retag(client, (judged.version.name, str(judged.version.version)), f"svm/{manifest['name']}/", of_svm)
    return facts


if __name__ == "__main__":
    main()
