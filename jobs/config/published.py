"""What the training of each paper fixes, by the fields of a `pretrain` section (docs/faithful.md)."""
from __future__ import annotations

_CROSSNET = {
    "objective.cross": "crossnet-con", "objective.temperature": 0.2, "objective.same_sample_negatives": True,
    "optimizer.name": "adam", "optimizer.lr": 1e-3, "optimizer.weight_decay": 1e-5, "optimizer.clip_norm": None, "optimizer.warmup": 0,
    "accumulate": 1, "weighting.normalise": False,
}  # fmt: skip
# What a paper's training fixes; batch, epochs, points, k and towers stay free, so that it can be run at any scale.
PUBLISHED: dict[str, dict[str, object]] = {
    "crosspoint": {
        **_CROSSNET, "objective.cross": "crosspoint", "objective.temperature": 0.1, "objective.same_sample_negatives": False,
        "optimizer.weight_decay": 1e-6, "weighting.name": "static", "weighting.intra": 1.0, "weighting.cross": 1.0,
    },
    "crossnet": {**_CROSSNET, "weighting.name": "static", "weighting.intra": 1.0, "weighting.cross": 1.0},
    "adacrossnet": {
        **_CROSSNET, "weighting.name": "adacrossnet", "weighting.alpha": 0.05, "weighting.beta": 0.95, "weighting.cadence": "step",
        "weighting.change": "raw",
    },
}  # fmt: skip
SELECTION_C = {"crosspoint": 0.1, "crossnet": 0.01, "adacrossnet": 0.01}  # of the SVM that selects the best epoch
