"""Differences of paired scores: t intervals and Holm's correction for many comparisons with one baseline. S seeds."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

GAIN_LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A strategy minus the baseline, over seeds that both ran on."""

    mean: float
    deviation: float  # of the differences, with S - 1
    p: float  # two-sided paired t test, not corrected
    p_holm: float  # corrected
    low: float  # of the interval at the level that Holm's procedure tests this comparison at
    high: float

    def verdict(self, level: float) -> str:
        """`better`, `worse`, or `within noise` at the confidence `level`."""
        if not self.p_holm < 1 - level:
            return "within noise"
        return "better" if self.mean > 0 else "worse"


def differences(scores: Mapping[str, Sequence[float]], baseline: str, level: float) -> dict[str, Difference]:
    """Each strategy's scores [S] minus the baseline's, seed by seed.

    Holm (1979): of m comparisons the one with the smallest p is tested at (1 - level) / m, the next at (1 - level) / (m - 1), and so on; a
    corrected p is never below that of a comparison before it. ValueError when the numbers of seeds differ or are below two.
    """
    base = np.asarray(scores[baseline], dtype=float)
    if len(base) < 2 or any(len(values) != len(base) for values in scores.values()):
        counts = {name: len(values) for name, values in scores.items()}
        raise ValueError(f"paired differences need the same two seeds or more of each strategy, but there are {counts}")
    found = {name: np.asarray(values, dtype=float) - base for name, values in scores.items() if name != baseline}
    plain = {name: _p(values) for name, values in found.items()}
    result: dict[str, Difference] = {}
    corrected = 0.0
    for rank, name in enumerate(sorted(plain, key=lambda one: plain[one])):
        left = len(plain) - rank
        corrected = max(corrected, min(1.0, left * plain[name]))
        values = found[name]
        mean, deviation = float(values.mean()), float(values.std(ddof=1))
        reach = float(stats.t.ppf(1 - (1 - level) / left / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
        result[name] = Difference(mean, deviation, plain[name], corrected, mean - reach, mean + reach)
    return {name: result[name] for name in found}


def _p(values: np.ndarray) -> float:
    if not values.std(ddof=1) > 0:  # all seeds differ by the same: only no difference at all is no evidence
        return 1.0 if values.mean() == 0 else 0.0
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def gain(values: Mapping[str, Sequence[float] | NDArray[np.float64]], baseline: str = "random") -> dict[str, float]:
    """mean, low and high (95%) of the other one minus the `baseline`, item by item. ValueError for fewer than two items."""
    other = next(name for name in values if name != baseline)
    found = differences({name: [float(one) for one in values[name]] for name in (baseline, other)}, baseline, GAIN_LEVEL)[other]
    return {"mean": found.mean, "low": found.low, "high": found.high}
