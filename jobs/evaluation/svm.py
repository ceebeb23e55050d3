"""Linear SVM on frozen features: C chosen on validation, refitted on train + validation for the test, a fixed C beside.

One-vs-one, with the predictions of `sklearn.svm.SVC(kernel="linear")` in a fraction of its time. N rows, D features, T rows to predict,
K classes; I rows of class i, J rows of class j or classes beside i, P rows of a pair of classes, S of them support vectors.
"""
from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import sklearn
from scipy.linalg.blas import ddot
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

MOST_DECADES = 6  # how far the grid may widen at either end
GRAM_BYTES = 2**30  # of inner products kept for the next C, and the most that the kernel of one pair of classes may take
WHOLE_BYTES = 2**26  # the largest kernel of all classes that is fitted at once (2,896 rows)
MOST_THREADS = 8  # each holds products of its own while it works: a sixteenth of GRAM_BYTES, and the kernel of a pair
PIECE_BYTES = 2**22  # of inner products computed at once
ROUNDING = 2 * np.finfo(np.float64).eps  # times the terms of a sum and their size: by how much two orders of summing may differ, at most


Machine = tuple[SVC, np.ndarray]  # fitted; the row numbers of its support vectors


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
    beside: dict[float, dict[str, float]] = field(default_factory=dict)  # other C -> the scores that `test` holds at c
    right: dict[str, np.ndarray] = field(default_factory=dict)  # val, test -> which rows are told right

    def as_dict(self) -> dict[str, Any]:
        return {"c": self.c, "tried": {str(c): score for c, score in self.tried.items()}, "val": self.val, "test": self.test}


def choose_c(train: Split, val: Split, grid: Sequence[float]) -> tuple[float, dict[float, float], dict[str, float]]:
    """(C, every C tried -> balanced accuracy on validation, both scores at C).

    The grid widens by decades while its best lies at an edge; of equal scores the smallest C wins.
    ValueError when train holds fewer than two categories, validation none, or a feature is not finite.
    """
    c, tried, predicted = _choose(train, val, grid)
    return c, tried, scores(val.labels, predicted)


def _choose(train: Split, val: Split, grid: Sequence[float]) -> tuple[float, dict[float, float], np.ndarray]:
    """`choose_c`, with the predictions at C on validation."""
    _check(train, "train")
    _check(val, "validation")
    machine = OneVsOne(train)
    tried: dict[float, dict[str, float]] = {}
    told: dict[float, np.ndarray] = {}
    waiting = sorted(set(grid))
    for _ in range(2 * MOST_DECADES + 1):
        told |= machine.predict(val.features, waiting)
        tried |= {c: scores(val.labels, told[c]) for c in waiting}
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
    return best, {c: tried[c]["balanced_accuracy"] for c in sorted(tried)}, told[best]


def evaluate(train: Split, val: Split, test: Split | None, grid: Sequence[float], categories: int, beside: Sequence[float] = ()) -> Result:
    """The whole protocol. `test` is looked at once, after C stands: at C and, sharing its kernel values, at every C of `beside`."""
    c, tried, told = _choose(train, val, grid)
    val_scores, right = scores(val.labels, told), {"val": told == val.labels}
    if test is None:
        return Result(c, tried, val_scores, None, None, right=right)
    predicted = _refitted([c, *beside], train, val, test)
    at = {other: scores(test.labels, found) for other, found in predicted.items()}
    confusion = confusion_matrix(test.labels, predicted[c], labels=np.arange(categories))
    right["test"] = predicted[c] == test.labels
    return Result(c, tried, val_scores, at[c], confusion, {other: at[other] for other in beside}, right)


def score_at(c: float, train: Split, val: Split, test: Split) -> tuple[dict[str, float], np.ndarray]:
    """(scores, predictions) on test of an SVM fitted on train + validation at a given C."""
    predicted = _refitted([c], train, val, test)[c]
    return scores(test.labels, predicted), predicted


def scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Accuracy, and the mean over the categories present in `truth` of the share found (balanced accuracy).

    scikit-learn's `balanced_accuracy_score` is the same number with a warning for predictions that are no category of `truth`.
    """
    recalls = [float((predicted[truth == label] == label).mean()) for label in np.unique(truth)]
    return {"accuracy": float(accuracy_score(truth, predicted)), "balanced_accuracy": float(np.mean(recalls))}


class OneVsOne:
    """What `SVC(C=c, kernel="linear")` fitted on `train` predicts, at any number of C.

    libsvm fits every pair of classes by itself, on inner products rounded to float32 (their diagonal is not). Here these come from matrix
    products, kept for the next C, and go to libsvm's own solver: it takes the same steps, so dual coefficients and intercepts are SVC's to
    the last bit. Where the order of summing could turn a rounding or a vote, libsvm's own order decides.

    Few rows (a kernel within `whole_bytes`) are fitted at once, more a pair of classes at a time, by `threads` at once (as many as there
    are cores): libsvm and the products let the others run meanwhile, and no result depends on their order. Memory: features in float64,
    N^2 / 2 products in float32 (0.2 GB for 9,840 rows), the kernel of one pair a thread in float64; nothing of size T N. Products beyond
    `gram_bytes` are computed again at every call of `predict`; a pair beyond it is fitted on its features, as SVC does.
    """

    def __init__(
        self, train: Split, gram_bytes: int = GRAM_BYTES, whole_bytes: int = WHOLE_BYTES, threads: int | None = None
    ) -> None:
        self.classes, numbers_N, counts = np.unique(train.labels, return_inverse=True, return_counts=True)
        self.starts = [0, *np.cumsum(counts).tolist()]  # the rows of a class stand together, in their order
        self.rows_ND: np.ndarray = np.empty(train.features.shape, np.float64)
        for i in range(len(self.classes)):
            self.rows_ND[self.starts[i] : self.starts[i + 1]] = train.features[numbers_N == i]
        self.squares_N = np.array([ddot(row_D, row_D) for row_D in self.rows_ND])
        self.gram_bytes = gram_bytes
        self.threads = threads or min(MOST_THREADS, len(os.sched_getaffinity(0)))
        self.keeping = Lock()
        self.at_once = 8 * len(self.rows_ND) ** 2 <= whole_bytes
        self.machines: dict[float, Machine] = {}
        self.kept: dict[tuple[range, range], np.ndarray] = {}

    @threadpool_limits.wrap(limits=1, user_api="blas")  # on busy cores, threads of small products mostly wait for each other
    def predict(self, features_TD: np.ndarray, cs: Sequence[float]) -> dict[float, np.ndarray]:
        """C -> predictions [T]: of the classes with most votes the first, as libsvm has it."""
        rows_TD = np.ascontiguousarray(features_TD, np.float64)
        lengths_T1 = np.linalg.norm(rows_TD, axis=1, keepdims=True)
        votes = {c: np.zeros((len(rows_TD), len(self.classes)), np.int64) for c in cs}

        def decide(run: tuple[int, range]) -> dict[float, np.ndarray]:
            return self._decide(*run, rows_TD, lengths_T1, cs)

        runs = list(self._runs())
        with ThreadPoolExecutor(1 if self.at_once else self.threads) as pool:  # at once, the first run fits what all others read
            for (i, others), told in zip(runs, pool.map(decide, runs), strict=True):
                for c, positive_TJ in told.items():
                    votes[c][:, i] += positive_TJ.sum(axis=1)
                    votes[c][:, others.start : others.stop] += ~positive_TJ
        return {c: self.classes[votes_TK.argmax(axis=1)] for c, votes_TK in votes.items()}

    def _decide(self, i: int, others: range, rows_TD: np.ndarray, lengths_T1: np.ndarray, cs: Sequence[float]) -> dict[float, np.ndarray]:
        """C -> which rows [T, J] are told to be of class i rather than of each of `others`."""
        told = {}
        for c, (weights_JD, intercepts_J, doubts_J) in self.planes(i, others, cs).items():
            values_TJ = rows_TD @ weights_JD.T + intercepts_J
            doubtful_TJ = np.abs(values_TJ) <= lengths_T1 * doubts_J
            for column in np.flatnonzero(doubtful_TJ.any(axis=0)):
                asked_T = doubtful_TJ[:, column]
                machine, _ = self._fit([i, others[column]], c, None)
                values_TJ[asked_T, column] = -machine.decision_function(rows_TD[asked_T])
            told[c] = values_TJ > 0
        return told

    def planes(self, i: int, others: range, cs: Sequence[float]) -> dict[float, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """C -> class i against each later class of `others`: weights [J, D], intercepts [J] (positive values vote for i), and by how much
        [J] rounding may set these values apart from libsvm's, for a row of length 1."""
        features = self.rows_ND.shape[1]
        found = {c: (np.empty((len(others), features)), np.empty(len(others)), np.empty(len(others))) for c in cs}
        for column, c, (machine, rows_S), first, second in self._machines(i, others, cs):
            classes, ends = len(machine.n_support_), [0, *np.cumsum(machine.n_support_)]
            ours, theirs = slice(*ends[first : first + 2]), slice(*ends[second : second + 2])
            sign = -1 if classes == 2 else 1  # scikit-learn turns the signs of two classes round
            alpha_S = sign * np.concatenate([machine.dual_coef_[second - 1, ours], machine.dual_coef_[first, theirs]])
            used_S = np.concatenate([rows_S[ours], rows_S[theirs]])
            weights_JD, intercepts_J, doubts_J = found[c]
            weights_JD[column] = alpha_S @ self.rows_ND[used_S]
            intercepts_J[column] = sign * machine.intercept_[first * (2 * classes - first - 1) // 2 + second - first - 1]
            doubts_J[column] = ROUNDING * (len(used_S) + features) * (np.abs(alpha_S) @ np.sqrt(self.squares_N[used_S]))
        return found

    def _runs(self) -> Iterator[tuple[int, range]]:
        """Every class with every later one once, as many of these together as their products take a sixteenth of `gram_bytes`."""
        for i in range(len(self.classes) - 1):
            widest, start = self.gram_bytes // (64 * (self.starts[i + 1] - self.starts[i])), i + 1
            while start < len(self.classes):
                stop = max(start + 1, bisect_right(self.starts, self.starts[start] + widest) - 1)
                yield i, range(start, stop)
                start = stop

    def _machines(self, i: int, others: range, cs: Sequence[float]) -> Iterator[tuple[int, float, Machine, int, int]]:
        """(place in `others`, C, a machine that knows i and the class of that place, the numbers it knows them by)."""
        if self.at_once:
            missing, everything = [c for c in cs if c not in self.machines], range(len(self.classes))
            kernel_NN = self._kernel(self._products(everything, everything), everything) if missing else None
            self.machines |= {c: self._fit(everything, c, kernel_NN) for c in missing}
            yield from ((column, c, self.machines[c], i, j) for column, j in enumerate(others) for c in cs)
            return
        small = [8 * len(self._rows([i, j])) ** 2 <= self.gram_bytes for j in others]
        products = self._products(range(i, i + 1), others) if any(small) else np.empty((0, 0))
        for column, j in enumerate(others):
            kernel_PP = None
            if small[column]:
                own_II, own_JJ = (self._products(one, one) for one in (range(i, i + 1), range(j, j + 1)))
                products_IJ = products[:, self.starts[j] - self.starts[others.start] :][:, : len(own_JJ)]
                kernel_PP = self._kernel(np.block([[own_II, products_IJ], [products_IJ.T, own_JJ]]), [i, j])
            yield from ((column, c, self._fit([i, j], c, kernel_PP), 0, 1) for c in cs)

    def _products(self, some: range, others: range) -> np.ndarray:
        """Inner products of the rows of some classes with those of others, float32: each the rounding of libsvm's own sum."""
        if (some, others) in self.kept:
            return self.kept[some, others]
        left, right = (self.rows_ND[self.starts[classes.start] : self.starts[classes.stop]] for classes in (some, others))
        # Cauchy-Schwarz bounds each sum by its own two rows: one long row must not make every product doubtful.
        doubts_I, lengths_J = (np.sqrt(self.squares_N[self._rows(classes)]) for classes in (some, others))
        doubts_I *= ROUNDING * self.rows_ND.shape[1]
        products: np.ndarray = np.empty((len(left), len(right)), np.float32)
        width = max(1, PIECE_BYTES // (8 * len(left)))
        for start in range(0, len(right), width):
            sums = left @ right[start : start + width].T
            slack = np.outer(doubts_I, lengths_J[start : start + width])
            sums -= slack
            piece = products[:, start : start + width]
            piece[:] = sums
            slack *= 2
            sums += slack
            for row, column in np.argwhere(sums.astype(np.float32) != piece):  # a boundary so near that the order of summing decides
                piece[row, column] = ddot(left[row], right[start + column])
        with self.keeping:
            if sum(block.nbytes for block in self.kept.values()) + products.nbytes <= self.gram_bytes:
                self.kept[some, others] = products
        return products

    def _kernel(self, products_PP: np.ndarray, classes: Sequence[int]) -> np.ndarray:
        """[P, P] as libsvm has it: inner products rounded to float32, those of a row with itself not."""
        kernel_PP = products_PP.astype(np.float64)
        np.fill_diagonal(kernel_PP, self.squares_N[self._rows(classes)])
        return kernel_PP

    def _rows(self, classes: Sequence[int]) -> np.ndarray:
        """Row numbers [P] of some classes in libsvm's order."""
        return np.concatenate([np.arange(*self.starts[i : i + 2]) for i in classes])

    def _fit(self, classes: Sequence[int], c: float, kernel_PP: np.ndarray | None) -> Machine:
        """libsvm on some classes, which it knows by their places, from their kernel or, without one, from their features."""
        rows_P = self._rows(classes)
        labels_P = np.searchsorted(self.starts, rows_P, "right")
        known, given = ("linear", self.rows_ND[rows_P]) if kernel_PP is None else ("precomputed", kernel_PP)
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):  # half a millisecond of three
            machine = SVC(C=c, kernel=known, random_state=0).fit(given, labels_P)
        return machine, rows_P[machine.support_]


def _refitted(cs: Sequence[float], train: Split, val: Split, test: Split) -> dict[float, np.ndarray]:
    """C -> predictions on test of an SVM fitted on train + validation."""
    for split, name in ((train, "train"), (val, "validation"), (test, "test")):
        _check(split, name)
    both = Split(np.concatenate([train.features, val.features]), np.concatenate([train.labels, val.labels]))
    return OneVsOne(both).predict(test.features, cs)


def _check(split: Split, name: str) -> None:
    if len(split.labels) == 0:
        raise ValueError(f"the {name} split is empty: the SVM needs shapes in train and validation; prepare more shapes a class")
    if name == "train" and len(np.unique(split.labels)) < 2:
        raise ValueError("the train split holds one category: a classifier needs two; prepare a dataset with more classes")
    if not np.isfinite(split.features).all():
        rows = np.flatnonzero(~np.isfinite(split.features).all(axis=1))
        raise ValueError(f"{len(rows)} of the {name} split's features are not finite (first row {rows[0]}): the encoder diverged")
