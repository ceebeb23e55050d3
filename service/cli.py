"""The command `adacrossnet`. Every import that takes time stands inside a command, so that `--help` answers at once."""
from __future__ import annotations

import sys
from typing import Annotated

import typer

from service.commands import (
    configs,
    data,
    embed,
    inspect,
    lifecycle,
    logs,
    models,
    pipelines,
    registry,
    reproduce,
    serve,
    sweeps,
    tokens,
    top,
)
from service.typed import typed

app = typer.Typer(
    name="adacrossnet",
    help="Point-cloud pretraining as a service on Ray: raw shapes in, a registered encoder with its scores out.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Check a config, print its schema.", no_args_is_help=True)
data_app = typer.Typer(help="Prepare, verify and look at datasets.", no_args_is_help=True)
token_app = typer.Typer(help="Who may call the service.", no_args_is_help=True)
models_app = typer.Typer(help="Registered versions: their scores, and which is champion.", no_args_is_help=True)

app.command(rich_help_panel="Pipelines")(pipelines.run)
app.command(rich_help_panel="Pipelines")(pipelines.submit)
app.command(rich_help_panel="Pipelines")(sweeps.sweep)
app.command(rich_help_panel="Pipelines")(pipelines.resume)
app.command(rich_help_panel="Pipelines")(pipelines.cancel)
app.command(rich_help_panel="Pipelines")(reproduce.reproduce)
app.command("list", rich_help_panel="Pipelines")(inspect.list_pipelines)
app.command(rich_help_panel="Pipelines")(inspect.show)
app.command(rich_help_panel="Pipelines")(logs.logs)
app.command(rich_help_panel="Pipelines")(sweeps.report)
app.command(rich_help_panel="Cluster")(lifecycle.up)
app.command(rich_help_panel="Cluster")(lifecycle.down)
app.command(rich_help_panel="Cluster")(lifecycle.status)
app.command(rich_help_panel="Cluster")(top.top)
app.command(rich_help_panel="Service")(serve.serve)
app.command("audit", rich_help_panel="Service")(tokens.trail)
app.add_typer(token_app, name="token", rich_help_panel="Service")
app.command("import", rich_help_panel="Models and data")(models.import_)
app.command(rich_help_panel="Models and data")(models.evaluate)
app.command(rich_help_panel="Models and data")(embed.embed)
app.add_typer(models_app, name="models", rich_help_panel="Models and data")
app.add_typer(data_app, name="data", rich_help_panel="Models and data")
app.add_typer(config_app, name="config", rich_help_panel="Models and data")
config_app.command("check")(configs.check)
config_app.command("schema")(configs.schema)
token_app.command("create")(tokens.create)
token_app.command("list")(tokens.list_tokens)
token_app.command("revoke")(tokens.revoke)
models_app.command("list")(registry.list_versions)
models_app.command("show")(registry.show_version)
models_app.command("compare")(registry.compare_versions)
models_app.command("promote")(registry.promote_version)
models_app.command("rollback")(registry.rollback)
models_app.command("prune")(registry.prune)
data_app.command("prepare")(data.prepare)
data_app.command("list")(data.list_prepared)
data_app.command("verify")(data.verify)
data_app.command("show")(data.show)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"adacrossnet {version('adacrossnet')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_version)] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command; an error that a person can mend is its message alone, never a traceback."""
    try:
        app()
    except BrokenPipeError:  # `adacrossnet logs … | head`
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        sys.stderr.write(f"error: {error.filename or ''}: {error.strerror or error}\n".replace("error: : ", "error: "))
        sys.exit(1)
    except (ValueError, RuntimeError) as error:
        if not _expected(error):
            raise
        status = getattr(error, "status", 1)
        sys.stderr.write(f"{'error: ' if status == 1 else ''}{typed(str(error))}\n")
        sys.exit(status)


def _expected(error: Exception) -> bool:
    """Errors written for people: ours, ValueError's kin with a message that this project wrote, not a bug's."""
    return type(error).__module__.startswith(("service.", "cluster.", "jobs.")) or type(error) is ValueError


if __name__ == "__main__":
    main()
