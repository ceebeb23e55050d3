"""`models list`, `show`, `compare`, `promote`, `rollback` and `prune`: registered versions, and which of them is champion."""
from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import AsJson, State

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from service.mlflow_runs import Runs

Version = Annotated[str, typer.Argument(help="NAME/VERSION or NAME@ALIAS, such as adacrossnet-dgcnn@candidate.", metavar="VERSION")]
PREFIX = "adacrossnet-"


def list_versions(as_json: AsJson = False, state: State = None) -> None:
    """List registered versions with their scores on validation, newest first."""
    from rich.table import Table

    from service.display import wide_console
    from service.promotion import deciding, scores_of

    with _runs(state) as runs:
        rows = [_facts(version, aliases) for version, aliases in _versions(runs)]
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


def show_version(version: Version, as_json: AsJson = False, state: State = None) -> None:
    """Show a version: what made it, its aliases, and every score with that of random weights beside it."""
    from rich.table import Table

    from service.display import wide_console
    from service.promotion import deciding, protocol_of, scores_of
    from service.registry import version_of

    with _runs(state) as runs:
        found = version_of(runs, version)
        facts = _facts(found, _aliases(runs, found.name).get(str(found.version), []))
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


def compare_versions(first: Version, second: Version, as_json: AsJson = False, state: State = None) -> None:
    """Compare the scores of two versions, second minus first; paired with a 95% interval where both were judged on the same items.

    Test scores are shown, and must choose nothing.
    """
    from rich.table import Table

    from service.display import wide_console
    from service.registry import version_of

    with _runs(state) as runs:
        a, b = (version_of(runs, one) for one in (first, second))
        rows = _compared(runs, a, b)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table(title=f"{a.name}/{a.version} and {b.name}/{b.version}", title_justify="left")
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
    state: State = None,
) -> None:
    """Make a version champion if the written rule allows it; the one before becomes `previous`."""
    from jobs.config import names
    from service.aliases import holder, promote
    from service.promotion import judge, read_rule
    from service.registry import version_of

    written = read_rule(rule)
    if force and not reason:
        raise ValueError("--force goes against the rule: say why with --reason")
    with _runs(state) as runs:
        candidate = version_of(runs, version)
        champion = holder(runs, candidate.name, names.ALIAS_CHAMPION)
        if champion is not None and champion.version == candidate.version:
            typer.echo(f"{candidate.name}/{candidate.version} is champion already")
            return
        verdict = judge(candidate.tags, champion.tags if champion is not None else None, written)
        if not verdict.promote and not force:
            than = f"{champion.name}/{champion.version} stays champion" if champion is not None else "there is no champion"
            raise ValueError(f"{candidate.name}/{candidate.version} is not promoted, {than}:\n  " + "\n  ".join(verdict.reasons))
        promote(runs, candidate, verdict, forced=not verdict.promote, reason=reason)
    said = "against the rule" if not verdict.promote else "; ".join(verdict.reasons)
    before = f"; {champion.name}/{champion.version} is previous" if champion is not None else ""
    typer.echo(f"{candidate.name}/{candidate.version} is champion{before}: {said}")


def rollback(
    name: Annotated[str, typer.Argument(help="A registered model, such as adacrossnet-dgcnn.", metavar="NAME")],
    reason: Annotated[str, typer.Option(help="Why; kept with the version that loses the place.")],
    state: State = None,
) -> None:
    """Make the previous champion champion again."""
    from service.aliases import roll_back

    with _runs(state) as runs:
        now, before = roll_back(runs, name, reason)
    typer.echo(f"{name}/{now} is champion again; {name}/{before} is previous")


def _compared(runs: Runs, a: ModelVersion, b: ModelVersion) -> list[dict[str, Any]]:
    """A row a score that either has, and a row a score that both have on the same items alone."""
    from service.paired import paired
    from service.promotion import compare, of_test

    found = compare(b.tags, a.tags)
    alike = {tuple(row.name.split("/")[:2]) for row in found if row.gain is not None}
    pairs = {
        f"{task}/{dataset}/{name}": one
        for task, dataset in alike
        for name, one in paired(runs, a.tags, b.tags, task, dataset).items()
    }
    rows: list[dict[str, Any]] = [
        {
            "score": row.name,
            "first": row.champion,
            "second": row.candidate,
            "difference": row.gain,
            "not_comparable": row.why_not or None,
            "decides": row.decides,
            "of_test": of_test(row.name),
            "paired": vars(pairs[row.name]) if row.name in pairs else None,
        }
        for row in found
    ]
    for name in sorted(pairs.keys() - {row.name for row in found}):
        one = pairs[name]
        rows.append(
            {"score": name, "first": one.first, "second": one.second, "difference": one.mean, "not_comparable": None, "decides": False,
             "of_test": of_test(name), "paired": vars(one)}
        )  # fmt: skip
    return rows


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
def _runs(state: Path | None) -> Iterator[Runs]:
    from service.home import Home
    from service.mlflow_runs import Runs, check_answers
    from service.registry import tracking_server

    with tracking_server(Home.find(state)) as uri:
        check_answers(uri)
        yield Runs(uri)


def _versions(runs: Runs) -> list[tuple[ModelVersion, list[str]]]:
    found = []
    for model in runs.client.search_registered_models(f"name LIKE '{PREFIX}%'"):
        aliases = _aliases(runs, model.name)
        versions = runs.client.search_model_versions(f"name = '{model.name}'")
        found += [(one, aliases.get(str(one.version), [])) for one in versions]
    return sorted(found, key=lambda one: -int(one[0].creation_timestamp))


def _aliases(runs: Runs, name: str) -> dict[str, list[str]]:
    """version -> its aliases."""
    found: dict[str, list[str]] = {}
    for alias, version in runs.client.get_registered_model(name).aliases.items():
        found.setdefault(str(version), []).append(alias)
    return found


def _facts(version: ModelVersion, aliases: list[str]) -> dict[str, Any]:
    import time

    from service.aliases import lineage

    registered = time.strftime("%Y-%m-%d %H:%M", time.localtime(int(version.creation_timestamp) / 1000))
    return {
        "name": version.name,
        "version": str(version.version),
        "aliases": sorted(aliases),
        "registered": registered,
        "lineage": lineage(version),
        "tags": dict(version.tags),
    }


def _number(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else format(value, form)
