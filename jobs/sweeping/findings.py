"""What a sweep found, as plain values: what its report, its pictures and its summary are made of."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from jobs.config import Pipeline
from jobs.config.sweep import UNTRAINED
from jobs.data.prepared import PreparedDataset
from jobs.sweeping.phases import Ended
from jobs.sweeping.trial import SCORED


def findings(
    config: Pipeline,
    searched: dict[str, list[Ended]],
    chosen: dict[str, dict[str, Any]],
    confirmed: list[Ended],
    folder: Path,
    seconds: float,
) -> dict[str, Any]:
    """Everything that the report, the pictures and the summary are made of, as plain values."""
    assert config.sweep is not None and config.probe_data.target is not None
    manifest = PreparedDataset(config.probe_data.target, None).manifest
    spent = sum(one.epochs for trials in searched.values() for one in trials)
    scores: dict[str, list[dict[str, Any]]] = {}
    for one in sorted(confirmed, key=lambda trial: (trial.strategy, trial.seed)):
        found = json.loads((folder / "trials" / one.key / SCORED).read_text())
        scores.setdefault(one.strategy, []).append({"seed": one.seed, "key": one.key, "seconds": one.seconds, **found})
    return {
        "name": config.name,
        "demonstration": config.sweep.demonstration,
        "confidence": config.sweep.confirm.confidence,
        "normalise": config.sweep.normalise,
        "dataset": {"name": manifest["name"], "digest": manifest["digest"]},
        "shapes": {split: value["count"] for split, value in manifest["splits"].items()},
        "backbone": config.pretrain.backbone.name,
        "epochs": config.pretrain.epochs,
        "scheduler": config.sweep.search.scheduler,
        "method": config.sweep.search.method,
        "search_epochs": {"spent": spent, "whole": sum(len(trials) for trials in searched.values()) * config.pretrain.epochs},
        "search": {strategy: [_plain(one) for one in trials] for strategy, trials in searched.items()},
        "best": chosen,
        "confirm": scores,
        "seconds": seconds,
    }


def winner(found: dict[str, Any]) -> tuple[str, int]:
    """The strategy with the best mean validation score in the confirmation, and the seed of its best training; test is not looked at."""
    trained = {name: runs for name, runs in found["confirm"].items() if name != UNTRAINED}
    strategy = max(trained, key=lambda name: mean_validation(found, name))
    best = max(trained[strategy], key=lambda one: (one["val"]["balanced_accuracy"], -one["seed"]))
    return strategy, int(best["seed"])


def mean_validation(found: dict[str, Any], strategy: str) -> float:
    """Validation balanced accuracy of a strategy, a mean over the confirming seeds."""
    return float(np.mean([one["val"]["balanced_accuracy"] for one in found["confirm"][strategy]]))


def _plain(one: Ended) -> dict[str, Any]:
    kept = ("key", "strategy", "values", "seed", "curve", "outcome", "error", "seconds")
    return {**{name: getattr(one, name) for name in kept}, "best": one.best if one.curve else None, "epochs": one.epochs}
