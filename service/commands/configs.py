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
    pretrain, sweep = resolved.pretrain, resolved.sweep
    typer.echo(f"{config}: fits. {resolved.name}, digest {resolved.digest()}")
    weighting = f"{pretrain.weighting.name} weighting"
    if sweep is not None:
        weighting = f"a sweep over {', '.join(sweep.search.strategies)}, each best setting confirmed on {sweep.confirm.seeds} seeds"
    typer.echo(
        f"  {resolved.data.kind} data, {pretrain.backbone.name}, {pretrain.epochs} epochs of batch {pretrain.batch} "
        f"on {resolved.cluster.workers_said}, {weighting}"
    )
    for section, data in resolved.datasets.items():
        place = getattr(data, "source", None) or (data.target if data.kind == "prepared" else None)
        if isinstance(place, Path) and not place.is_dir():
            typer.echo(f"  note: {section} is read from {place}, which is no folder on this machine")
    if resolved.data.kind == "synthetic" and pretrain.batch * pretrain.accumulate > resolved.data.shapes:
        typer.echo(f"  note: pretrain.batch is {pretrain.batch} (x {pretrain.accumulate}), more than all {resolved.data.shapes} shapes")


def schema() -> None:
    """Print the JSON Schema of a config, for editors."""
    from jobs.config import Pipeline

    typer.echo(json.dumps(Pipeline.model_json_schema(), indent=1))
