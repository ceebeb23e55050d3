"""`top`: what runs and what waits, live in the terminal."""
from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from service.commands.options import AsJson, Server, State

QUEUE = 10  # waiting pipelines that are shown


def top(
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.5)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end; so it is wherever no terminal is.")] = False,
    as_json: AsJson = False,
    server: Server = None,
    state: State = None,
) -> None:
    """Show the cluster, what runs with its losses and speed, and what waits, until Ctrl-C."""
    from rich.live import Live

    from service.display import wide_console
    from service.screen import screen

    look = _there(server) if server is not None else _here(state)
    if as_json:
        typer.echo(json.dumps(look()))
        return
    console = wide_console()
    if once or not console.is_terminal:
        console.print(screen(look()))
        return
    try:
        with Live(screen(look()), console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(screen(look()), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return


def _there(server: str) -> Callable[[], dict[str, Any]]:
    from service.client import Remote

    remote = Remote(server)

    def look() -> dict[str, Any]:
        return {
            "where": server, "cluster": remote.get("/v1/cluster"), "running": remote.get("/v1/running"),
            "queue": remote.get("/v1/queue", limit=QUEUE),
        }  # fmt: skip

    return look


def _here(state: Path | None) -> Callable[[], dict[str, Any]]:
    from service.home import Home
    from service.ledger import Ledger
    from service.routes.cluster import cluster, queue, running
    from service.server import make_service
    from service.settings import Settings
    from service.tokens import ANYBODY

    home = Home.find(state)
    service = make_service(home, Settings(), Ledger(home.ledger_url))

    def look() -> dict[str, Any]:
        runs = [one.model_dump() for one in running(service, ANYBODY)]
        waits = queue(service, ANYBODY, QUEUE)
        return {"where": str(home.path), "cluster": cluster(service, ANYBODY), "running": runs, "queue": waits}

    return look
