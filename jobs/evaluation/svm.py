"""Linear SVM on frozen features: C chosen on validation, refitted on train + validation for the test, a fixed C beside.

One-vs-one with `sklearn.svm.SVC`, as the published evaluations fit it. Every C shares one Gram matrix. N rows, D features.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.svm import SVC

MOST_DECADES = 6  # how far the grid may widen at either end


@dataclass(frozen=True)
class Split:
    """Features [N, D] and category numbers [N] of one split."""

    features: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Result:
    c: float  # chosen on validation
    tried: dict[float, float]  # C -> balanced accuracy on validation
    val: dict[str, float]  # accuracy, balanced_accuracy at c, fitted on train
    test: dict[str, float] | None  # the same, refitted on train + validation; None where no test split was given
    confusion: np.ndarray | None  # [categories, categories] rows: truth, on test

    def as_dict(self) -> dict[str, Any]:
        return {"c": self.c, "tried": {str(c): score for c, score in self.tried.items()}, "val": self.val, "test": self.test}


def choose_c(train: Split, val: Split, grid: Sequence[float]) -> tuple[float, dict[float, float], dict[str, float]]:
    """(C, every C tried -> balanced accuracy on validation, both scores at C).

    The grid widens by decades while its best lies at an edge; of equal scores the smallest C wins.
    ValueError when train holds fewer than two categories, validation none, or a feature is not finite.
    """
    _check(train, "train")
    _check(val, "validation")
    gram, val_kernel = gram_matrix(train.features, train.features), gram_matrix(val.features, train.features)
    tried: dict[float, dict[str, float]] = {}
    waiting = sorted(set(grid))
    for _ in range(2 * MOST_DECADES + 1):
        for c in waiting:
            tried[c] = scores(val.labels, _fit_predict(gram, train.labels, val_kernel, c))
        best = min(tried, key=lambda c: (-tried[c]["balanced_accuracy"], c))
        low, high = min(tried), max(tried)
        # All equal: every C is too small to tell the features apart, so a larger one is tried, not a smaller.
        flat = {found["balanced_accuracy"] for found in tried.values()} == {tried[best]["balanced_accuracy"]} != {1.0}
        if (flat or best == high) and high < max(grid) * 10**MOST_DECADES * 0.9:
            waiting = [float(f"{high * 10:.9g}")]
        elif best == low and not flat and low > min(grid) / 10**MOST_DECADES * 1.1:
            waiting = [float(f"{low / 10:.9g}")]
        else:
            break
    return best, {c: tried[c]["balanced_accuracy"] for c in sorted(tried)}, tried[best]


def evaluate(train: Split, val: Split, test: Split | None, grid: Sequence[float], categories: int) -> Result:
    """The whole protocol. `test` is looked at once, after C stands."""
    c, tried, val_scores = choose_c(train, val, grid)
    if test is None:
        return Result(c, tried, val_scores, None, None)
    test_scores, predicted = score_at(c, train, val, test)
    return Result(c, tried, val_scores, test_scores, confusion_matrix(test.labels, predicted, labels=np.arange(categories)))


def score_at(c: float, train: Split, val: Split, test: Split) -> tuple[dict[str, float], np.ndarray]:
    """(scores, predictions) on test of an SVM fitted on train + validation at a given C."""
    _check(test, "test")
    both = Split(np.concatenate([train.features, val.features]), np.concatenate([train.labels, val.labels]))
    gram, kernel = gram_matrix(both.features, both.features), gram_matrix(test.features, both.features)
    predicted = _fit_predict(gram, both.labels, kernel, c)
    return scores(test.labels, predicted), predicted


def gram_matrix(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Inner products [rows, columns] in float64: what `SVC(kernel="linear")` computes one at a time."""
    product: np.ndarray = np.asarray(rows, np.float64) @ np.asarray(columns, np.float64).T
    return product


def scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Accuracy, and the mean over the categories present in `truth` of the share found (balanced accuracy).

    scikit-learn's `balanced_accuracy_score` is the same number with a warning for predictions that are no category of `truth`.
    """
    recalls = [float((predicted[truth == label] == label).mean()) for label in np.unique(truth)]
    return {"accuracy": float(accuracy_score(truth, predicted)), "balanced_accuracy": float(np.mean(recalls))}


def _fit_predict(gram: np.ndarray, labels: np.ndarray, kernel: np.ndarray, c: float) -> np.ndarray:
    predicted: np.ndarray = SVC(C=c, kernel="precomputed").fit(gram, labels).predict(kernel)
    return predicted


def _check(split: Split, name: str) -> None:
    if len(split.labels) == 0:
        raise ValueError(f"the {name} split is empty: the SVM needs shapes in train and validation; prepare more shapes a class")
    if name == "train" and len(np.unique(split.labels)) < 2:
        raise ValueError("the train split holds one category: a classifier needs two; prepare a dataset with more classes")
    if not np.isfinite(split.features).all():
        rows = np.flatnonzero(~np.isfinite(split.features).all(axis=1))
        raise ValueError(f"{len(rows)} of the {name} split's features are not finite (first row {rows[0]}): the encoder diverged")
