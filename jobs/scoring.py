"""An evaluation's outcome in MLflow: metrics of its run and of the judged LoggedModel, tags of its version, files and pictures."""
from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from jobs.config import names
from jobs.config.places import Place
from jobs.data.format import read_manifest
from jobs.evaluation.outcome import Outcome
from jobs.judged import Judged, find_judged
from jobs.suite import judged_by
from jobs.tracking import Stage, log_once

# (encoder, prepared dataset, settings of the task, points a cloud, seed of the random weights beside, progress) -> outcome
Judge = Callable[[Judged, Place, Any, int, int, Callable[[str], None]], Outcome]


def evaluation_stage(stage: Stage, judge: Judge) -> None:
    """A further evaluation of a pipeline: run, LoggedModel and version get the scores."""
    config = stage.config
    settings = config.evaluation_stages[stage.name]
    data = config.data_of(settings)
    assert data.target is not None
    manifest = read_manifest(data.target)
    stage.tag({names.TAG_DATA: manifest["digest"]})
    judged = judged_of(stage)
    points = points_of(stage, judged, int(manifest["points"]))
    outcome = judge(judged, data.target, settings, points, config.seed, stage.say)
    version = None if judged.version is None else (judged.version.name, str(judged.version.version))
    facts = log_outcome(stage.client, stage.run_id, outcome, manifest, points, model_id=judged.model_id, version=version, called=stage.name)
    stage.leave(facts)


def judged_of(stage: Stage) -> Judged:
    """What a pipeline registered, or the encoder of its suite. ValueError when there is no such encoder."""
    if stage.config.suite is not None:
        return judged_by(stage)
    registered = stage.facts_of("register")
    return find_judged(stage.client, f"models:/{registered['name']}/{registered['version']}")


def points_of(stage: Stage, judged: Judged, stored: int) -> int:
    """Points a cloud of an evaluation, on a dataset that stores so many."""
    one, suite = stage.config.evaluation_stages[stage.name], stage.config.suite
    own = suite is not None and suite.own_points and one.points is None and one.task != "scenes"
    return judged.points if own else stage.config.points_of(one, stored)


def log_outcome(
    client: MlflowClient,
    run_id: str,
    outcome: Outcome,
    manifest: dict[str, Any],
    points: int,
    *,
    model_id: str | None,
    version: tuple[str, str] | None,
    called: str,
) -> dict[str, Any]:
    """Logs it and returns its facts. The trained encoder's metrics are attached to `model_id` and the dataset; `version` (name, number)
    gets them as tags, with what they must be read with, in place of those of an earlier evaluation by this task on this dataset.

    `called`: the stage, which names the pictures (a pipeline's come into one folder).
    """
    dataset = manifest["name"]
    protocol = {
        "dataset": dataset,
        "kind": manifest["kind"],
        "variant": manifest["variant"],
        "digest": manifest["digest"],
        "points": points,
        **outcome.protocol,
    }
    tags: dict[str, str] = {}
    for encoder, metrics in outcome.metrics.items():
        attached = encoder == "trained" and model_id is not None
        of_model = {"model_id": str(model_id), "dataset_name": dataset, "dataset_digest": manifest["digest"]} if attached else {}
        for metric, value in metrics.items():
            prefix = "" if encoder == "trained" else f"{encoder}_"
            log_once(client, run_id, names.evaluation_metric(outcome.task, dataset, f"{prefix}{metric}"), value, 0, **of_model)
            if encoder in ("trained", "random"):
                tags[names.evaluation_metric(outcome.task, dataset, f"{encoder}.{metric}")] = f"{value:.6f}"
    if outcome.items:
        client.log_dict(run_id, outcome.items, names.ITEMS)
        tags[names.evaluation_metric(outcome.task, dataset, names.TAG_ITEMS)] = run_id
    for name, value in outcome.listed.items():
        client.log_dict(run_id, value, f"{name}.json")
    with tempfile.TemporaryDirectory() as folder:
        for name, draw in outcome.pictures.items():
            picture = Path(folder) / f"{called}_{name}{'' if name.endswith('.html') else '.png'}"
            draw(picture)
            client.log_artifact(run_id, str(picture), "pictures")
    if version is not None:
        tags |= {f"{outcome.task}/{dataset}/protocol.{key}": str(value) for key, value in protocol.items()}
        retag(client, version, f"{outcome.task}/{dataset}/", tags)
    return {**outcome.facts(), "protocol": protocol, "model_id": model_id}


def retag(client: MlflowClient, version: tuple[str, str], prefix: str, tags: dict[str, str]) -> None:
    """Sets a version's tags in place of those that an earlier evaluation left under `prefix`."""
    for key in client.get_model_version(*version).tags:
        if key.startswith(prefix) and key not in tags:
            client.delete_model_version_tag(*version, key)
    for key, text in tags.items():
        client.set_model_version_tag(*version, key, text)
