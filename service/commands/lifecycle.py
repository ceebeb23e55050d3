"""`up`, `down`, `status`: the embedded cluster and its submitter."""
from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import AsJson, Server, State
from service.typed import typed

if TYPE_CHECKING:
    from cluster.local import LocalCluster
    from service.home import Home


def up(
    cpus: Annotated[int | None, typer.Option(help="Cores that Ray may give.", min=1, show_default="all")] = None,
    ray_port: Annotated[
        int | None, typer.Option(help="Of the job server and dashboard.", min=1, max=65535, show_default="a free one")
    ] = None,
    mlflow_port: Annotated[int | None, typer.Option(help="Of MLflow.", min=1, max=65535, show_default="a free one")] = None,
    at_once: Annotated[int | None, typer.Option(help="Pipelines that the submitter lets run together.", min=1, show_default="2")] = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Start Ray, MLflow and a submitter on this machine; they stay until `down`. Servers named in the environment are used instead."""
    from cluster.local import find_cluster, start_cluster
    from service.home import Home
    from service.session import signals_as_interrupt

    home = Home.find(state)
    running = find_cluster(home.path)
    ray, mlflow = not os.environ.get("RAY_ADDRESS"), not os.environ.get("MLFLOW_TRACKING_URI")
    if running is not None and running.owner == "up" and running.alive():
        _refuse_late(running, home, {"--cpus": cpus, "--ray-port": ray_port, "--mlflow-port": mlflow_port}, at_once)
    else:
        with signals_as_interrupt():
            running = start_cluster(
                home.path, survives=True, cpus=cpus, ray_port=ray_port, mlflow_port=mlflow_port, ray=ray, mlflow=mlflow
            )
    submitter = running.servers.get("submitter")
    if submitter is None or not submitter.identity.alive():
        command = [sys.executable, "-P", "-m", "service.submitter", "--home", str(home.path)]
        command += ["--at-once", str(at_once)] if at_once else []
        # It ends between two steps; one that takes longer than this is broken off, as each can be repeated.
        running.add("submitter", command, dict(os.environ), grace=15.0)
    _report(running, home, as_json)
    if not as_json:
        typer.echo(typed("\nNext:\n  adacrossnet submit configs/quickstart.yaml\n  adacrossnet status\n  adacrossnet down"))


def _refuse_late(running: LocalCluster, home: Home, servers: dict[str, int | None], at_once: int | None) -> None:
    """ValueError when an option was given that what runs already would not follow."""
    submitter = running.servers.get("submitter")
    given = [option for option, value in servers.items() if value is not None]
    if at_once is not None and submitter is not None and submitter.identity.alive():
        given.append("--at-once")
    if given:
        raise ValueError(
            f"a cluster of `up` runs already under {home.path} and does not change: `adacrossnet down` first, "
            f"or leave {', '.join(given)} out"
        )


def down(as_json: AsJson = False, state: State = None) -> None:
    """Stop what `up` started, and only that."""
    from cluster.local import find_cluster
    from service.home import Home
    from service.launch import keep_logs
    from service.ledger import Ledger
    from service.session import signals_ignored
    from service.tables import UP

    home = Home.find(state)
    running = find_cluster(home.path)
    if running is not None and running.owner != UP and running.alive():
        raise ValueError(f"the cluster under {home.path} belongs to `{running.owner}`, which stops it itself: end that command")
    ledger = Ledger(home.ledger_url)
    with signals_ignored():
        keep_logs(ledger, home)
        stopped = running.stop() if running is not None else []
    waiting = [one.id for one in ledger.unfinished() if one.cluster == UP]
    if as_json:
        typer.echo(json.dumps({"stopped": stopped, "unfinished": waiting}))
        return
    typer.echo(f"stopped {', '.join(stopped)}" if stopped else f"nothing runs under {home.path}")
    if waiting:
        go = "goes" if len(waiting) == 1 else "go"
        typer.echo(typed(f"{len(waiting)} unfinished: {', '.join(waiting)} {go} on at the next `adacrossnet up`"))


def status(as_json: AsJson = False, server: Server = None, state: State = None) -> None:
    """Say what runs: servers, submitter, pipelines by state. Exit status 0 also when nothing runs."""
    if server is not None:
        _report_there(server, as_json)
        return
    from cluster.local import find_cluster
    from service.home import Home

    home = Home.find(state)
    _report(find_cluster(home.path), home, as_json)


def _report(running: LocalCluster | None, home: Home, as_json: bool) -> None:
    from service.ledger import Ledger
    from service.submitter import SHARED, living_holder, standstill

    ledger = Ledger(home.ledger_url)
    counts = ledger.counts()
    facts: dict[str, Any] = {
        "home": str(home.path), "owner": running.owner if running else None, "cpus": running.cpus if running else None,
        "ray": running.address if running else None, "mlflow": running.tracking_uri if running else None,
        "token_file": str(running.token_path) if running and running.address else None,
        "servers": {
            name: {"alive": one.identity.alive(), "pid": one.identity.pid, "log": str(one.log)} for name, one in running.servers.items()
        } if running else {},
        "lease": living_holder(ledger, SHARED), "pipelines": counts,
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(facts))
        return
    if running is None:
        typer.echo(typed(f"nothing runs under {home.path}: `adacrossnet up` starts a cluster, `adacrossnet run` starts its own"))
    else:
        typer.echo(f"the cluster of `{running.owner}` under {home.path}, {running.cpus} CPUs")
    urls = {"ray": running.address if running else None, "mlflow": _browse(running)}
    for name, one in facts["servers"].items():
        alive = "up" if one["alive"] else "ENDED"
        typer.echo(f"  {name:<10} {alive:<6} pid {one['pid']:<8} {urls.get(name) or ''}  log {one['log']}")
    if facts["token_file"]:
        typer.echo(f"  the Ray dashboard asks for the token in {facts['token_file']}")
    typer.echo("  pipelines  " + (", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none yet"))
    for pipeline in ledger.unfinished():
        if reason := standstill(ledger, home, pipeline):
            typer.echo(typed(f"  {pipeline.id}: {reason}"))


def _report_there(server: str, as_json: bool) -> None:
    from service.client import Remote

    facts = Remote(server).get("/v1/cluster")
    if as_json:
        typer.echo(json.dumps(facts))
        return
    have = ", ".join(f"{sum(node.get(kind, 0) for node in facts['nodes']):g} {kind}" for kind in ("CPU", "GPU"))
    typer.echo(f"{server}: {'the cluster answers' if facts['answers'] else facts['message']}")
    if facts["answers"]:
        typer.echo(f"  ray        {facts['ray']}  {len(facts['nodes'])} node{'s'[: len(facts['nodes']) != 1]}, {have}")
        typer.echo(f"  mlflow     {facts['mlflow']}/#/experiments?workflowType=machine_learning")
    typer.echo("  pipelines  " + (", ".join(f"{count} {name}" for name, count in facts["pipelines"].items() if count) or "none yet"))


def _browse(running: LocalCluster | None) -> str | None:
    uri = running.tracking_uri if running else None
    return f"{uri}/#/experiments?workflowType=machine_learning" if uri else None
