"""`embed`: features of shapes from a registered encoder."""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from service.commands.module import run_module
from service.commands.options import State


def embed(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, or a model's folder.")],
    source: Annotated[str, typer.Argument(help="A prepared dataset (also s3:// and gs://), or a folder of clouds and meshes.")],
    out: Annotated[Path, typer.Argument(help="The Parquet file to write.", metavar="OUT.parquet")],
    points: Annotated[
        int | None, typer.Option(help="Points a cloud that the encoder sees.", show_default="those it was judged on, else 1024", min=1)
    ] = None,
    up: Annotated[Literal["y", "z"], typer.Option(help="Up axis of the files in a folder.")] = "y",
    state: State = None,
) -> None:
    """Write the features of a dataset, one row a shape."""
    from jobs.config.places import place_here

    found = place_here(source)
    if isinstance(found, Path) and not found.exists():
        raise ValueError(f"SOURCE: there is no {source}; name a prepared dataset or a folder of clouds and meshes")
    local = Path(model).exists()
    where = str(Path(model).resolve()) if local else model
    paths = (str(found), str(out.resolve()))
    with nullcontext(quick()) if local else tracking_environment(state) as env:
        run_module("embed", where, *paths, *(["--points", str(points)] if points else []), "--up", up, env=env)


@contextmanager
def tracking_environment(state: Path | None) -> Iterator[dict[str, str]]:
    """A job's environment with the MLflow there is: the environment's, that of `up`, or the embedded one, open as long as this."""
    from service.home import Home
    from service.mlflow_runs import check_answers
    from service.registry import tracking_server

    with tracking_server(Home.find(state)) as uri:
        check_answers(uri)
        yield {**quick(), "MLFLOW_TRACKING_URI": uri}


def quick() -> dict[str, str]:
    """MLflow's patience with a server that is away, cut short where the user has not set it; and no advertisement of its pages."""
    from service.mlflow_runs import QUICK

    wanted = {**QUICK, "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    return {name: value for name, value in wanted.items() if name not in os.environ}
