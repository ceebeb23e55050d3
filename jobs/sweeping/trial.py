"""One trial of a sweep: a training under one setting that tells its score as it goes, to whoever may stop it.

With one worker it trains in the trial's own process; with several, Ray Train runs inside the trial. Its own folder is the truth of how far
it got: a trial that starts again goes on from its newest whole checkpoint.
"""
from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from mlflow import MlflowClient
from ray import tune
from ray.train.collective import broadcast_from_rank_zero
from ray.tune.integration.ray_train import TuneReportCallback

from jobs.config import Pipeline, check, names
from jobs.config.sweep import UNTRAINED, setting
from jobs.evaluate import items, log_scores, probed
from jobs.evaluation.features import calibrate_batchnorm, encode_with
from jobs.evaluation.judging import judge
from jobs.pretraining import checkpoint
from jobs.pretraining.allocator import keep_freed_memory
from jobs.pretraining.loop import run
from jobs.pretraining.ranks import Ranks
from jobs.pretraining.shapes import training_shapes
from jobs.pretraining.step import build_model
from jobs.pretraining.validation import load_encoder, validate
from jobs.pretraining.workers import workers
from jobs.sweeping import children
from jobs.sweeping.trial_folder import keep, note, taken_over, tidy, told_before
from jobs.tracking import MetricLog, log_once
from jobs.training.loop import Outside

SCORED = "scores.json"  # in a confirming trial's folder
POINTER = "from.json"  # in a Tune checkpoint: the folder of the trial's own checkpoint
SCORE, EPOCH = "score", "epoch"  # what a trial tells


@dataclass(frozen=True)
class Sweeping:
    """What every trial knows of its sweep; travels to its process."""

    config: str  # the resolved pipeline, JSON
    folder: str  # the sweep's, on storage
    run_id: str  # the sweep's run in MLflow
    tracking_uri: str
    point: bool = False  # report Tune checkpoints, for schedulers that move trials between settings

    def trial_folder(self, key: str) -> Path:
        """The folder of a trial."""
        return Path(self.folder) / "trials" / key


def trial_config(pipeline: Pipeline, trial: dict[str, Any]) -> Pipeline:
    """The config of one training: the sweep's own with the trial's strategy, values and seed."""
    assert pipeline.sweep is not None
    values = json.loads(pipeline.to_json()) | {"seed": trial["seed"], "sweep": None}
    if trial["strategy"] != UNTRAINED:
        values["pretrain"] = setting(values["pretrain"], trial["strategy"], trial["values"], pipeline.sweep)
    return check(values, "trial")


def search_trial(space: dict[str, Any], sweeping: Sweeping) -> None:
    """Trains a setting of the search and tells each validated epoch's score.

    A driver that was killed may not have written down what the trial told it last: it is told again, without training.
    """
    trial = space["trial"]
    key = key_of(trial, tune.get_context().get_trial_id())
    if not sweeping.point:
        for one in told_before(sweeping.trial_folder(key)):
            tune.report(one)
    _train(trial, key, sweeping)


def confirm_trial(space: dict[str, Any], sweeping: Sweeping) -> None:
    """Trains a setting to the end on one seed, then judges its best checkpoint; leaves `scores.json` in its folder."""
    trial = space["trial"]
    key = key_of(trial, "")
    scored = sweeping.trial_folder(key) / SCORED
    config = trial_config(Pipeline.model_validate_json(sweeping.config), trial)
    if not scored.exists():
        if trial["strategy"] == UNTRAINED:
            params = {"strategy": UNTRAINED, "seed": trial["seed"]}
            children.child(MlflowClient(sweeping.tracking_uri), sweeping.run_id, key, params, config.digest())
            encoder = build_model(config.pretrain, config.seed).encoder
        else:
            _train(trial, key, sweeping)
            encoder = load_encoder(config.pretrain.backbone, checkpoint.best(sweeping.trial_folder(key))[0])
        scored.parent.mkdir(parents=True, exist_ok=True)
        found = _judge(config, encoder, sweeping, key, calibrate=trial["strategy"] == UNTRAINED)
        temporary = scored.with_suffix(".tmp")
        temporary.write_text(json.dumps(found))
        temporary.rename(scored)
    tune.report({EPOCH: config.pretrain.epochs, SCORE: json.loads(scored.read_text())["val"]["balanced_accuracy"]})


def _judge(config: Pipeline, encoder: torch.nn.Module, sweeping: Sweeping, key: str, calibrate: bool) -> dict[str, Any]:
    """Scores of the encoder, also on the trial's run; `calibrate` sets BatchNorm's statistics by an unlabelled pass over train first."""
    settings, probe = config.evaluate, config.probe_data.target
    assert probe is not None
    device = torch.device("cuda" if config.cluster.gpus_per_worker else "cpu")
    manifest, splits = probed(probe, settings.points)
    if calibrate:
        calibrate_batchnorm(encoder, splits["train"], points=settings.points, batch=settings.batch, device=device)
    scores, result = judge(encode_with(encoder, device), splits, settings)
    client = MlflowClient(sweeping.tracking_uri)
    run_id = children.find(client, sweeping.run_id, key)
    assert run_id is not None, "a confirming trial made its run before it trained"
    log_scores(client, run_id, {"trained": scores}, manifest, None)
    client.log_dict(run_id, items(result, splits), names.ITEMS)
    return scores


def key_of(trial: dict[str, Any], trial_id: str) -> str:
    """The name of a trial: a confirming one's follows from what it is, a searching one's from its id."""
    return f"confirm-{trial['strategy']}-seed-{trial['seed']}" if trial.get("confirms") else f"search-{trial['strategy']}-{trial_id}"


def _train(trial: dict[str, Any], key: str, sweeping: Sweeping) -> None:
    """Trains to the end; does nothing where that was reached before."""
    config = trial_config(Pipeline.model_validate_json(sweeping.config), trial)
    known = told_before(sweeping.trial_folder(key))
    if known and known[-1][EPOCH] == config.pretrain.epochs and not sweeping.point:
        return
    params = {"strategy": trial["strategy"], "seed": trial["seed"], **trial["values"]}
    run_id = children.child(MlflowClient(sweeping.tracking_uri), sweeping.run_id, key, params, config.digest())
    if sweeping.point:  # parameters are those that it began with: a scheduler may have moved it to others since
        MlflowClient(sweeping.tracking_uri).set_tag(run_id, children.VALUES, json.dumps(trial["values"]))
    start_from = _pointed()
    folder = sweeping.trial_folder(key)
    folder.mkdir(parents=True, exist_ok=True)
    if config.cluster.most == 1:
        device = torch.device("cuda" if config.cluster.gpus_per_worker else "cpu")
        _loop(config, run_id, sweeping, folder, Ranks(0, 1, device), tune.report, start_from)
        return
    ray.train.torch.TorchTrainer(
        _rank,
        train_loop_config={"config": config.to_json(), "run_id": run_id, "sweeping": sweeping, "folder": str(folder)},
        **workers(config.cluster),
        run_config=ray.train.RunConfig(  # type: ignore[call-arg]
            name=key,
            storage_path=str(Path(sweeping.folder) / "train"),
            failure_config=ray.train.FailureConfig(max_failures=config.cluster.max_failures),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
            callbacks=[TuneReportCallback()],  # type: ignore[list-item]  # Ray's annotations show the first version of Train
        ),
    ).fit()


def _rank(shared: dict[str, Any]) -> None:
    """One of several workers of a trial."""
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    config = Pipeline.model_validate_json(shared["config"])
    _loop(config, shared["run_id"], shared["sweeping"], Path(shared["folder"]), ranks, ray.train.report, None)


def _loop(
    config: Pipeline, run_id: str, sweeping: Sweeping, folder: Path, ranks: Ranks, tell: Callable[..., None], start_from: Path | None
) -> None:
    torch.set_num_threads(config.cluster.threads_per_worker)
    keep_freed_memory()
    client = MlflowClient(sweeping.tracking_uri)
    log = MetricLog(client, run_id)
    known = [] if sweeping.point else told_before(folder)  # read by every rank before any trains

    def report(metrics: dict[str, Any], write: Callable[[Path], None], validated: bool) -> None:
        if not validated or (known and metrics[EPOCH] <= known[-1][EPOCH]):
            return
        told: dict[str, Any] = {EPOCH: metrics[EPOCH]}
        if ranks.rank == 0:
            written = keep(folder, metrics[EPOCH], write)
            score = validate(config, written, folder, ranks.device)
            log_once(client, run_id, names.VALIDATION_SCORE, score, checkpoint.facts(written)["step"])
            told[SCORE] = score
            note(folder, told)
        if not sweeping.point:
            tell(told)
            return
        with tempfile.TemporaryDirectory() as pointing:
            (Path(pointing) / POINTER).write_text(json.dumps({"folder": str(folder), "checkpoint": written.name}))
            tell(told, checkpoint=tune.Checkpoint.from_directory(pointing))

    chosen = None
    if ranks.rank == 0:
        another = start_from is not None and start_from.parent != folder
        chosen = taken_over(folder, start_from) if another else checkpoint.usable(folder, start_from)[0]  # type: ignore[arg-type]
    resume_from = chosen if ranks.world == 1 else broadcast_from_rank_zero(chosen)
    outside = Outside(report=report, log=log.log, say=lambda line: None)
    training = run(config, training_shapes(config), ranks, outside, resume_from)
    if ranks.rank == 0 and not sweeping.point:  # else others may still go on from here
        tidy(folder)
    del training


def _pointed() -> Path | None:
    """The checkpoint, of this trial or another, that it was told to go on from."""
    given = tune.get_checkpoint()
    if given is None:
        return None
    with given.as_directory() as directory:
        pointer = json.loads((Path(directory) / POINTER).read_text())
    return Path(pointer["folder"]) / pointer["checkpoint"]
