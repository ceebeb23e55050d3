"""The share of the linear SVM's evaluation that is spent outside the encoder, at ModelNet40's size: 9,840 and 2,468 clouds of 1,024 points.

The encoder's seconds, and those of reading and normalising, are of some clouds times how often they go into all; choosing C, refitting and
predicting are measured whole. `python -m jobs.bench.probe_share all SETTINGS` runs it in this process and prints seconds as JSON.
D features of a cloud.
"""
from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.bench.fresh import run_fresh
from jobs.bench.svm import CLASSES, TEST, TRAIN

MODULE = "jobs.bench.probe_share"
VAL = 984  # of the 9,840: a tenth, as `modelnet40` is prepared
POINTS, TIMED, BATCH, READ = 1024, 64, 32, 1024  # points a cloud; clouds that are encoded; a batch; clouds that are read


def measure(rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds outside the encoder over all seconds, asked to be at most 0.2."""
    found = [run_fresh(MODULE, "all", {"threads": 1}) for _ in range(rounds)]
    for number, one in enumerate(found):
        say(f"probe share, round {number + 1}/{rounds}: " + ", ".join(f"{name} {value:.1f} s" for name, value in one.items()))
    whole = [sum(one.values()) for one in found]
    outside = [total - one["encoder"] for total, one in zip(whole, found, strict=True)]
    ratios = [part / total for part, total in zip(outside, whole, strict=True)]
    medians = {"all": float(np.median(whole)), "outside the encoder": float(np.median(outside))}
    return {
        "benchmark": "probe_share", "shapes": TRAIN + TEST, "points": POINTS, "threads": 1, "medians": medians,
        "ratio": medians["outside the encoder"] / medians["all"], "ratios": ratios, "unit": "s", "target": "at most 0.2",
    }  # fmt: skip


def _all() -> dict[str, float]:
    from jobs.config.evaluations import Evaluate
    from jobs.data.augment import normalise
    from jobs.evaluation.svm import Split, evaluate
    from jobs.models.dgcnn import DGCNN

    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    encoder = DGCNN(20).eval()
    points_BNC = normalise(torch.from_numpy(rng.standard_normal((BATCH, POINTS, 3)).astype(np.float32)))
    seconds = {"encoder": 0.0, "reading": _reading() * (TRAIN + TEST)}
    with torch.inference_mode():
        encoder(points_BNC)  # caches and allocator settle
        start = time.perf_counter()
        for _ in range(TIMED // BATCH):
            encoder(points_BNC)
        seconds["encoder"] = (time.perf_counter() - start) * (TRAIN + TEST) / TIMED
    # Features of so many classes whose spread overlaps somewhat, as an encoder's do; the SVM's time hardly depends on them.
    middles = rng.standard_normal((CLASSES, encoder.feature_dim))
    labels = rng.choice(CLASSES, TRAIN + TEST, p=rng.dirichlet(np.full(CLASSES, 4.0)))
    features = (middles[labels] + 6.0 * rng.standard_normal((len(labels), encoder.feature_dim))).astype(np.float32)
    train, val, test = (Split(features[a:b], labels[a:b]) for a, b in ((VAL, TRAIN), (0, VAL), (TRAIN, TRAIN + TEST)))
    settings = Evaluate()
    start = time.perf_counter()
    evaluate(train, val, test, settings.c_grid, CLASSES, beside=[settings.fixed_c])
    seconds["svm"] = time.perf_counter() - start
    return seconds


def _reading() -> float:
    """Seconds that a cloud takes from its shard to a batch in the unit ball."""
    from jobs.config.datasets import Synthetic
    from jobs.data.loading import evaluation_clouds
    from jobs.data.prepared import PreparedDataset
    from jobs.prepare import prepare

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        config = Synthetic(kind="synthetic", shapes=128, points=2 * POINTS, views=1, image_size=16, target=folder)
        prepare(config, say=lambda line: None, parallel=False)
        dataset, count = PreparedDataset(folder, None), 0
        start = time.perf_counter()
        while count < READ:
            count += sum(len(points) for points, _ in evaluation_clouds(dataset, POINTS, BATCH))
        return (time.perf_counter() - start) / count


if __name__ == "__main__":
    print(json.dumps(_all() if sys.argv[1] == "all" else {}))
