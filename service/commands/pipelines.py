"""`run`, `submit`, `resume`, `cancel`: what makes pipelines go and stop."""
from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from service.commands.options import AsJson, ConfigFile, Overrides, PipelineId, Priority, Server, State
from service.typed import typed

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.config import Pipeline as Config
    from service.home import Home
    from service.ledger import Ledger
    from service.session import Hold


def run(config: ConfigFile, overrides: Overrides = None, as_json: AsJson = False, state: State = None) -> None:
    """Run a pipeline to its end: prepare, pretrain, evaluate, register. Starts a cluster where there is none, and stops it."""
    from jobs.config import load

    run_config(load(config, overrides or []), as_json, state)


def run_config(config: Config, as_json: bool, state: Path | None) -> None:
    """`run` of a config that has been read."""
    from service.display import wide_console
    from service.endpoints import choose
    from service.home import Home
    from service.launch import check, queue
    from service.ledger import Ledger
    from service.preflight import check_local
    from service.session import hold
    from service.tables import PRIVATE

    console, home = wide_console(as_json), Home.find(state)
    wanted = config.resolved(Path.cwd())
    ledger = Ledger(home.ledger_url)
    if choose(wanted, home).cluster == PRIVATE:
        check_local(wanted)  # before ten seconds go into starting servers
    with hold(wanted, home, console) as held:
        check(wanted, held.target, held.endpoint)
        carry(queue(wanted, held.target, ledger), held, ledger, home, console, as_json)


def submit(
    config: ConfigFile, overrides: Overrides = None, priority: Priority = 0, as_json: AsJson = False, server: Server = None,
    state: State = None,
) -> None:  # fmt: skip
    """Queue a pipeline on the running cluster, or on a server, print its id and return."""
    from jobs.config import load

    if server is not None:
        from service.client import Remote

        asked = {"config": json.loads(load(config, overrides or []).model_dump_json(exclude_unset=True)), "priority": priority}
        answer = Remote(server).post("/v1/pipelines", asked, once=True)
        typer.echo(json.dumps(answer) if as_json else answer["pipeline"])
        if answer["message"]:
            typer.echo(answer["message"], err=True)
        return
    from service.endpoints import choose, resolve
    from service.home import Home
    from service.launch import check, queue
    from service.ledger import Ledger
    from service.ray_jobs import ClusterAway
    from service.submitter import SHARED, living_holder
    from service.tables import PRIVATE

    home = Home.find(state)
    wanted = load(config, overrides or []).resolved(Path.cwd())
    target = choose(wanted, home)
    if target.cluster == PRIVATE:
        raise ClusterAway(
            f"no cluster runs under {home.path}: start one with `adacrossnet up`, or set RAY_ADDRESS and MLFLOW_TRACKING_URI; "
            "`adacrossnet run` starts its own"
        )
    endpoint = resolve(target.cluster, target.tracking, home)
    if endpoint is None:
        raise ClusterAway("the cluster of `adacrossnet up` has ended: start it again")
    check(wanted, target, endpoint)
    ledger = Ledger(home.ledger_url)
    pipeline = queue(wanted, target, ledger, priority)
    typer.echo(json.dumps({"pipeline": pipeline}) if as_json else pipeline)
    if living_holder(ledger, SHARED) is None:
        typer.echo(typed("no submitter is alive, so it waits: `adacrossnet up` starts one"), err=True)


def resume(pipeline: PipelineId, as_json: AsJson = False, server: Server = None, state: State = None) -> None:
    """Go on with a failed, cancelled or interrupted pipeline: finished stages are kept, the open one gets a new attempt.

    Here it is followed to its end; on a server it is queued.
    """
    if server is not None:
        from service.client import Remote

        row = Remote(server).post(f"/v1/pipelines/{pipeline}/resume")
        typer.echo(json.dumps(row) if as_json else f"{pipeline} is {row['state']}: `adacrossnet logs {pipeline} --follow`")
        return
    from jobs.config import check as check_config
    from service.display import wide_console
    from service.home import Home
    from service.launch import check, reopen
    from service.ledger import Ledger
    from service.session import hold
    from service.tables import SUCCEEDED

    console, home = wide_console(as_json), Home.find(state)
    ledger = Ledger(home.ledger_url)
    row = ledger.get(pipeline)
    if row.state == SUCCEEDED:
        raise ValueError(f"{pipeline} has succeeded: `adacrossnet show {pipeline}` shows it, `adacrossnet reproduce` runs it again")
    wanted = check_config(row.config, f"the stored config of {pipeline}")
    with hold(wanted, home, console) as held:
        check(wanted, held.target, held.endpoint)
        reopen(row, held, ledger, home)
        carry(pipeline, held, ledger, home, console, as_json)


def cancel(pipeline: PipelineId, as_json: AsJson = False, server: Server = None, state: State = None) -> None:
    """Stop a pipeline's running job and end it; `resume` goes on with it."""
    if server is not None:
        from service.client import Remote

        told = Remote(server).post(f"/v1/pipelines/{pipeline}/cancel")
        typer.echo(json.dumps({"pipeline": pipeline, "state": told["state"]}) if as_json else _cancelled(pipeline, told["state"]))
        return
    from service import launch
    from service.home import Home
    from service.ledger import Ledger

    home = Home.find(state)
    ledger = Ledger(home.ledger_url)
    row = launch.cancel(ledger.get(pipeline), ledger, home)
    typer.echo(json.dumps({"pipeline": pipeline, "state": row.state}) if as_json else _cancelled(pipeline, row.state))


def _cancelled(pipeline: str, state: str) -> str:
    if state in ("queued", "running"):
        return typed(f"{pipeline} is being cancelled: `adacrossnet show {pipeline}`")
    return typed(f"{pipeline} is {state}; `adacrossnet resume {pipeline}` goes on with it")


def carry(pipeline: str, held: Hold, ledger: Ledger, home: Home, console: Console, as_json: bool) -> dict[str, Any]:
    """Follows to the end and reports; the exit status is 130 after Ctrl-C and 1 when the pipeline did not succeed."""
    from service.launch import PipelineFailed, carry_through
    from service.report import print_next, print_summary, print_what_there_is
    from service.session import Interrupted
    from service.troubles import print_failure
    from service.typed import shown

    console.print(f"pipeline {pipeline}\n  MLflow  {held.endpoint.mlflow}/#/experiments?workflowType=machine_learning", highlight=False)
    asks = f"  (asks for the token in {shown(str(held.own.token_path))})" if held.own else ""
    console.print(f"  Ray     {held.endpoint.ray}/#/jobs{asks}", highlight=False, soft_wrap=True)
    try:
        summary = carry_through(pipeline, held, ledger, home, console)
    except Interrupted as stopped:
        console.print(typed(str(stopped)), highlight=False, markup=False, soft_wrap=True)
        if as_json:
            typer.echo(json.dumps({"pipeline": pipeline, "state": ledger.get(pipeline).state}))
        raise typer.Exit(130) from None
    except PipelineFailed as failed:
        print_what_there_is(pipeline, home, console)
        print_failure(failed.pipeline, home, console)
        if as_json:
            typer.echo(json.dumps({"pipeline": pipeline, "state": failed.pipeline.state, "message": failed.pipeline.message}))
        raise typer.Exit(1) from None
    print_summary(summary, console)
    print_next(summary, console, private=held.own is not None)
    if as_json:
        typer.echo(json.dumps(summary))
    return summary
