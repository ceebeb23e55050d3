"""The MLflow runs of pipelines: made once, found again, closed in the right state. Always by explicit id, never fluent calls."""
from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from jobs.config import names

T = TypeVar("T")
PARENT = "pipeline"  # the stage tag of a pipeline's parent run
QUICK = {  # MLflow's own 7 retries hang for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}  # fmt: skip
_MOST_PARAMS, _MOST_CHARACTERS = 100, 6000  # of a request, of a parameter: MLflow's own limits
# MLflow's codes for a name, version or run that is not there; an unknown alias is an invalid parameter to it.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"  # MLflow's names


class TrackingAway(RuntimeError):
    """MLflow does not answer, or answers with an error."""


class NoSuch(TrackingAway):
    """MLflow answers that it does not hold what was asked for."""


def check_answers(uri: str, seconds: float = 5.0) -> None:
    """Returns when an MLflow server answers at `uri`; TrackingAway when none does within `seconds`. Folders and databases are not asked."""
    import requests

    if not uri.startswith(("http://", "https://")):
        return
    try:
        status = requests.get(f"{uri.rstrip('/')}/health", timeout=seconds).status_code
    except requests.Timeout:
        fault = f"nothing came within {seconds:g} s"
    except requests.RequestException as error:
        fault = type(error).__name__
    else:
        if status < 500:  # a proxy that hides /health or asks for a login is an answer too
            return
        fault = f"its status is {status}"
    raise TrackingAway(f"MLflow at {uri} does not answer ({fault}): start it, or correct MLFLOW_TRACKING_URI")


class Runs:
    """The runs on one MLflow server."""

    def __init__(self, uri: str) -> None:
        for name, value in QUICK.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow.tracking import MlflowClient  # over a second

        self.uri = uri.rstrip("/")
        self.client = MlflowClient(self.uri)
        self._experiments: dict[str, str] = {}

    def experiment(self, name: str) -> str:
        """The experiment's id; made when there is none, marked so that the UI opens its model-training view."""
        if name not in self._experiments:
            found = self._call(lambda: self.client.get_experiment_by_name(name))
            if found is None:
                tags = {"mlflow.experimentKind": "custom_model_development"}
                try:
                    self._experiments[name] = self._call(lambda: self.client.create_experiment(name, tags=tags))
                except TrackingAway:  # another one made it in between
                    found = self._call(lambda: self.client.get_experiment_by_name(name))
                    if found is None:
                        raise
            if found is not None:
                self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def find(self, experiment: str, pipeline: str, stage: str | None = None) -> list[str]:
        """Ids of the runs tagged with the pipeline (and stage), oldest first."""
        query = f"tags.`{names.TAG_PIPELINE}` = '{pipeline}'" + (f" and tags.`{names.TAG_STAGE}` = '{stage}'" if stage else "")
        found = self._call(lambda: self.client.search_runs([experiment], query, order_by=["attributes.start_time ASC"], max_results=1000))
        return [run.info.run_id for run in found]

    def create(self, experiment: str, name: str, tags: dict[str, str]) -> str:
        """A new run, RUNNING."""
        run: str = self._call(lambda: self.client.create_run(experiment, tags=tags, run_name=name).info.run_id)
        return run

    def status(self, run: str) -> str:
        """RUNNING, FINISHED, FAILED, KILLED or SCHEDULED."""
        return str(self._call(lambda: self.client.get_run(run).info.status))

    def close(self, run: str, status: str) -> None:
        """Ends the run in this state; a run that has it keeps its end time."""
        if self.status(run) != status:
            self._call(lambda: self.client.set_terminated(run, status))

    def reopen(self, run: str) -> None:
        """The run goes on: a new attempt of its stage starts."""
        if self.status(run) != RUNNING:
            self._call(lambda: self.client.update_run(run, status=RUNNING))

    def tag(self, run: str, key: str, value: str) -> None:
        """Sets a tag."""
        self._call(lambda: self.client.set_tag(run, key, value))

    def params(self, run: str, config: dict[str, Any]) -> None:
        """A config as parameters by dotted names, so that the UI can compare and sort runs; the same again changes nothing."""
        from mlflow.entities import Param

        found = [Param(name, value) for name, value in _flat(config)]
        for first in range(0, len(found), _MOST_PARAMS):
            some = found[first : first + _MOST_PARAMS]
            self._call(lambda some=some: self.client.log_batch(run, params=some))  # type: ignore[misc]

    def write(self, run: str, text: str, path: str) -> None:
        """Stores text as an artifact of the run."""
        self._call(lambda: self.client.log_text(run, text, path))

    def read_json(self, run: str, path: str) -> dict[str, Any] | None:
        """A JSON artifact; none when the run has no such file."""
        if path not in [file.path for file in self._call(lambda: self.client.list_artifacts(run))]:
            return None
        with tempfile.TemporaryDirectory() as folder:
            local = self._call(lambda: self.client.download_artifacts(run, path, folder))
            value: dict[str, Any] = json.loads(Path(local).read_text())
            return value

    def fetch(self, run: str, path: str, folder: Path) -> None:
        """Copies one artifact below `folder`."""
        self._call(lambda: self.client.download_artifacts(run, path, str(folder)))

    def download(self, run: str, path: str, folder: Path) -> list[Path]:
        """The files below an artifact folder, copied below `folder`; [] when there is no such folder."""
        if path not in [file.path for file in self._call(lambda: self.client.list_artifacts(run))]:
            return []
        folder.mkdir(parents=True, exist_ok=True)
        local = Path(self._call(lambda: self.client.download_artifacts(run, path, str(folder))))
        return sorted(file for file in local.rglob("*") if file.is_file())

    def url(self, experiment: str, run: str | None = None) -> str:
        """A link for a browser. Without workflowType the UI opens in its GenAI view."""
        page = f"/runs/{run}" if run else ""
        return f"{self.uri}/#/experiments/{experiment}{page}?workflowType=machine_learning"

    def _call(self, ask: Callable[[], T]) -> T:
        import requests
        from mlflow.exceptions import MlflowException

        try:
            return ask()
        except (MlflowException, requests.RequestException, OSError) as error:
            kind = NoSuch if getattr(error, "error_code", None) in ABSENT else TrackingAway
            raise kind(f"MLflow at {self.uri}: {str(error).splitlines()[0][:300]}") from None


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", (value if isinstance(value, str) else json.dumps(value))[:_MOST_CHARACTERS]
