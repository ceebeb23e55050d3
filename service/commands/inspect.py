"""`list` and `show`: what was asked and how far it got."""
from __future__ import annotations

import json
import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from service.commands.options import AsJson, PipelineId, Server, State
from service.typed import typed


def list_pipelines(
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 20,
    as_json: AsJson = False,
    server: Server = None,
    state: State = None,
) -> None:
    """List pipelines, newest first."""
    from rich.table import Table
    from rich.text import Text

    from service.display import clock, wide_console

    if server is not None:
        from service.client import Remote

        where, rows = server, list(islice(Remote(server).pipelines(), limit))
    else:
        where, rows = _local_rows(limit, state)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo(typed(f"no pipelines yet under {where}: `adacrossnet run configs/quickstart.yaml` makes one"))
        return
    several = len({row["owner"] for row in rows}) > 1 or server is not None
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("pipeline", *(["owner"] if several else []), "state", "stage", "began", "took", "message"):
        table.add_column(column, no_wrap=column in ("pipeline", "began"))
    for row in rows:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"]))
        took = clock((row["ended"] or time.time()) - row["created"])
        message = Text((row["message"] or "").partition("\n")[0])  # text: brackets in it are no markup
        owner = [row["owner"]] if several else []
        table.add_row(row["pipeline"], *owner, row["state"], row["stage"] or "", began, took, message)
    wide_console().print(table, highlight=False)


def show(pipeline: PipelineId, as_json: AsJson = False, server: Server = None, state: State = None) -> None:
    """Show a pipeline: its stages, attempts, messages, and what came of it."""
    from rich.table import Table

    from service.display import clock, wide_console
    from service.report import print_summary

    if server is not None:
        from service.client import Remote

        facts = Remote(server).get(f"/v1/pipelines/{pipeline}")
    else:
        facts = _local_facts(pipeline, state)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    console = wide_console()
    console.print(f"{facts['pipeline']}: {facts['state']}", highlight=False, style="bold")
    if facts["message"]:
        console.print(facts["message"], markup=False, highlight=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("stage", "state", "took", "attempts", "last job", "MLflow run"):
        table.add_column(column)
    for stage in facts["stages"]:
        attempts = stage["attempts"]
        job = attempts[-1]["job"] if attempts else ""
        table.add_row(stage["name"], stage["state"], clock(stage["seconds"]), str(len(attempts)), job, stage["mlflow_run"] or "")
    console.print(table, highlight=False, soft_wrap=True)
    if facts["summary"] is not None:
        print_summary(facts["summary"], console)
    if facts["state"] in ("failed", "cancelled", "interrupted"):
        from service.troubles import print_orders

        print_orders(facts["pipeline"], facts["state"], facts["message"], facts["config"], console)


def _local_rows(limit: int, state: Path | None) -> tuple[str, list[dict[str, Any]]]:
    from service.facts import pipeline_facts
    from service.home import Home
    from service.ledger import Ledger

    home = Home.find(state)
    ledger = Ledger(home.ledger_url)
    return str(home.path), [pipeline_facts(one, ledger, home) for one in ledger.recent(limit)]


def _local_facts(pipeline: str, state: Path | None) -> dict[str, Any]:
    from service import summary
    from service.facts import pipeline_facts
    from service.home import Home
    from service.ledger import Ledger

    home = Home.find(state)
    ledger = Ledger(home.ledger_url)
    row = ledger.get(pipeline)
    return {**pipeline_facts(row, ledger, home), "config": row.config, "summary": summary.read(pipeline, home)}
