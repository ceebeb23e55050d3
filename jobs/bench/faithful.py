"""What the oddities of the published training do, seed by seed: its false negatives, its schedule, its selection on the test split.

`python -m jobs.bench.faithful [--seeds N]`: a small DGCNN on made-up shapes, trained as it should be, with the false negatives, and in the
whole faithful mode of CrossNet. Prints test balanced accuracies, of the epoch that validation selects and of the one that test selects.
"""
from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.config import Pipeline, check

SETTINGS: dict[str, dict[str, Any]] = {
    "as it should be": {"objective": {"same_sample_negatives": False}},
    "false negatives": {"objective": {"same_sample_negatives": True}},
    "faithful (crossnet)": {"objective": {"same_sample_negatives": True}, "paper_compat": "crossnet"},
}
EPOCHS, EVERY = 10, 2


def main() -> None:
    from jobs.prepare import prepare

    cli = argparse.ArgumentParser(prog="python -m jobs.bench.faithful", description=__doc__)
    cli.add_argument("--seeds", type=int, default=5, help="trainings of each setting (default 5)")
    args = cli.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    with tempfile.TemporaryDirectory() as folder:
        prepare(config_of({}, 0, Path(folder)).data, say=lambda line: None, parallel=False)
        for seed in range(args.seeds):
            for name, changes in SETTINGS.items():
                found[name].append(train(config_of(changes, seed, Path(folder)), Path(folder)))
                print(f"seed {seed}, {name}: selected on validation {found[name][-1][0]:.3f}, on test {found[name][-1][1]:.3f}", flush=True)
    base = np.array([one[0] for one in found["as it should be"]])
    for name, scores in found.items():
        val, test = np.array(scores).T
        apart, optimism = val - base, test - val
        print(
            f"{name:<20} test {_spread(val)} selected on validation, {_spread(test)} on test: optimism {_spread(optimism)}; "
            f"minus as it should be {_spread(apart)}"
        )


def config_of(changes: dict[str, Any], seed: int, folder: Path) -> Pipeline:
    """The config of one training; the data are the same for all."""
    values = {
        "seed": seed,
        "data": {"kind": "synthetic", "shapes": 400, "points": 256, "views": 2, "image_size": 64, "target": str(folder / "data")},
        "pretrain": {
            "backbone": {"name": "dgcnn", "k": 8},
            "image": {"tower": "resnet18", "size": 32},
            "weighting": {"name": "static"},
            "epochs": EPOCHS,
            "batch": 16,
            "points": 96,
            "validate_every": EVERY,
            "loader_workers": 0,
            **changes,
        },
        "evaluate": {"points": 128},
    }
    return check(values, "benchmark").resolved(folder)


def train(config: Pipeline, folder: Path) -> tuple[float, float]:
    """Test balanced accuracy of the epoch with the best validation score, and of the one with the best test score."""
    from jobs.data.loading import evaluable_splits
    from jobs.data.prepared import PreparedDataset
    from jobs.evaluation.features import encode_with
    from jobs.evaluation.judging import judge
    from jobs.pretraining import checkpoint
    from jobs.pretraining.loop import run
    from jobs.pretraining.ranks import ALONE
    from jobs.pretraining.validation import load_encoder
    from jobs.training.loop import Outside

    assert config.data.target is not None
    splits = evaluable_splits(config.data.target)
    scores: list[tuple[float, float]] = []

    def report(metrics: dict[str, Any], write: Callable[[Path], None], validated: bool) -> None:
        if not validated:
            return
        with tempfile.TemporaryDirectory(dir=folder) as place:
            write(Path(place))
            assert checkpoint.fault(Path(place)) is None
            encode = encode_with(load_encoder(config.pretrain.backbone, Path(place)), ALONE.device)
        found, _ = judge(encode, splits, config.evaluate)
        scores.append((found["val"]["balanced_accuracy"], found["test"]["balanced_accuracy"]))

    outside = Outside(report=report, log=lambda rows: None, say=lambda line: None)
    run(config, PreparedDataset(config.data.target, "train"), ALONE, outside, None)
    return max(scores, key=lambda one: one[0])[1], max(test for _, test in scores)


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():+.3f} ± {values.std(ddof=1):.3f}" if len(values) > 1 else f"{values.mean():+.3f}"


if __name__ == "__main__":
    main()
