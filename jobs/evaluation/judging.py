"""How an encoder is judged: a linear SVM on its frozen features of a dataset's splits, the test split looked at once."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.config.evaluations import Evaluate
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.features import Encode, split_features
from jobs.evaluation.svm import Result, evaluate


def judge(encode: Encode, splits: Mapping[str, PreparedDataset], settings: Evaluate) -> tuple[dict[str, Any], Result]:
    """Scores as plain values, those at the published C beside where there is a test split, and what they are made of."""
    features = {name: split_features(encode, shapes, points=settings.points, batch=settings.batch) for name, shapes in splits.items()}
    categories = len(splits["train"].categories)
    result = evaluate(features["train"], features["val"], features.get("test"), settings.c_grid, categories, beside=[settings.fixed_c])
    scores = result.as_dict()
    if result.test is not None:
        scores["fixed_c"] = {"c": settings.fixed_c, "test": result.beside[settings.fixed_c]}
    return scores, result
