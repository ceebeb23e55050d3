"""ShapeNetPart's IoU against its definition, written over sets of points."""
import numpy as np
import pytest

from jobs.evaluation.iou import part_scores, per_category, shape_iou


def by_sets(told: np.ndarray, truth: np.ndarray, parts: tuple[int, ...]) -> float:
    values = []
    for part in parts:
        a, b = {i for i, one in enumerate(told) if one == part}, {i for i, one in enumerate(truth) if one == part}
        values.append(1.0 if not a | b else len(a & b) / len(a | b))
    return sum(values) / len(values)


def test_a_shapes_iou_is_the_mean_over_its_categorys_parts_and_an_absent_part_counts_one() -> None:
    rng = np.random.default_rng(0)
    for parts in ((4, 5), (0, 1, 2, 3), (7, 8, 9)):
        truth, told = rng.choice(parts[:2], 60), rng.choice(parts, 60)  # the later parts are in no truth
        assert shape_iou(told, truth, parts) == pytest.approx(by_sets(told, truth, parts))
    assert shape_iou(np.array([4, 4]), np.array([4, 4]), (4, 5, 6)) == 1.0
    assert shape_iou(np.array([5, 5]), np.array([4, 4]), (4, 5, 6)) == pytest.approx(1 / 3)


def test_means_over_shapes_and_over_categories() -> None:
    labels = np.array([0, 0, 0, 2])
    found = part_scores([0.9, 0.6, 0.3, 0.2], [1.0, 1.0, 0.5, 0.5], labels)
    assert found == pytest.approx({"instance_miou": 0.5, "category_miou": (0.6 + 0.2) / 2, "accuracy": 0.75})
    rows = per_category({"trained": np.array([0.9, 0.6, 0.3, 0.2])}, labels, ["chair", "none", "mug"])
    assert rows == [{"category": "chair", "shapes": 3, "trained": pytest.approx(0.6)}, {"category": "mug", "shapes": 1, "trained": 0.2}]
