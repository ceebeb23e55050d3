"""`list` and `show`: what was asked and how far it got."""
from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import AsJson, PipelineId, State
from service.typed import typed

if TYPE_CHECKING:
    from service.home import Home
    from service.ledger import Ledger
    from service.tables import Pipeline


def list_pipelines(
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 20, as_json: AsJson = False, state: State = None
) -> None:
    """List pipelines, newest first."""
    from rich.table import Table
    from rich.text import Text

    from service.display import clock, wide_console
    from service.home import Home
    from service.ledger import Ledger

    home = Home.find(state)
    ledger = Ledger(home.ledger_url)
    rows = [_facts(one, ledger, home) for one in ledger.recent(limit)]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo(typed(f"no pipelines yet under {home.path}: `adacrossnet run configs/quickstart.yaml` makes one"))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("pipeline", "state", "stage", "began", "took", "message"):
        table.add_column(column, no_wrap=column in ("pipeline", "began"))
    for row in rows:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"]))
        took = clock((row["ended"] or time.time()) - row["created"])
        message = Text((row["message"] or "").partition("\n")[0])  # text: brackets in it are no markup
        table.add_row(row["pipeline"], row["state"], row["stage"] or "", began, took, message)
    wide_console().print(table, highlight=False)


def show(pipeline: PipelineId, as_json: AsJson = False, state: State = None) -> None:
    """Show a pipeline: its stages, attempts, messages, and what came of it."""
    from rich.table import Table

    from service import summary
    from service.display import clock, seconds_of, wide_console
    from service.home import Home
    from service.ledger import Ledger
    from service.report import print_summary
    from service.submitter import interrupted
    from service.troubles import print_orders

    home = Home.find(state)
    ledger = Ledger(home.ledger_url)
    row = ledger.get(pipeline)
    facts, result = _facts(row, ledger, home), summary.read(pipeline, home)
    if as_json:
        typer.echo(json.dumps({**facts, "config": row.config, "summary": result}))
        return
    console = wide_console()
    console.print(f"{row.id}: {facts['state']}", highlight=False, style="bold")
    if facts["message"]:
        console.print(facts["message"], markup=False, highlight=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("stage", "state", "took", "attempts", "last job", "MLflow run"):
        table.add_column(column)
    for stage in row.stages:
        job = stage.attempts[-1].job_id if stage.attempts else ""
        table.add_row(stage.name, stage.state, clock(seconds_of(stage)), str(len(stage.attempts)), job, stage.run_id or "")
    console.print(table, highlight=False, soft_wrap=True)
    if result is not None:
        print_summary(result, console)
    if row.state in ("failed", "cancelled") or interrupted(ledger, row):
        print_orders(row, console)


def _facts(row: Pipeline, ledger: Ledger, home: Home) -> dict[str, Any]:
    from service.submitter import interrupted, standstill

    reason = standstill(ledger, home, row)
    message = "\n".join(text for text in (row.message, reason) if text) or None
    state = "interrupted" if interrupted(ledger, row) or (reason and row.state == "running") else row.state
    current = next((stage.name for stage in row.stages if stage.state != "succeeded"), None)
    return {
        "pipeline": row.id, "name": row.name, "state": state, "stage": current,
        "created": row.created, "ended": row.ended, "message": message, "mlflow_run": row.run_id,
        "stages": [
            {
                "name": stage.name, "state": stage.state, "seconds": stage.seconds, "message": stage.message, "mlflow_run": stage.run_id,
                "attempts": [
                    {
                        "number": one.number, "job": one.job_id, "state": one.state, "started": one.started, "ended": one.ended,
                        "message": one.message,
                    }
                    for one in stage.attempts
                ],
            }
            for stage in row.stages
        ],
    }  # fmt: skip
