"""Options that several commands share."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

State = Annotated[Path | None, typer.Option("--state", help="State folder; else ADACROSSNET_HOME, else runs/.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output; progress goes to standard error.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a value: key.path=value, any number of times.")]
ConfigFile = Annotated[Path, typer.Argument(help="YAML file, such as configs/quickstart.yaml.", metavar="CONFIG")]
Server = Annotated[
    str | None,
    typer.Option("--server", envvar="ADACROSSNET_SERVER", help="URL of `adacrossnet serve`, in place of this machine.", show_default=False),
]
Priority = Annotated[int, typer.Option(help="The higher, the earlier its turn comes.", min=-100, max=100)]
PipelineId = Annotated[str, typer.Argument(help="The pipeline's id, as `adacrossnet list` shows it.", metavar="ID")]
