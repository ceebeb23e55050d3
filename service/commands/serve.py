"""`serve`: the REST API and the submitter in one process, for many people."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import State


def serve(
    config: Annotated[Path | None, typer.Option(help="Settings, such as configs/service.yaml.", show_default="the defaults")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a token to exist.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: a free one.", min=0, max=65535)] = 8000,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM), to serve https.", show_default=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).", show_default=False)] = None,
    json_log: Annotated[bool, typer.Option("--json-log", help="Log lines as JSON.")] = False,
    state: State = None,
) -> None:
    """Serve the REST API and carry pipelines through, until it is told to stop. Several over one ledger are safe: one leads."""
    from service.home import Home
    from service.server import Listen, run
    from service.settings import read_settings

    if (tls_cert is None) != (tls_key is None):
        raise ValueError("--tls-cert and --tls-key come together")
    for path in (tls_cert, tls_key):
        if path is not None and not path.is_file():
            raise ValueError(f"there is no file {path}")
    run(Home.find(state), read_settings(config), Listen(host, port, tls_cert, tls_key, json_log))
