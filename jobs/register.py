"""The registering job: the evaluated encoder becomes a version of `adacrossnet-<backbone>`, the alias `candidate` if asked."""
from __future__ import annotations

from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from jobs.config import names
from jobs.tracking import Stage, run_stage


def main() -> None:
    run_stage("register", register)


def register(stage: Stage) -> None:
    """The evaluated encoder as a version with its scores as tags."""
    evaluation, trained = stage.facts_of("evaluate"), stage.stage_runs["pretrain"]
    code = stage.client.get_run(trained).data.tags[names.TAG_CODE]  # of the tree that trained it: this job's may have been edited since
    tags = {names.TAG_PIPELINE: stage.pipeline, names.TAG_CONFIG: stage.config.digest(), names.TAG_CODE: code, **score_tags(evaluation)}
    name, model_id = names.registered_name(stage.config.pretrain.backbone.name), evaluation["model_id"]
    tags[names.evaluation_metric("svm", evaluation["protocol"]["dataset"], names.TAG_ITEMS)] = stage.stage_runs["evaluate"]
    version = register_version(stage.client, name, model_id, trained, tags)
    alias = place_alias(stage, name, version)
    stage.leave({"name": name, "version": version, "model_id": model_id})
    stage.say(f"{name} version {version}, {alias}")


def register_version(client: MlflowClient, name: str, model_id: str, run_id: str, tags: dict[str, str]) -> str:
    """Makes `model_id` a version of `name`, once a pipeline (a restart finds it); its number."""
    try:
        client.create_registered_model(name, description="Point-cloud encoders pretrained without labels.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    pipeline = tags[names.TAG_PIPELINE]
    found = [one for one in client.search_model_versions(f"name = '{name}'") if one.tags.get(names.TAG_PIPELINE) == pipeline]
    if found:
        version = found[0].version
    else:
        first = {names.TAG_PIPELINE: pipeline}  # with the version itself: a restart finds it by this
        version = client.create_model_version(name, f"models:/{model_id}", run_id, tags=first, model_id=model_id).version
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    return str(version)


def place_alias(stage: Stage, name: str, version: str) -> str:
    """Moves the alias `candidate` to a version, which notes the one that had it, unless the config says no; what it did, in words."""
    if not stage.config.candidate:
        return f"alias {names.ALIAS_CANDIDATE} stays where it is"
    client = stage.client
    try:
        before = str(client.get_model_version_by_alias(name, names.ALIAS_CANDIDATE).version)
    except MlflowException:
        before = None
    if before is not None and before != version:
        client.set_model_version_tag(name, version, "replaced_candidate", before)  # an alias keeps no history
    client.set_registered_model_alias(name, names.ALIAS_CANDIDATE, version)
    return f"alias {names.ALIAS_CANDIDATE}"


def score_tags(evaluation: dict[str, Any]) -> dict[str, str]:
    """An evaluation's protocol and its scores of the trained and the random encoder as a version's tags."""
    scores, protocol = evaluation["scores"], evaluation["protocol"]
    tags = {f"protocol.{key}": str(value) for key, value in protocol.items()}
    tags |= {names.evaluation_metric("svm", protocol["dataset"], f"protocol.{key}"): str(value) for key, value in protocol.items()}
    for encoder in ("trained", "random"):
        for split in ("val", "test"):
            for metric, value in (scores[encoder][split] or {}).items():
                tags[names.evaluation_metric("svm", protocol["dataset"], f"{encoder}.{split}.{metric}")] = f"{value:.6f}"
        for metric, value in scores[encoder].get("fixed_c", {}).get("test", {}).items():
            tags[names.evaluation_metric("svm", protocol["dataset"], f"{encoder}.test.fixed_c.{metric}")] = f"{value:.6f}"
    return tags


if __name__ == "__main__":
    main()
