"""Intersection over union of part segmentations, by ShapeNetPart's rules (Yi et al. 2016; Qi et al. 2017). N points."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def shape_iou(predicted_N: NDArray[np.integer], truth_N: NDArray[np.integer], parts: Sequence[int]) -> float:
    """The mean over a category's `parts` of |both| / |either|; a part in neither counts 1."""
    found = []
    for part in parts:
        told, true = predicted_N == part, truth_N == part
        either = int((told | true).sum())
        found.append(int((told & true).sum()) / either if either else 1.0)
    return float(np.mean(found))


def part_scores(ious: Sequence[float], right: Sequence[float], labels: NDArray[np.int64]) -> dict[str, float]:
    """Instance mIoU (mean over shapes), category mIoU (mean over the categories present of their shapes' mean), accuracy over points."""
    values = np.asarray(ious, dtype=float)
    of_category = [values[labels == label].mean() for label in np.unique(labels)]
    return {"instance_miou": float(values.mean()), "category_miou": float(np.mean(of_category)), "accuracy": float(np.mean(right))}


def per_category(
    values: Mapping[str, NDArray[np.float64]], labels: NDArray[np.int64], categories: Sequence[str]
) -> list[dict[str, object]]:
    """A row a category present: shapes, and each encoder's mean IoU."""
    return [
        {
            "category": categories[label],
            "shapes": int((labels == label).sum()),
            **{name: float(one[labels == label].mean()) for name, one in values.items()},
        }
        for label in np.unique(labels)
    ]
