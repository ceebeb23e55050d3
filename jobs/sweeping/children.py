"""A sweep's runs in MLflow: one child a trial, found again after a restart, closed as the trial ended."""
from __future__ import annotations

from typing import Any

from mlflow import MlflowClient

from jobs.config import names

TRIAL = "trial"  # the tag that holds a trial's key
OUTCOME = "outcome"  # the tag that says how a trial ended
VALUES = "values"  # the tag with the values that a trial ended with, where it may have been moved to others
DONE, STOPPED, FAILED = "done", "stopped early", "failed"


def child(client: MlflowClient, parent: str, key: str, params: dict[str, Any], config_digest: str) -> str:
    """The id of the run of trial `key` under the run `parent`, open: made with its parameters where there is none.

    Nobody else makes it at the same time: a trial lives in one process, and its driver asks once the trial has spoken.
    """
    whole = client.get_run(parent)
    found = find(client, parent, key)
    if found is not None:
        client.update_run(found, status="RUNNING")
        return found
    of_sweep = {name: whole.data.tags[name] for name in (names.TAG_PIPELINE, names.TAG_CODE, names.TAG_DATA) if name in whole.data.tags}
    tags = {"mlflow.parentRunId": parent, TRIAL: key, names.TAG_STAGE: TRIAL, names.TAG_CONFIG: config_digest, **of_sweep}
    run: str = client.create_run(whole.info.experiment_id, tags=tags, run_name=key).info.run_id
    for name, value in params.items():
        client.log_param(run, name, value)
    return run


def find(client: MlflowClient, parent: str, key: str) -> str | None:
    """The id of the run of trial `key`, None where there is none."""
    query = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`{TRIAL}` = '{key}'"
    runs = client.search_runs([client.get_run(parent).info.experiment_id], query, max_results=1)
    return runs[0].info.run_id if runs else None


def close(client: MlflowClient, parent: str, key: str, outcome: str, error: str | None = None) -> None:
    """Ends a trial's run, if it has one."""
    run = find(client, parent, key)
    if run is None:
        return
    before = client.get_run(run)
    if before.info.status != "RUNNING" and before.data.tags.get(OUTCOME) == outcome:
        return  # a driver that was killed had closed it
    client.set_tag(run, OUTCOME, outcome)
    if error is not None:
        client.set_tag(run, "error", error[:4000])
    client.set_terminated(run, "FAILED" if outcome == FAILED else "FINISHED")
