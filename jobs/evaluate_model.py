"""An encoder on a prepared dataset: `python -m jobs.evaluate_model MODEL DATA [--task NAME] [--set KEY=VALUE] [--points N] ...`.

MODEL is `models:/NAME/VERSION` or `models:/NAME@ALIAS` in the MLflow of MLFLOW_TRACKING_URI, the id of a run that logged an encoder, a
checkpoint's folder, or a file of CrossPoint, CrossNet or AdaCrossNet with --backbone and --variant or --k. The scores, those of the same
encoder with random weights beside them, go to a run of their own, to the model's LoggedModel and, as tags, to its version.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from jobs import fewshot, supervised
from jobs.config import check_evaluation, names, parse_value
from jobs.config.evaluations import SUPERVISED, Evaluate
from jobs.config.places import Place, place_of
from jobs.config.sections import Tracking
from jobs.data.format import read_manifest
from jobs.judged import Judged, find_judged
from jobs.models.tables import BACKBONES
from jobs.scoring import Judge, log_outcome
from jobs.svm import judge_svm

SVM = "svm"
OPTIONS = ("task", "data", "points")  # fields of a task's section that the command gives otherwise
# By the task's name.
JUDGES: dict[str, Judge] = {"fewshot": fewshot.judge, **dict.fromkeys(SUPERVISED, supervised.judge_here)}

Say = Callable[[str], None]


def main() -> None:
    cli = argparse.ArgumentParser(
        prog="python -m jobs.evaluate_model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_argument("model")
    cli.add_argument("data", help="a prepared dataset with the labels that the task needs")
    cli.add_argument("--task", choices=(SVM, *JUDGES), default=SVM)
    cli.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the task, any number of times")
    cli.add_argument("--points", type=int, help="points a cloud that the encoder sees (default: those it was judged on, else 1024)")
    cli.add_argument("--seed", type=int, default=0, help="of the random weights beside")
    cli.add_argument("--backbone", choices=sorted(BACKBONES), help="what a published file or an old checkpoint holds")
    cli.add_argument("--variant", help="the project that published a file: crosspoint, crossnet or adacrossnet; sets k")
    cli.add_argument("--k", type=int, help="neighbours of an EdgeConv")
    cli.add_argument("--json", action="store_true", help="the scores and their protocol as JSON, alone on standard output")
    args = cli.parse_args()

    def say(line: str) -> None:
        print(f"evaluate: {line}", file=sys.stderr if args.json else sys.stdout, flush=True)

    try:
        settings = _settings(args.task, args.set)
        if args.seed and args.task in SUPERVISED:
            raise ValueError(f"--seed is of the random weights beside; {args.task} has one seed for all its draws: --set seed={args.seed}")
        client = MlflowClient()
        judged = find_judged(client, args.model, backbone=args.backbone, variant=args.variant, k=args.k)
        data = place_of(args.data)
        stored = int(read_manifest(data)["points"])
        points = args.points or (stored if args.task == "scenes" else judged.points)
        facts = evaluate_model(client, judged, data, args.task, settings, points, args.seed, say)
    except (ValueError, FloatingPointError, OSError) as error:
        sys.exit(f"evaluate: error: {error}")
    if args.json:
        print(json.dumps(facts))


def _settings(task: str, pairs: list[str]) -> Any:
    """The task's section of the config. ValueError for a key or value that it does not take."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.strip():
            raise ValueError(f"--set {pair}: write KEY=VALUE")
        if key.strip() in OPTIONS:
            raise ValueError(f"--set {pair}: that is the option --{key.strip()}")
        values[key.strip()] = parse_value(pair, text)
    if task == SVM:
        if values:
            raise ValueError(f"--set {next(iter(values))}: the SVM's protocol is fixed; --points is its only choice")
        return None
    return check_evaluation({"task": task, **values}, "--set")


def evaluate_model(
    client: MlflowClient, judged: Judged, data: Place, task: str, settings: Any, points: int, seed: int, say: Say
) -> dict[str, Any]:
    """Scores, protocol and run id. ValueError when the dataset cannot be judged on."""
    manifest = read_manifest(data)
    run = None

    def begin() -> str:
        nonlocal run
        run = _begin(client, judged, task, manifest)
        return run

    try:
        facts = (
            {**judge_svm(client, judged, data, Evaluate(points=points), seed, say, begin, called=SVM), "model": _model_uri(judged)}
            if task == SVM
            else _other(client, judged, data, task, settings, points, seed, say, begin)
        )
        assert run is not None
        client.log_dict(run, facts, f"{'evaluate' if task == SVM else task}.json")
    except BaseException:
        if run is not None:
            client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run, "FINISHED")
    return {**facts, "run": run}


def _other(
    client: MlflowClient,
    judged: Judged,
    data: Place,
    task: str,
    settings: Any,
    points: int,
    seed: int,
    say: Say,
    begin: Callable[[], str],
) -> dict[str, Any]:
    outcome = JUDGES[task](judged, data, settings, points, seed, say)
    version = None if judged.version is None else (judged.version.name, str(judged.version.version))
    try:
        run = begin()
        facts = log_outcome(client, run, outcome, read_manifest(data), points, model_id=judged.model_id, version=version, called=task)
    except Exception as error:  # MLflow may have gone meanwhile: what was trained for is not lost with it
        say(f"its scores could not be logged: {json.dumps(outcome.facts())}")
        if isinstance(error, MlflowException):
            raise ValueError(f"MLflow did not take the scores ({str(error).splitlines()[0][:200]}); they stand in the line above") from None
        raise
    return {**facts, "model": _model_uri(judged)}


def _model_uri(judged: Judged) -> str:
    if judged.version is not None:
        return f"models:/{judged.version.name}/{judged.version.version}"
    return f"models:/{judged.model_id}" if judged.model_id is not None else judged.label


def _begin(client: MlflowClient, judged: Judged, task: str, manifest: dict[str, Any]) -> str:
    """A run beside the one that made the model; of a model that MLflow does not hold, in the usual experiment."""
    if judged.run_id is not None:
        experiment = client.get_run(judged.run_id).info.experiment_id
    else:
        known = client.get_experiment_by_name(Tracking().experiment)
        experiment = known.experiment_id if known is not None else client.create_experiment(Tracking().experiment)
    stage = "evaluate" if task == SVM else task
    tags = {names.TAG_STAGE: stage, names.TAG_DATA: manifest["digest"], "model": _model_uri(judged)}
    return str(client.create_run(experiment, run_name=f"{stage}-{manifest['name']}", tags=tags).info.run_id)


if __name__ == "__main__":
    main()
