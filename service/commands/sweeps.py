"""`sweep` and `report`: a search over weighting strategies, and what it found."""
from __future__ import annotations

import json

import typer

from service.commands.options import AsJson, ConfigFile, Overrides, PipelineId, Server, State
from service.typed import shown


def sweep(config: ConfigFile, overrides: Overrides = None, as_json: AsJson = False, state: State = None) -> None:
    """Search and confirm settings of the loss weighting, to the end. `submit` queues the same config on a running cluster."""
    from jobs.config import load
    from service.commands.pipelines import run
    from service.home import Home
    from service.ledger import Ledger

    wanted = load(config, overrides or [])
    if wanted.sweep is None:
        raise ValueError(f"{config} has no sweep section: add one (configs/sweep_quick.yaml shows it), or use `adacrossnet run {config}`")
    known = Ledger(Home.find(state).ledger_url).recent(10_000)
    taken = [one for one in known if one.name == wanted.name and any(stage.name == "sweep" for stage in one.stages)]
    if taken:
        raise ValueError(
            f"the sweep {taken[0].id} has the name {wanted.name!r} already: `adacrossnet resume {taken[0].id}` goes on with it, "
            f"`adacrossnet report {taken[0].id}` shows it, and --set name=NAME gives this one another"
        )
    run(config, overrides, as_json, state)


def report(pipeline: PipelineId, as_json: AsJson = False, server: Server = None, state: State = None) -> None:
    """Show a sweep's report; the HTML page, the Markdown and the best setting lie in the printed folder."""
    from rich.console import Console
    from rich.markdown import Markdown

    if server is not None:
        from service.client import Remote

        facts = Remote(server).get(f"/v1/sweeps/{pipeline}")
        if facts["report"] is None:
            raise ValueError(f"{pipeline} has no report yet: it is {facts['state']}")
        typer.echo(json.dumps(facts)) if as_json else Console().print(Markdown(facts["report"]))
        return

    from service import summary
    from service.home import Home
    from service.ledger import Ledger
    from service.mlflow_runs import Runs, check_answers
    from service.registry import tracking_server

    home = Home.find(state)
    row = Ledger(home.ledger_url).get(pipeline)
    stage = next((one for one in row.stages if one.name == "sweep"), None)
    if stage is None:
        raise ValueError(f"{pipeline} is no sweep: `adacrossnet show {pipeline}` shows what it is")
    if stage.state != "succeeded" or stage.run_id is None:
        raise ValueError(f"{pipeline} has no report yet, its sweep is {stage.state}: `adacrossnet show {pipeline}`")
    folder = home.results(pipeline)
    if not (folder / summary.REPORT).is_file():
        with tracking_server(home) as uri:
            check_answers(uri)
            summary.fetch_report(stage.run_id, Runs(uri), folder)
    files = {name: str(folder / name) for name in (summary.REPORT, summary.PAGE, summary.BEST)}
    if as_json:
        typer.echo(json.dumps({"pipeline": pipeline, "files": files, "markdown": (folder / summary.REPORT).read_text()}))
        return
    console = Console()
    console.print(Markdown((folder / summary.REPORT).read_text()))
    for name, path in files.items():
        console.print(f"{name:<12} {shown(path)}", highlight=False, markup=False, soft_wrap=True)
