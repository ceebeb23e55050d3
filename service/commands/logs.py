"""`logs`: what the jobs of a pipeline print."""
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import AsJson, PipelineId, Server, State
from service.typed import typed

if TYPE_CHECKING:
    pass


def logs(
    pipeline: PipelineId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the pipeline ends.")] = False,
    stage: Annotated[str | None, typer.Option(help="Of this stage alone.")] = None,
    as_json: AsJson = False,
    server: Server = None,
    state: State = None,
) -> None:
    """Print the logs of a pipeline's jobs, in order."""
    if server is not None:
        from service.client import Remote

        texts_there = Remote(server).lines(f"/v1/pipelines/{pipeline}/logs", stage=stage, follow=follow or None)
        if as_json:
            typer.echo(json.dumps({"pipeline": pipeline, "log": "".join(texts_there)}))
            return
        for text in texts_there:
            typer.echo(text, nl=False)
        return
    from service.home import Home
    from service.kept_logs import attempts_of, log_of, texts
    from service.ledger import Ledger
    from service.submitter import standstill

    home = Home.find(state)
    ledger = Ledger(home.ledger_url)
    known = [one.name for one in ledger.get(pipeline).stages]
    if stage is not None and stage not in known:
        raise ValueError(f"--stage {stage}: {pipeline} has {', '.join(known)}")
    if as_json:
        row = ledger.get(pipeline)
        typer.echo(json.dumps({attempt.job_id: log_of(row, one, attempt, home) for one, attempt in attempts_of(row, stage)}))
        return
    if follow and (reason := standstill(ledger, home, ledger.get(pipeline))):
        typer.echo(typed(f"{pipeline}: {reason}"), err=True)
    printed: dict[str, int] = {}
    for text in texts(pipeline, stage, follow, printed, ledger, home):
        typer.echo(text, nl=False)
    if not printed:
        typer.echo(f"{pipeline} has no logs yet", err=True)
