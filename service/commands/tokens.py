"""`token create`, `token list`, `token revoke`, and `audit`: who may call the service, and who did what."""
from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from service.commands.options import AsJson, Server, State

_DATE = "%Y-%m-%d %H:%M"


def create(
    name: Annotated[str, typer.Argument(help="Whose it is: owns what it submits.", metavar="NAME")],
    role: Annotated[str, typer.Option(help="viewer, submitter or admin.")] = "submitter",
    days: Annotated[float | None, typer.Option(help="Its life in days.", show_default="no end")] = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Make a token and print it, this once. The service keeps a hash of it."""
    from service import audit, tokens
    from service.home import Home
    from service.ledger import Ledger
    from service.tables import LOCAL

    if role not in tokens.ROLES:
        raise ValueError(f"--role is {role!r}: it is one of {', '.join(tokens.ROLES)}")
    database = Ledger(Home.find(state).ledger_url).database
    token = tokens.create(database, name, role, days)
    audit.record(database, LOCAL, "token create", f"{token[4:12]} {name} {role}", 0)
    if as_json:
        typer.echo(json.dumps({"token": token, "id": token[4:12], "name": name, "role": role}))
        return
    typer.echo(token)
    typer.echo("keep it in a file that only you can read, and name that in ADACROSSNET_TOKEN_FILE: it is not shown again", err=True)


def list_tokens(as_json: AsJson = False, state: State = None) -> None:
    """List tokens: whose, role, and whether each is still valid. The tokens themselves are not kept."""
    from rich.table import Table

    from service import tokens
    from service.display import wide_console
    from service.home import Home
    from service.ledger import Ledger

    rows = tokens.listed(Ledger(Home.find(state).ledger_url).database)
    if as_json:
        columns = ("id", "name", "role", "created", "expires", "revoked")
        typer.echo(json.dumps([{column: getattr(row, column) for column in columns} for row in rows]))
        return
    if not rows:
        typer.echo("no token was made yet: `adacrossnet token create NAME --role admin` makes one")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("id", "name", "role", "made", "state"):
        table.add_column(column)
    for row in rows:
        state_of = "valid" if row.expires is None else f"valid until {time.strftime(_DATE, time.localtime(row.expires))}"
        if row.expires is not None and row.expires < time.time():
            state_of = f"expired {time.strftime(_DATE, time.localtime(row.expires))}"
        if row.revoked is not None:
            state_of = f"revoked {time.strftime(_DATE, time.localtime(row.revoked))}"
        table.add_row(row.id, row.name, row.role, time.strftime(_DATE, time.localtime(row.created)), state_of)
    wide_console().print(table, highlight=False)


def revoke(
    which: Annotated[str, typer.Argument(help="A token's id, or a name: then all of theirs.", metavar="ID|NAME")], state: State = None
) -> None:
    """End a token, or all of a person, from the next request on."""
    from service import audit, tokens
    from service.home import Home
    from service.ledger import Ledger
    from service.tables import LOCAL

    database = Ledger(Home.find(state).ledger_url).database
    ids = tokens.revoke(database, which)
    audit.record(database, LOCAL, "token revoke", " ".join(ids), 0)
    typer.echo(f"revoked {', '.join(ids)}")


def trail(
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 50,
    who: Annotated[str | None, typer.Option(help="Of this person alone.", show_default=False)] = None,
    as_json: AsJson = False,
    server: Server = None,
    state: State = None,
) -> None:
    """Show who asked the service for what that changes something, and how it was answered."""
    from rich.table import Table

    from service import audit
    from service.display import wide_console
    from service.home import Home
    from service.ledger import Ledger

    if server is not None:
        from service.client import Remote

        rows = Remote(server).get("/v1/audit", limit=limit, who=who)
    else:
        rows = [audit.facts(row) for row in audit.recent(Ledger(Home.find(state).ledger_url).database, limit, who=who)]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("time", "who", "from", "action", "on", "status"):
        table.add_column(column)
    for row in rows:
        when = time.strftime(_DATE, time.localtime(row["time"]))
        table.add_row(when, row["who"], row["address"] or "here", row["action"], row["object"], str(row["status"] or "done"))
    wide_console().print(table, highlight=False)
