"""`reproduce`: the pipeline that made a model version, again, and how near its scores come."""
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import AsJson, State

if TYPE_CHECKING:
    from rich.console import Console

    from service.registry import Origin


def reproduce(
    model: Annotated[str, typer.Argument(help="NAME/VERSION, or models:/NAME@ALIAS.", metavar="MODEL-VERSION")],
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Run the pipeline of a registered version again, from its own record, and compare the scores.

    What it registers does not become the candidate.
    """
    from service.commands.pipelines import carry
    from service.display import wide_console
    from service.home import Home, project_tree
    from service.launch import check, queue
    from service.ledger import Ledger
    from service.mlflow_runs import Runs, check_answers
    from service.registry import origin, tracking_server
    from service.session import hold
    from service.working_dir import code_digest

    console, home = wide_console(as_json), Home.find(state)
    with tracking_server(home) as uri:
        check_answers(uri)
        first = origin(model, Runs(uri))
    if first.config.sweep is not None:
        raise ValueError(
            f"{first.name} version {first.version} was found by the sweep {first.pipeline}: `adacrossnet report {first.pipeline}` names "
            "its best.yaml, from which `adacrossnet run` trains its setting again"
        )
    console.print(f"{first.name} version {first.version} was made by {first.pipeline}", highlight=False)
    if first.code and first.code != code_digest(project_tree()):
        console.print("its code differs from the present tree's, so the scores may differ too", style="yellow")
    ledger = Ledger(home.ledger_url)
    again = first.config.model_copy(update={"candidate": False})
    with hold(again, home, console) as held:
        check(again, held.target, held.endpoint)
        summary = carry(queue(again, held.target, ledger), held, ledger, home, console, as_json=False)
    rows = compare(first.scores, summary["scores"])
    _print(rows, first, summary, console)
    if as_json:
        typer.echo(json.dumps({"first": first.pipeline, "second": summary["pipeline"], "model": summary["model"], "scores": rows}))


def compare(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """A row each score of both: encoder, split, metric, first, second, difference (second less first; none where one is missing)."""
    rows = []
    for encoder in ("trained", "random"):
        for split in ("val", "test"):
            for metric in ("accuracy", "balanced_accuracy"):
                old = ((first.get(encoder) or {}).get(split) or {}).get(metric)
                new = ((second.get(encoder) or {}).get(split) or {}).get(metric)
                difference = None if old is None or new is None else new - old
                row = {"encoder": encoder, "split": split, "metric": metric, "first": old, "second": new, "difference": difference}
                rows.append(row)
    return rows


def _print(rows: list[dict[str, Any]], first: Origin, summary: dict[str, Any], console: Console) -> None:
    from rich.table import Table

    table = Table(title=f"{first.pipeline} and {summary['pipeline']}", title_justify="left")
    for column in ("encoder", "split", "metric", "first", "again", "difference"):
        table.add_column(column)
    for row in rows:
        forms = (("first", ".4f"), ("second", ".4f"), ("difference", "+.4f"))
        numbers = ["-" if row[key] is None else f"{row[key]:{form}}" for key, form in forms]
        table.add_row(row["encoder"], row["split"], row["metric"], *numbers)
    console.print(table)
