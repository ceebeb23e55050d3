"""What Ray Train adds to a training step: the same loop, plainly and through a one-worker TorchTrainer, in fresh processes in turn.

`python -m jobs.bench.ray_step plain|ray DATASET OUT.json` runs one side and writes its step times in seconds.
"""
from __future__ import annotations

import itertools
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs.bench.fresh import compared
from jobs.config import Pipeline, check

SHAPES, EPOCHS, WARM_UP = 320, 2, 6  # WARM_UP: first steps left out, while caches and allocators settle


def measure(rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Both sides' medians over rounds of a round's median step, and their ratio (Ray over plain; 1.05 is 5% more)."""
    for needed in ("jobs.pretraining.loop", "ray.train.torch"):
        import_module(needed)  # what the sides import: known to be there before shapes are made
    from jobs.prepare import prepare

    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder))
        prepare(config.data, say=lambda line: None, parallel=False)
        medians: dict[str, list[float]] = {"plain": [], "ray": []}
        counts = dict.fromkeys(medians, 0)
        for number in range(rounds):
            for side in ("plain", "ray") if number % 2 == 0 else ("ray", "plain"):
                out = Path(folder) / f"{side}-{number}.json"
                subprocess.run([sys.executable, "-m", "jobs.bench.ray_step", side, folder, str(out)], check=True)
                steps = json.loads(out.read_text())
                counts[side] += len(steps)
                medians[side].append(1000 * statistics.median(steps))
                say(f"ray step, round {number + 1}/{rounds}, {side}: median {medians[side][-1]:.0f} ms over {len(steps)} steps")
    return {"benchmark": "ray_step", **compared(medians), "unit": "ms", "target": "at most 1.05", "steps": counts}


def _config(folder: Path) -> Pipeline:
    values = {
        "data": {"kind": "synthetic", "shapes": SHAPES, "points": 256, "views": 1, "image_size": 64, "target": str(folder / "data")},
        "pretrain": {
            "backbone": {"name": "dgcnn", "k": 10},
            "image": {"tower": "resnet18", "size": 64},
            "epochs": EPOCHS,
            "batch": 16,
            "points": 256,
            "log_every": 1,
            "loader_workers": 0,
        },
        "evaluate": {"points": 256},
        "cluster": {"threads_per_worker": 1},
    }
    return check(values, "benchmark").resolved(folder)


def _run(folder: Path, out: Path) -> None:
    """The loop with nothing around it but a clock: no checkpoint leaves it, no metric is sent."""
    import torch

    from jobs.data.prepared import PreparedDataset
    from jobs.pretraining.loop import run
    from jobs.pretraining.ranks import ALONE
    from jobs.training.loop import Outside

    torch.set_num_threads(1)
    config = _config(folder)
    assert config.data.target is not None
    stamps: list[tuple[int, float]] = []
    outside = Outside(
        report=lambda metrics, write, validated: None,
        log=lambda rows: stamps.append((rows[-1][0], time.perf_counter())),
        say=lambda line: None,
    )
    dataset = PreparedDataset(config.data.target, "train")
    run(config, dataset, ALONE, outside, None)
    steps_an_epoch = len(dataset) // config.pretrain.batch
    # The first step of an epoch also waits for its loader to start: left out on both sides.
    took = [b[1] - a[1] for a, b in itertools.pairwise(stamps) if a[0] % steps_an_epoch]
    out.write_text(json.dumps(took[WARM_UP:]))


def _through_ray(folder: Path, out: Path) -> None:
    import ray
    from ray.train import LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, object_store_memory=200_000_000)
    TorchTrainer(
        lambda: _run(folder, out),
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(  # type: ignore[call-arg]  # Ray's annotations show the first version of Train
            name="bench", storage_path=str(folder / "ray"), logging_config=LoggingConfig(log_level="WARNING")
        ),
    ).fit()
    ray.shutdown()


if __name__ == "__main__":
    side, data_folder, result = sys.argv[1:]
    (_run if side == "plain" else _through_ray)(Path(data_folder), Path(result))
