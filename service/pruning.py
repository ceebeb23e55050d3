"""What of the registry may go: versions that nobody names, and encoders that no version points to."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.mlflow_runs import RUNNING

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

    from service.mlflow_runs import Runs

OURS = "backbone"  # a parameter that every LoggedModel of this project has


@dataclass(frozen=True)
class Prunable:
    """What may go, and how many stay."""

    versions: list[ModelVersion]
    models: list[LoggedModel]
    kept_versions: int
    kept_models: int


def prunable(runs: Runs, prefix: str, keep: int | None) -> Prunable:
    """Versions of the registered models that begin with `prefix`: those without an alias, but for the newest `keep` of each (None: all
    stay). LoggedModels: those that no version that stays points to, made by a run that has ended."""
    gone: list[ModelVersion] = []
    stay: list[ModelVersion] = []
    for model in runs.client.search_registered_models():  # also those of other names may point to our encoders
        named = {str(version) for version in runs.client.get_registered_model(model.name).aliases.values()}
        versions = sorted(runs.client.search_model_versions(f"name = '{model.name}'"), key=lambda one: -int(one.version))
        for place, version in enumerate(versions):
            free = model.name.startswith(prefix) and keep is not None and place >= keep and str(version.version) not in named
            (gone if free else stay).append(version)
    needed = {_model_of(version) for version in stay}
    experiments = [one.experiment_id for one in runs.client.search_experiments()]
    models = [one for one in _logged(runs, experiments) if OURS in one.params]
    open_runs = {run for run in {one.source_run_id for one in models} if run and _open(runs, run)}
    free_models = [one for one in models if one.model_id not in needed and one.source_run_id not in open_runs]
    return Prunable(gone, free_models, len(stay), len(models) - len(free_models))


def prune(runs: Runs, found: Prunable) -> None:
    """Removes them, versions first: one that is broken off leaves no version without its encoder."""
    for version in found.versions:
        runs.client.delete_model_version(version.name, str(version.version))
    for model in found.models:
        runs.client.delete_logged_model(str(model.model_id))


def _logged(runs: Runs, experiments: list[str]) -> list[LoggedModel]:
    found: list[LoggedModel] = []
    for experiment in experiments:
        token: str | None = None
        while True:
            page = runs.client.search_logged_models([experiment], max_results=100, page_token=token)
            found += page
            token = page.token
            if not token:
                break
    return found


def _model_of(version: ModelVersion) -> str:
    return version.model_id or str(version.source).rpartition("/")[2]


def _open(runs: Runs, run: str) -> bool:
    """Whether the run, or the pipeline that it is of, still goes on: what it has logged may be registered yet."""
    try:
        found = runs.client.get_run(run)
        parent = found.data.tags.get("mlflow.parentRunId")
        return RUNNING in (found.info.status, runs.status(parent) if parent else None)
    except Exception as error:  # MLflow's own, imported late
        from service.registry import raise_if_away

        raise_if_away(error, runs)
        return False
