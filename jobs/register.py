"""The registering job: the evaluated encoder becomes a version of `adacrossnet-<backbone>` with the alias `candidate`."""
from __future__ import annotations

from typing import Any

from mlflow.exceptions import MlflowException

from jobs.config import names
from jobs.tracking import Stage, run_stage


def main() -> None:
    run_stage("register", register)


def register(stage: Stage) -> None:
    """Creates the version once a pipeline (a restart finds it), copies its scores into tags, and moves the alias to it."""
    client, name = stage.client, names.registered_name(stage.config.pretrain.backbone.name)
    evaluation = stage.facts_of("evaluate")
    model_id = evaluation["model_id"]
    try:
        client.create_registered_model(name, description="Point-cloud encoders pretrained without labels.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = [v for v in client.search_model_versions(f"name = '{name}'") if v.tags.get(names.TAG_PIPELINE) == stage.pipeline]
    if found:
        version = found[0].version
    else:
        trained = stage.stage_runs["pretrain"]
        code = client.get_run(trained).data.tags[names.TAG_CODE]  # of the tree that trained it: this job's may have been edited since
        tags = {names.TAG_PIPELINE: stage.pipeline, names.TAG_CONFIG: stage.config.digest(), names.TAG_CODE: code}
        version = client.create_model_version(name, source=f"models:/{model_id}", run_id=trained, tags=tags, model_id=model_id).version
    for key, value in _tags(evaluation).items():
        client.set_model_version_tag(name, version, key, value)
    try:
        before = client.get_model_version_by_alias(name, names.ALIAS_CANDIDATE).version
    except MlflowException:
        before = None
    if before is not None and before != version:
        client.set_model_version_tag(name, version, "replaced_candidate", str(before))  # an alias keeps no history
    client.set_registered_model_alias(name, names.ALIAS_CANDIDATE, version)
    stage.leave({"name": name, "version": str(version), "model_id": model_id})
    stage.say(f"{name} version {version}, alias {names.ALIAS_CANDIDATE}")


def _tags(evaluation: dict[str, Any]) -> dict[str, str]:
    scores, protocol = evaluation["scores"], evaluation["protocol"]
    tags = {f"protocol.{key}": str(value) for key, value in protocol.items()}
    for encoder in ("trained", "random"):
        for split in ("val", "test"):
            for metric, value in (scores[encoder][split] or {}).items():
                tags[names.evaluation_metric("svm", protocol["dataset"], f"{encoder}.{split}.{metric}")] = f"{value:.6f}"
        for metric, value in scores[encoder].get("fixed_c", {}).get("test", {}).items():
            tags[names.evaluation_metric("svm", protocol["dataset"], f"{encoder}.test.fixed_c.{metric}")] = f"{value:.6f}"
    return tags


if __name__ == "__main__":
    main()
