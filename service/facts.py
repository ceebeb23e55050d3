"""What the service tells of a pipeline: the same on the command line and over the API."""
from __future__ import annotations

from typing import Any

from service.display import seconds_of
from service.home import Home
from service.ledger import Ledger
from service.submitter import interrupted, standstill
from service.tables import Pipeline


def pipeline_facts(row: Pipeline, ledger: Ledger, home: Home) -> dict[str, Any]:
    """A pipeline for JSON: what was asked, how far it got, and what it waits for."""
    reason = standstill(ledger, home, row)
    message = "\n".join(text for text in (row.message, reason) if text) or None
    state = "interrupted" if interrupted(ledger, row) or (reason and row.state == "running") else row.state
    current = next((stage.name for stage in row.stages if stage.state != "succeeded"), None)
    return {
        "pipeline": row.id, "name": row.name, "owner": row.owner, "priority": row.priority, "state": state, "stage": current,
        "created": row.created, "ended": row.ended, "message": message, "mlflow_run": row.run_id,
        "stages": [
            {
                "name": stage.name, "state": stage.state, "seconds": seconds_of(stage), "message": stage.message,
                "mlflow_run": stage.run_id,
                "attempts": [
                    {
                        "number": one.number, "job": one.job_id, "state": one.state, "started": one.started, "ended": one.ended,
                        "message": one.message, "cause": one.cause,
                    }
                    for one in stage.attempts
                ],
            }
            for stage in row.stages
        ],
    }  # fmt: skip
