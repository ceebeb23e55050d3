"""The few-shot evaluation: episodes of few labelled shapes, a linear SVM on the encoder's frozen features. A stage of a pipeline."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from jobs.config.evaluations import Evaluate, Fewshot
from jobs.config.places import Place
from jobs.data.loading import check_stored, evaluable_splits
from jobs.data.prepared import check_shards
from jobs.evaluation.features import sides
from jobs.evaluation.fewshot import evaluate_fewshot
from jobs.evaluation.outcome import Outcome
from jobs.judged import Judged
from jobs.models.tables import build_backbone
from jobs.scoring import evaluation_stage
from jobs.tracking import run_stage


def main() -> None:
    run_stage("fewshot", lambda stage: evaluation_stage(stage, judge))


def judge(judged: Judged, folder: Place, settings: Any, points: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """Accuracies on the episodes; `seed` is that of the random weights beside. ValueError when the dataset cannot be judged on."""
    assert isinstance(settings, Fewshot)
    check_shards(folder)
    check_stored(folder, points, "points")
    splits, batch = evaluable_splits(folder), Evaluate().batch
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def random() -> torch.nn.Module:
        torch.manual_seed(seed)
        return build_backbone(judged.backbone.name, judged.backbone.k)

    if "train" not in splits:
        raise ValueError(f"{folder} holds no shape in train, and episodes are drawn from there: prepare it with more shapes")
    encoders = sides(lambda: judged.encode(device), random, splits["train"], points=points, batch=batch, device=device)
    return evaluate_fewshot(encoders, splits, settings, points=points, batch=batch, say=say)


if __name__ == "__main__":
    main()
