"""`import` and `evaluate`: published encoders into the registry, registered ones onto a dataset."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from service.commands.embed import tracking_environment
from service.commands.module import run_module
from service.commands.options import AsJson, State

TASKS = ("svm", "fewshot", "finetune", "parts", "scenes")
SUITE = "suite"


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
    data: Annotated[str | None, typer.Option(help="A prepared dataset; also s3:// and gs://.", metavar="DIR", show_default=False)] = None,
    task: Annotated[str, typer.Option(help="svm, fewshot, finetune, parts, scenes; or suite, the evaluations of --config.")] = "svm",
    config: Annotated[Path | None, typer.Option(help="Of a suite: configs/suite_quick.yaml.", metavar="FILE", show_default=False)] = None,
    points: Annotated[
        int | None, typer.Option(help="Points a cloud that the encoder sees.", show_default="those it was judged on, else 1024", min=2)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random weights beside.", min=0)] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting of the task: key=value, any number of times.")] = None,
    backbone: Annotated[str | None, typer.Option(help="The encoder of a published file, by its name.", show_default=False)] = None,
    variant: Annotated[str | None, typer.Option(help="The project that published it: sets k.", show_default=False)] = None,
    k: Annotated[int | None, typer.Option(help="Neighbours of an EdgeConv.", show_default="the variant's", min=1)] = None,
    here: Annotated[bool, typer.Option("--here", help="Train in this process: no cluster, nothing to resume.")] = False,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Judge an encoder on a dataset, the same encoder with random weights beside it.

    finetune, parts and scenes train on the cluster, or on one of their own, as a pipeline that can be resumed; --set cluster.workers=2 and
    its like say with what.
    """
    for name, path in (("MODEL", model), ("--data", str(data or ""))):
        if not path.isascii() and not path.encode("utf-8", "ignore").decode() == path:
            raise ValueError(f"{name}: the name {path!r} is no UTF-8, and MLflow cannot keep it: rename it")
    encoder = {"backbone": backbone, "variant": variant, "k": k}
    if task == SUITE:
        _suite(model, config, encoder, {"data": data, "points": points, "seed": seed or None}, settings, as_json, state)
        return
    if task not in TASKS:
        raise ValueError(f"--task {task}: there are {', '.join((*TASKS, SUITE))}")
    if config is not None:
        raise ValueError("--config: it is of a suite alone; --set changes the settings of one task")
    if data is None:
        raise ValueError("--data: name the prepared dataset to judge on (`adacrossnet data list` shows them)")
    from jobs.config.places import place_here

    dataset = place_here(data)
    if isinstance(dataset, Path) and not (dataset / "manifest.json").is_file():
        raise ValueError(f"--data: {data} holds no manifest.json; write a prepared dataset with `adacrossnet data prepare`")
    from jobs.config.evaluations import SUPERVISED

    if task in SUPERVISED and not here:
        _trained(model, str(dataset), task, points, seed, encoder, settings or [], as_json, state)
        return
    strange = next((one for one in settings or [] if one.startswith("cluster.")), None)
    if strange is not None:
        raise ValueError(f"--set {strange}: {'--here trains' if here else task + ' runs'} in this process, on no cluster")
    place = str(Path(model).resolve()) if Path(model).exists() else model
    given = {"--task": task, "--points": points, "--seed": seed, "--backbone": backbone, "--variant": variant, "--k": k}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    options += [word for one in settings or [] for word in ("--set", one)]
    with tracking_environment(state) as env:
        run_module("evaluate_model", place, str(dataset), *options, *(["--json"] if as_json else []), env=env)


def _suite(
    model: str,
    config: Path | None,
    encoder: dict[str, str | int | None],
    single: dict[str, object],
    settings: list[str] | None,
    as_json: bool,
    state: Path | None,
) -> None:
    """Several tasks as jobs of one pipeline. `single`: options that only a single task takes."""
    from service.commands.pipelines import run

    if config is None:
        raise ValueError("--config: name the file with the suite's evaluations, such as configs/suite_quick.yaml")
    given = next((name for name, value in single.items() if value is not None), None)
    if given is not None:
        raise ValueError(f"--{given}: a suite's tasks have their own; set it in {config}")
    fields = {"model": model, **{name: value for name, value in encoder.items() if value is not None}}
    run(config, [f"suite.{name}={json.dumps(value)}" for name, value in fields.items()] + (settings or []), as_json, state)


def _trained(
    model: str,
    data: str,
    task: str,
    points: int | None,
    seed: int,
    encoder: dict[str, str | int | None],
    settings: list[str],
    as_json: bool,
    state: Path | None,
) -> None:
    """A task that trains, as a suite of itself alone."""
    from jobs.config import check, parse_value
    from service.commands.pipelines import run_config

    if seed:
        raise ValueError(f"--seed is of the random weights beside; {task} has one seed for all its draws: --set seed={seed}")
    one: dict[str, Any] = {"task": task, **({"points": points} if points else {})}
    cluster: dict[str, Any] = {"threads_per_worker": len(os.sched_getaffinity(0))}
    for pair in settings:
        key, sign, text = pair.partition("=")
        if not sign or not key.strip():
            raise ValueError(f"--set {pair}: write KEY=VALUE")
        section, name = (cluster, key.removeprefix("cluster.")) if key.startswith("cluster.") else (one, key)
        if name in ("task", "data", "points") and section is one:
            raise ValueError(f"--set {pair}: that is the option --{name}")
        section[name.strip()] = parse_value(pair, text)
    suite = {"model": model, "own_points": True, **{name: value for name, value in encoder.items() if value is not None}}
    prepared = {"kind": "prepared", "target": data}
    values = {"name": f"evaluate-{task}", "data": prepared, "suite": suite, "evaluations": [one], "cluster": cluster}
    run_config(check(values, "evaluate"), as_json, state)
