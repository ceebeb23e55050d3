"""`models list`, `show`, `compare`, `promote`, `rollback` and `prune`: registered versions, and which of them is champion."""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import AsJson, Server, State

if TYPE_CHECKING:

    from service.mlflow_runs import Runs

Version = Annotated[str, typer.Argument(help="NAME/VERSION or NAME@ALIAS, such as adacrossnet-dgcnn@candidate.", metavar="VERSION")]

def list_versions(as_json: AsJson = False, server: Server = None, state: State = None) -> None:
    """List registered versions with their scores on validation, newest first."""
    from rich.table import Table

    from service.display import wide_console
    from service.promotion import deciding, scores_of
    if server is not None:
        from service.client import Remote

        rows = Remote(server).get("/v1/models")
    else:
        from service.versions import version_facts, versions

        with _runs(state) as runs:
            rows = [version_facts(version, aliases) for version, aliases in versions(runs)]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo("no registered version yet: a pipeline registers one, and so does `adacrossnet import`")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("version", "aliases", "made by", "registered", "scores on validation"):
        table.add_column(column)
    for row in rows:
        scores = deciding(scores_of(row["tags"]))
        table.add_row(
            f"{row['name']}/{row['version']}",
            ", ".join(row["aliases"]),
            row["lineage"].get("pipeline") or row["lineage"].get("file") or "-",
            row["registered"],
            ", ".join(f"{name} {value:.3f}" for name, value in scores.items()) or "-",
        )
    wide_console().print(table, highlight=False)


def show_version(version: Version, as_json: AsJson = False, server: Server = None, state: State = None) -> None:
    """Show a version: what made it, its aliases, and every score with that of random weights beside it."""
    from rich.table import Table

    from service.display import wide_console
    from service.promotion import deciding, protocol_of, scores_of
    if server is not None:
        from service.client import Remote

        facts = Remote(server).get(f"/v1/models/{_path(version)}")
    else:
        from service.registry import version_of
        from service.versions import aliases_of, version_facts

        with _runs(state) as runs:
            found = version_of(runs, version)
            facts = version_facts(found, aliases_of(runs, found.name).get(str(found.version), []))
    if as_json:
        typer.echo(json.dumps(facts))
        return
    console = wide_console()
    console.print(f"{facts['name']}/{facts['version']}  {', '.join(facts['aliases'])}", highlight=False, style="bold")
    for key, value in facts["lineage"].items():
        console.print(f"{key:<14} {value}", highlight=False, markup=False)
    trained, random = scores_of(facts["tags"]), scores_of(facts["tags"], "random")
    table = Table(title="Scores", title_justify="left")
    for column in ("score", "trained", "random weights", "looked at by the rule"):
        table.add_column(column, justify="right" if column in ("trained", "random weights") else "left")
    rules = deciding(trained)
    for name, value in sorted(trained.items()):
        beside = random.get(name)
        table.add_row(name, f"{value:.4f}", "-" if beside is None else f"{beside:.4f}", "yes" if name in rules else "")
    console.print(table)
    for task, dataset in sorted({tuple(name.split("/")[:2]) for name in trained}):
        protocol = protocol_of(facts["tags"], task, dataset)
        said = ", ".join(f"{key} {value[:16] if key == 'digest' else value}" for key, value in protocol.items())
        console.print(f"{task}/{dataset}: {said or 'no protocol was kept'}", highlight=False, markup=False)
    for key in sorted(one for one in facts["tags"] if one.startswith(("promoted.", "rolled_back.")) and not one.endswith("scores")):
        console.print(f"{key:<14} {facts['tags'][key]}", highlight=False, markup=False)


def compare_versions(
    first: Version, second: Version, as_json: AsJson = False, server: Server = None, state: State = None
) -> None:
    """Compare the scores of two versions, second minus first; paired with a 95% interval where both were judged on the same items.

    Test scores are shown, and must choose nothing.
    """
    from rich.table import Table

    from service.display import wide_console
    if server is not None:
        from service.client import Remote

        labels, rows = (first, second), Remote(server).get("/v1/models/compare", first=_label(first), second=_label(second))
    else:
        from service.registry import version_of
        from service.versions import compared

        with _runs(state) as runs:
            a, b = (version_of(runs, one) for one in (first, second))
            labels, rows = (f"{a.name}/{a.version}", f"{b.name}/{b.version}"), compared(runs, a, b)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table(title=" and ".join(labels), title_justify="left")
    for column in ("score", "first", "second", "second - first", "paired (95%)", ""):
        table.add_column(column, justify="left" if column in ("score", "") else "right")
    for row in rows:
        by = row["paired"]
        said = f"{by['mean']:+.4f} ({by['low']:+.4f} to {by['high']:+.4f}), {by['items']} items" if by else "-"
        note = row["not_comparable"] or ("a rule may look at it" if row["decides"] else "test: must not choose" if row["of_test"] else "")
        table.add_row(row["score"], _number(row["first"]), _number(row["second"]), _number(row["difference"], "+.4f"), said, note)
    wide_console().print(table)


def promote_version(
    version: Version,
    rule: Annotated[Path, typer.Option(help="The rule.")] = Path("configs/promotion.yaml"),
    reason: Annotated[str | None, typer.Option(help="Why; kept with the version.", show_default="the rule's words")] = None,
    force: Annotated[bool, typer.Option("--force", help="Against the rule; recorded as such, and takes a --reason.")] = False,
    server: Server = None,
    state: State = None,
) -> None:
    """Make a version champion if the written rule allows it; the one before becomes `previous`. A server has a rule of its own."""
    from getpass import getuser

    from service.promotion import read_rule
    from service.versions import promote_by_rule

    if force and not reason:
        raise ValueError("--force goes against the rule: say why with --reason")
    if server is not None:
        from service.client import Remote

        typer.echo(Remote(server).post(f"/v1/models/{_path(version)}/promote", {"reason": reason, "force": force})["said"])
        return
    written = read_rule(rule)
    with _runs(state) as runs, _alone(_label(version).replace("@", "/").partition("/")[0], state):
        typer.echo(promote_by_rule(runs, version, written, getuser(), reason, force))


def rollback(
    name: Annotated[str, typer.Argument(help="A registered model, such as adacrossnet-dgcnn.", metavar="NAME")],
    reason: Annotated[str, typer.Option(help="Why; kept with the version that loses the place.")],
    server: Server = None,
    state: State = None,
) -> None:
    """Make the previous champion champion again."""
    if server is not None:
        from service.client import Remote

        told = Remote(server).post(f"/v1/models/{name}/rollback", {"reason": reason})
        typer.echo(f"{told['champion']} is champion again; {told['previous']} is previous")
        return
    from getpass import getuser

    from service.aliases import roll_back

    with _runs(state) as runs, _alone(name, state):
        now, before = roll_back(runs, name, getuser(), reason)
    typer.echo(f"{name}/{now} is champion again; {name}/{before} is previous")


def prune(
    keep: Annotated[
        int | None,
        typer.Option(help="Remove versions without an alias too, but for the newest N of each model.", min=1, show_default="all stay"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only listed.")] = False,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Remove encoders that no version points to. What an alias or a version that stays needs is never touched."""
    from service.home import Home
    from service.ledger import Ledger
    from service.pruning import prunable
    from service.pruning import prune as remove
    from service.versions import PREFIX

    pipelines = Ledger(Home.find(state).ledger_url).recent(100_000)
    with _runs(state) as runs:
        found = prunable(runs, PREFIX, keep, pipelines)
        if yes:
            remove(runs, found)
    facts = {
        "removed": yes,
        "versions": [f"{one.name}/{one.version}" for one in found.versions],
        "encoders": [str(one.model_id) for one in found.models],
        "kept_versions": found.kept_versions,
        "kept_encoders": found.kept_models,
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for version in found.versions:
        typer.echo(f"{version.name}/{version.version}")
    for model in found.models:
        typer.echo(f"{model.model_id}  {model.name} of run {model.source_run_id}")
    what = f"{len(found.versions)} versions and {len(found.models)} encoders"
    stays = f"{found.kept_versions} versions and {found.kept_models} encoders stay"
    if yes:
        typer.echo(f"removed {what}; {stays}. `mlflow gc` on the server's machine frees their disk")
    else:
        typer.echo(f"would remove {what}; {stays}" + (". --yes removes them" if found.versions or found.models else ""))


@contextmanager
def _alone(name: str, state: Path | None) -> Iterator[None]:
    """Nobody else moves the model's aliases meanwhile: a champion is judged against one that stays."""
    from service.home import Home
    from service.ledger import Ledger

    with Ledger(Home.find(state).ledger_url).leases.alone(f"registry/{name}"):
        yield


def _label(version: str) -> str:
    """NAME/VERSION or NAME@ALIAS, also of what stands after `models:/`. ValueError for anything else, before a server is asked."""
    label = version.removeprefix("models:/")
    if not re.fullmatch(r"[A-Za-z0-9_-]+(/[0-9]+|@[A-Za-z0-9_-]+)", label):
        raise ValueError(f"{version!r} names no model version: write NAME/VERSION or NAME@ALIAS, as in adacrossnet-dgcnn@candidate")
    return label


def _path(version: str) -> str:
    """As the API's paths have it: NAME/VERSION or NAME/@ALIAS."""
    return _label(version).replace("@", "/@")


@contextmanager
def _runs(state: Path | None) -> Iterator[Runs]:
    from service.home import Home
    from service.mlflow_runs import Runs, check_answers
    from service.registry import tracking_server

    with tracking_server(Home.find(state)) as uri:
        check_answers(uri)
        yield Runs(uri)


def _number(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else format(value, form)
