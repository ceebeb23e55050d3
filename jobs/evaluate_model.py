"""A registered encoder on a prepared dataset: `python -m jobs.evaluate_model MODEL DATA [--points N] [--seed S] [--json]`.

MODEL is `models:/NAME/VERSION` or `models:/NAME@ALIAS` in the MLflow of MLFLOW_TRACKING_URI. The scores, those of the same encoder with
random weights beside them, go to a run of their own and to the model's LoggedModel.
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from mlflow.models import get_model_info

from jobs.config import names
from jobs.config.sections import Backbone, Evaluate
from jobs.evaluate import compare, log_scores, probed, protocol
from jobs.evaluation import pictures
from jobs.models.tables import build_backbone
from jobs.packaging import load_encoder, points_of, registered_version


def main() -> None:
    cli = argparse.ArgumentParser(
        prog="python -m jobs.evaluate_model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_argument("model")
    cli.add_argument("data", type=Path, help="a prepared dataset with train and validation splits")
    cli.add_argument("--points", type=int, help="points a cloud that the encoder sees (default: those it was judged on, else 1024)")
    cli.add_argument("--seed", type=int, default=0, help="of the random weights beside")
    cli.add_argument("--json", action="store_true", help="the scores and their protocol as JSON, alone on standard output")
    args = cli.parse_args()

    def say(line: str) -> None:
        print(f"evaluate: {line}", file=sys.stderr if args.json else sys.stdout, flush=True)

    try:
        facts = evaluate_model(args.model, args.data, args.points, args.seed, say)
    except ValueError as error:
        sys.exit(f"evaluate: error: {error}")
    if args.json:
        print(json.dumps(facts))


def evaluate_model(model: str, data: Path, points: int | None, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Scores, protocol and run id; `points` None: those the version was judged on before.

    ValueError when the dataset cannot be judged on or the model is not there.
    """
    client = MlflowClient()
    version = registered_version(client, model)
    points = points or points_of(version)
    manifest, splits = probed(data, points)
    assert version.source is not None and version.run_id is not None
    encoder, model_id = load_encoder(model), get_model_info(version.source).model_id
    settings, backbone = Evaluate(points=points), _backbone(client, model_id)

    def random() -> torch.nn.Module:
        torch.manual_seed(seed)
        return build_backbone(backbone.name, backbone.k)

    found, confusion = compare(lambda: encoder.predict, random, splits, settings, say)
    c = found["trained"]["c"]
    facts = {"scores": found, "protocol": protocol(manifest, points, c), "model": f"models:/{version.name}/{version.version}"}
    experiment = client.get_run(version.run_id).info.experiment_id
    tags = {names.TAG_STAGE: "evaluate", names.TAG_DATA: manifest["digest"], "model": facts["model"]}
    run = client.create_run(experiment, run_name=f"evaluate-{manifest['name']}", tags=tags).info.run_id
    try:
        log_scores(client, run, found, manifest, model_id)
        client.log_dict(run, facts, "evaluate.json")
        if confusion is not None:
            with tempfile.TemporaryDirectory() as folder:
                picture = Path(folder) / "confusion.png"
                pictures.confusion(picture, confusion, manifest["categories"], f"{version.name} {version.version}, C = {c:g}")
                client.log_artifact(run, str(picture), "pictures")
    except BaseException:
        client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run, "FINISHED")
    return {**facts, "run": run}


def _backbone(client: MlflowClient, model_id: str) -> Backbone:
    """What the model was logged with."""
    params = client.get_logged_model(model_id).params
    if not {"backbone", "k"} <= params.keys():
        raise ValueError(f"the model {model_id} does not say its backbone: was it registered by another project?")
    return Backbone.model_validate({"name": params["backbone"], "k": int(params["k"])})


if __name__ == "__main__":
    main()
