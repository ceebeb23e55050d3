"""`config check` and `config schema`."""
from __future__ import annotations

import json
from pathlib import Path

import typer

from service.commands.options import AsJson, ConfigFile, Overrides


def check(config: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check a config file; --json prints it whole, every default and path filled in."""
    from jobs.config import load

    resolved = load(config, overrides or []).resolved(Path.cwd())
    if as_json:
        typer.echo(json.dumps(json.loads(resolved.to_json()), indent=1))
        return
    workers, pretrain = resolved.cluster.workers, resolved.pretrain
    typer.echo(f"{config}: fits. {resolved.name}, digest {resolved.digest()}")
    typer.echo(
        f"  {resolved.data.kind} data, {pretrain.backbone.name}, {pretrain.epochs} epochs of batch {pretrain.batch} "
        f"on {workers} worker{'s'[: workers != 1]}, {pretrain.weighting.name} weighting"
    )


def schema() -> None:
    """Print the JSON Schema of a config, for editors."""
    from jobs.config import Pipeline

    typer.echo(json.dumps(Pipeline.model_json_schema(), indent=1))
