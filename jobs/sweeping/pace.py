"""How many trials a cluster runs at once, and how long an epoch takes, before any is trained."""
from __future__ import annotations

import contextlib
import time
from typing import Any

import torch

from jobs.config import Pipeline
from jobs.data.loading import pretraining_batches
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.features import encode_with, split_features
from jobs.losses.objective import needs_grey
from jobs.pretraining.loop import steps_an_epoch
from jobs.pretraining.ranks import ALONE
from jobs.pretraining.step import build_training, train_step

TIMED = 2  # steps, after one that warms up


def trials_at_once(config: Pipeline, nodes: list[dict[str, Any]]) -> int:
    """Trials that fit the living nodes of `ray.nodes()` together; ValueError when not even one does.

    The workers of a trial may lie on several nodes, each on one.
    """
    cluster = config.cluster
    needs = {"CPU": cluster.cpus_per_worker, "GPU": cluster.gpus_per_worker}
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    workers = sum(int(min(node.get(name, 0.0) / need for name, need in needs.items() if need) + 1e-9) for node in alive)
    if workers < cluster.most:
        asked = ", ".join(f"{need:g} {name}" for name, need in needs.items() if need)
        raise ValueError(
            f"a trial asks for {cluster.most} workers x {asked}, and the cluster has room for {workers}: lower cluster.workers or what "
            "each asks for"
        )
    return workers // cluster.most


def seconds_an_epoch(config: Pipeline, dataset: PreparedDataset) -> float:
    """Seconds of an epoch here, from a few of its steps and one validation's features; its checkpoint comes on top."""
    pretrain = config.pretrain
    torch.set_num_threads(config.cluster.threads_per_worker)
    training = build_training(config, ALONE, iterations=TIMED + 1)
    batches = pretraining_batches(
        dataset,
        seed=config.seed,
        epoch=0,
        batch=pretrain.batch,
        rank=0,
        world=1,
        points=pretrain.points,
        image_size=pretrain.image.size,
        grey=needs_grey(pretrain.objective.cross),
        workers=0,
    )
    start = 0.0
    done = 0
    for number, batch in zip(range(TIMED + 1), batches, strict=False):
        if number == 1:
            start = time.perf_counter()
        with contextlib.suppress(FloatingPointError):  # a setting that diverges is its trial's to tell
            train_step(training, [batch])
        done = number
    step = (time.perf_counter() - start) / done if done else 0.0
    steps = step * pretrain.accumulate * steps_an_epoch(config, len(dataset)) / config.cluster.most
    return steps + _seconds_to_validate(config, training.model.encoder) / pretrain.validate_every


def _seconds_to_validate(config: Pipeline, encoder: torch.nn.Module) -> float:
    settings, probe = config.evaluate, config.probe_data.target
    assert probe is not None
    start = time.perf_counter()
    for split in ("train", "val"):
        split_features(encode_with(encoder, ALONE.device), PreparedDataset(probe, split), points=settings.points, batch=settings.batch)
    return time.perf_counter() - start
