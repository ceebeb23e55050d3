"""The sweep job: searches settings of every weighting strategy, confirms the best of each on fresh seeds, and reports the confirmation."""
from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import yaml

from jobs.config import Pipeline, names
from jobs.config.sweep import BASELINE, UNTRAINED
from jobs.data.prepared import PreparedDataset, check_shards
from jobs.evaluate import log_scores, protocol
from jobs.packaging import log_encoder
from jobs.pretraining import checkpoint
from jobs.pretraining.loop import steps_an_epoch
from jobs.pretraining.shapes import check_points, training_shapes
from jobs.pretraining.space import check_space
from jobs.register import place_alias, register_version, score_tags
from jobs.sweeping import children, pictures, report
from jobs.sweeping.findings import findings, mean_validation, winner
from jobs.sweeping.pace import seconds_an_epoch, trials_at_once
from jobs.sweeping.phases import Ended, confirm, search, trials_of
from jobs.sweeping.trial import Sweeping, key_of, trial_config
from jobs.tracking import Stage, curves, run_stage

START_S = 8.0  # seconds that a trial takes beside its epochs: its process, its imports, its judging
FRESH = 1000  # seeds of the confirmation lie this far above the search's


def main() -> None:
    run_stage("sweep", sweep)


def sweep(stage: Stage) -> None:
    """Checks everything first, searches, confirms, then leaves report, pictures, the best setting as a config and the best encoder."""
    config = stage.config
    assert config.sweep is not None and config.probe_data.target is not None
    dataset = training_shapes(config)
    check_points(config)
    steps_an_epoch(config, len(dataset))
    folder = config.cluster.storage / "sweeps" / stage.pipeline
    for target in {config.data.target, config.probe_data.target}:
        assert target is not None
        check_shards(target)
    ray.init(log_to_driver=False)
    at_once = trials_at_once(config, ray.nodes())
    check_space(config, folder, at_once)
    stage.tag({names.TAG_DATA: dataset.manifest["digest"]})
    plan(stage, dataset, at_once)

    start = time.monotonic()
    sweeping = Sweeping(config.to_json(), str(folder), stage.run_id, stage.client.tracking_uri, config.sweep.search.scheduler == "pbt")
    limit = at_once if config.cluster.most > 1 else None  # else Tune counts resources itself
    searched = {strategy: search(config, strategy, sweeping, limit) for strategy in config.sweep.search.strategies}
    chosen = best_settings(searched, stage)
    seeds = [config.seed + FRESH + number for number in range(config.sweep.confirm.seeds)]
    trials = [{"strategy": one, "values": values, "seed": seed, "confirms": True} for seed in seeds for one, values in chosen.items()]
    confirmed = confirm(config, trials, sweeping, limit)
    failed = [one for one in confirmed if one.outcome == children.FAILED]
    if failed:
        raise ValueError(f"{len(failed)} of {len(confirmed)} confirming trials failed, the first, {failed[0].key}, with: {failed[0].error}")

    found = findings(config, searched, chosen, confirmed, Path(sweeping.folder), time.monotonic() - start)
    leave(stage, config, found, sweeping)


def plan(stage: Stage, dataset: PreparedDataset, at_once: int) -> None:
    """Says before anything is trained what is going to be and roughly how long it takes."""
    config = stage.config
    assert config.sweep is not None
    searched = {strategy: trials_of(config.sweep.search, strategy) for strategy in config.sweep.search.strategies}
    confirming = len(searched) * config.sweep.confirm.seeds
    trials = sum(searched.values()) + confirming
    epochs = trials * config.pretrain.epochs
    seconds = seconds_an_epoch(config, dataset)
    minutes = (epochs * seconds + trials * START_S) / at_once / 60
    stage.say(
        f"search: {', '.join(f'{count} of {name}' for name, count in searched.items())}; then {confirming} confirming trials; each up to "
        f"{config.pretrain.epochs} epochs of {len(dataset)} shapes at about {seconds:.1f} s; {at_once} at once: at most some "
        f"{max(1, round(minutes))} min in all"
    )


def best_settings(searched: dict[str, list[Ended]], stage: Stage) -> dict[str, dict[str, Any]]:
    """Of each strategy the values of the trial with the best score among those that came furthest.

    A strategy all of whose trials failed is left out, and said; ValueError when that is the baseline, or all of them.
    """
    chosen: dict[str, dict[str, Any]] = {}
    for strategy, trials in searched.items():
        whole = [one for one in trials if one.outcome != children.FAILED and one.curve]
        if whole:
            furthest = max(one.epochs for one in whole)
            chosen[strategy] = max((one for one in whole if one.epochs == furthest), key=lambda one: one.best).values
        else:
            stage.say(f"every trial of {strategy} failed, the first with: {trials[0].error if trials else 'none was made'}; it is left out")
    if BASELINE not in chosen or len(chosen) < 1:
        failed = next((one for trials in searched.values() for one in trials if one.error), None)
        raise ValueError(f"every trial of {BASELINE}, the baseline, failed, so nothing can be compared: {failed.error if failed else '?'}")
    return chosen | {UNTRAINED: {}}


def leave(stage: Stage, config: Pipeline, found: dict[str, Any], sweeping: Sweeping) -> None:
    """Pictures, report, the best setting as a config, and the best encoder as a candidate."""
    strategy, seed = winner(found)
    best_trial = {"strategy": strategy, "values": found["best"][strategy], "seed": seed, "confirms": True}
    others = [name for name in found["confirm"] if name not in (BASELINE, UNTRAINED)]
    moving = max(others, key=lambda name: mean_validation(found, name), default=BASELINE)  # beside the baseline, also where that is best
    weighed = [names.WEIGHT_INTRA, names.WEIGHT_CROSS]
    lines = {name: curves(stage.client, _run_of(stage, name, seed), weighed) for name in dict.fromkeys([moving, BASELINE])}
    drawn = {
        "objective": lambda path: pictures.objective(path, found),
        "parallel": lambda path: pictures.parallel(path, found),
        "curves": lambda path: pictures.curves(path, found),
        "weights": lambda path: pictures.weights(path, lines),
        "confirmed": lambda path: pictures.confirmed(path, found),
    }
    ready = trial_config(config, best_trial)
    text = f"# {strategy}, the best on validation of the sweep {stage.pipeline}; its seed is that of its best training.\n"
    text += yaml.safe_dump(json.loads(ready.model_dump_json(exclude_none=True)), sort_keys=False)
    with tempfile.TemporaryDirectory() as place:
        images = {}
        for name, draw in drawn.items():
            images[name] = Path(place) / f"{name}.png"
            draw(images[name])
            stage.client.log_artifact(stage.run_id, str(images[name]), "pictures")
        model = register_best(stage, ready, sweeping.trial_folder(key_of(best_trial, "")), found, strategy)
        stage.client.log_text(stage.run_id, text, "best.yaml")
        stage.client.log_text(stage.run_id, report.markdown(found), "report.md")
        stage.client.log_text(stage.run_id, report.html(found, images), "report.html")
    stage.leave({**found, "model": model, "winner": strategy, "verdict": report.verdict(found)})
    stage.say(f"best on validation: {strategy}; {model['name']} version {model['version']}")


def register_best(stage: Stage, config: Pipeline, folder: Path, found: dict[str, Any], strategy: str) -> dict[str, str]:
    """The winner's best checkpoint as a version of the registered model, the alias `candidate` if asked."""
    chosen, facts = checkpoint.best(folder)
    model_id = log_encoder(
        stage.client,
        stage.run_id,
        name="encoder",
        backbone=config.pretrain.backbone,
        weights=checkpoint.encoder_weights(chosen),
        step=checkpoint.facts(chosen)["step"],
        tags={"epoch": str(facts["epoch"]), names.TAG_CONFIG: config.digest(), names.TAG_PIPELINE: stage.pipeline},
    )
    assert config.probe_data.target is not None
    manifest = PreparedDataset(config.probe_data.target, None).manifest
    of_seed = {name: next(one for one in runs if one["seed"] == config.seed) for name, runs in found["confirm"].items()}
    scores = {"trained": of_seed[strategy], "random": of_seed[UNTRAINED]}
    log_scores(stage.client, stage.run_id, {"trained": scores["trained"]}, manifest, model_id)
    judged = {"scores": scores, "protocol": protocol(manifest, config.evaluate, scores["trained"]["c"])}
    tags = {names.TAG_PIPELINE: stage.pipeline, names.TAG_CONFIG: config.digest(), names.TAG_CODE: stage.code_digest, "strategy": strategy}
    tags |= score_tags(judged)
    tags[names.evaluation_metric("svm", manifest["name"], names.TAG_ITEMS)] = _run_of(stage, strategy, config.seed)
    name = names.registered_name(found["backbone"])
    version = register_version(stage.client, name, model_id, stage.run_id, tags)
    stage.say(f"{name} version {version}, {place_alias(stage, name, version)}")
    return {"name": name, "version": version, "model_id": model_id}


def _run_of(stage: Stage, strategy: str, seed: int) -> str:
    run = children.find(stage.client, stage.run_id, key_of({"strategy": strategy, "seed": seed, "confirms": True}, ""))
    assert run is not None, "a confirming trial made its run before it trained"
    return run


if __name__ == "__main__":
    main()
