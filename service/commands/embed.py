"""`embed`: features of shapes from a registered encoder."""
from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.module import run_module
from service.commands.options import State

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def embed(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, or a model's folder.")],
    source: Annotated[Path, typer.Argument(help="A prepared dataset, or a folder of clouds and meshes.")],
    out: Annotated[Path, typer.Argument(help="The Parquet file to write.", metavar="OUT.parquet")],
    points: Annotated[int, typer.Option(help="Points a cloud that the encoder sees.", min=1)] = 1024,
    state: State = None,
) -> None:
    """Write the features of a dataset, one row a shape."""
    if not source.exists():
        raise ValueError(f"SOURCE: there is no {source}; name a prepared dataset or a folder of clouds and meshes")
    from service.mlflow_runs import QUICK, check_answers

    local = Path(model).exists()
    with nullcontext(None) if local else _tracking(state) as uri:
        where = str(Path(model).resolve()) if local else model
        paths = (str(source.resolve()), str(out.resolve()))
        env = {name: value for name, value in QUICK.items() if name not in os.environ}
        if uri:
            check_answers(uri)
            env["MLFLOW_TRACKING_URI"] = uri
        run_module("embed", where, *paths, "--points", str(points), env=env)


def _tracking(state: Path | None) -> AbstractContextManager[str]:
    """The MLflow there is: the environment's, that of `up`, or the embedded one started for this command alone."""
    from service.home import Home
    from service.registry import tracking_server

    return tracking_server(Home.find(state))
