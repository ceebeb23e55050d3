"""What of the registry may go: versions that nobody names, and encoders that no version points to."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.config import names
from service.mlflow_runs import RUNNING, NoSuch
from service.tables import SUCCEEDED

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

    from service.mlflow_runs import Runs
    from service.tables import Pipeline

OURS = "backbone"  # a parameter that every LoggedModel of this project has


@dataclass(frozen=True)
class Prunable:
    """What may go, and how many stay."""

    versions: list[ModelVersion]
    models: list[LoggedModel]
    kept_versions: int
    kept_models: int


def prunable(runs: Runs, prefix: str, keep: int | None, pipelines: list[Pipeline]) -> Prunable:
    """Versions of the registered models that begin with `prefix`: those without an alias, but for the newest `keep` of each (None: all
    stay). LoggedModels: those that no version that stays points to.

    Of `pipelines`, those of the ledger, what one that has not succeeded has made or judges stays: it goes on, or `resume` goes on with it.
    """
    waiting = {one.id for one in pipelines if one.state != SUCCEEDED}
    judged = {str((one.config.get("suite") or {}).get("model")) for one in pipelines if one.id in waiting}
    gone: list[ModelVersion] = []
    stay: list[ModelVersion] = []
    for model in _paged(lambda token: runs.client.search_registered_models(page_token=token)):  # of other names too: they may point to ours
        aliases = {alias: str(version) for alias, version in runs.client.get_registered_model(model.name).aliases.items()}
        found = list(_paged(lambda token, name=model.name: runs.client.search_model_versions(f"name = '{name}'", page_token=token)))
        for place, version in enumerate(sorted(found, key=lambda one: -int(one.version))):
            free = model.name.startswith(prefix) and keep is not None and place >= keep and str(version.version) not in aliases.values()
            called = {f"models:/{version.name}/{version.version}", str(version.source), version.run_id, f"runs:/{version.run_id}"}
            free = free and version.tags.get(names.TAG_PIPELINE) not in waiting and not called & judged
            (gone if free else stay).append(version)
    needed = {_model_of(version) for version in stay} | {model.removeprefix("models:/") for model in judged}
    models = [
        one
        for experiment in _paged(lambda token: runs.client.search_experiments(page_token=token))
        for one in _paged(lambda token, place=experiment.experiment_id: runs.client.search_logged_models([place], page_token=token))
        if OURS in one.params
    ]
    sources = {one.source_run_id for one in models if one.source_run_id}
    open_runs = {run for run in sources if run in judged or f"runs:/{run}" in judged or _open(runs, run, waiting)}
    free_models = [one for one in models if one.model_id not in needed and one.source_run_id not in open_runs]
    return Prunable(gone, free_models, len(stay), len(models) - len(free_models))


def prune(runs: Runs, found: Prunable) -> None:
    """Removes them, versions first: one that is broken off leaves no version without its encoder."""
    for version in found.versions:
        runs.client.delete_model_version(version.name, str(version.version))
    for model in found.models:
        runs.client.delete_logged_model(str(model.model_id))


def _paged(ask: Callable[..., Any]) -> Iterator[Any]:
    """Everything that MLflow gives a page at a time."""
    token: str | None = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def _model_of(version: ModelVersion) -> str:
    return version.model_id or str(version.source).rpartition("/")[2]


def _open(runs: Runs, run: str, waiting: set[str]) -> bool:
    """Whether the run or its parent still goes on, or is of a pipeline that does: what it has logged may be registered yet."""
    from mlflow.exceptions import MlflowException

    try:
        found = runs.client.get_run(run)
        parent = found.data.tags.get("mlflow.parentRunId")
        if found.data.tags.get(names.TAG_PIPELINE) in waiting or found.info.status == RUNNING:
            return True
        return parent is not None and runs.status(parent) == RUNNING
    except (MlflowException, NoSuch) as error:
        from service.registry import raise_if_away

        raise_if_away(error, runs)
        return False
