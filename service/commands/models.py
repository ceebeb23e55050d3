"""`import` and `evaluate`: published encoders into the registry, registered ones onto a dataset."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.commands.embed import tracking_environment
from service.commands.module import run_module
from service.commands.options import AsJson, State

TASKS = ("svm", "fewshot", "finetune", "parts", "scenes")


def import_(
    file: Annotated[Path, typer.Argument(help="A state dict saved by CrossPoint, CrossNet or AdaCrossNet (best_model.pth).")],
    backbone: Annotated[str, typer.Option(help="Which encoder it is, by its name in a config.")],
    variant: Annotated[str | None, typer.Option(help="crosspoint, crossnet or adacrossnet: sets k.", show_default=False)] = None,
    k: Annotated[int | None, typer.Option(help="Neighbours of an EdgeConv.", show_default="the variant's", min=1)] = None,
    state: State = None,
) -> None:
    """Register a published encoder: read strictly, every tensor accounted for, no code of the file run."""
    if not file.is_file():
        raise ValueError(f"FILE: there is no file {file}")
    options = ["--backbone", backbone]
    options += ["--variant", variant] if variant else []
    options += ["--k", str(k)] if k else []
    with tracking_environment(state) as env:
        run_module("import_published", str(file.resolve()), *options, env=env)


def evaluate(
    model: Annotated[
        str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, a run's id, a checkpoint's folder or a published .pth file.")
    ],
    data: Annotated[Path, typer.Option(help="A prepared dataset.", metavar="DIR")],
    task: Annotated[str, typer.Option(help="svm, fewshot, finetune, parts or scenes.")] = "svm",
    points: Annotated[
        int | None, typer.Option(help="Points a cloud that the encoder sees.", show_default="those it was judged on, else 1024", min=2)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random weights beside.")] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting of the task: key=value, any number of times.")] = None,
    backbone: Annotated[str | None, typer.Option(help="The encoder of a published file, by its name.", show_default=False)] = None,
    variant: Annotated[str | None, typer.Option(help="The project that published it: sets k.", show_default=False)] = None,
    k: Annotated[int | None, typer.Option(help="Neighbours of an EdgeConv.", show_default="the variant's", min=1)] = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Judge an encoder on a dataset, the same encoder with random weights beside it."""
    if task not in TASKS:
        raise ValueError(f"--task {task}: there are {', '.join(TASKS)}")
    if not (data / "manifest.json").is_file():
        raise ValueError(f"--data: {data} holds no manifest.json; write a prepared dataset with `adacrossnet data prepare`")
    place = str(Path(model).resolve()) if Path(model).exists() else model
    given = {"--task": task, "--points": points, "--seed": seed, "--backbone": backbone, "--variant": variant, "--k": k}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    options += [word for one in settings or [] for word in ("--set", one)]
    with tracking_environment(state) as env:
        run_module("evaluate_model", place, str(data.resolve()), *options, *(["--json"] if as_json else []), env=env)
