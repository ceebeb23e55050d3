"""Paired differences against textbook formulas written out, and Holm's procedure against its definition."""
import math

import numpy as np
import pytest
from scipy.stats import t

from jobs.evaluation.paired import differences

BASE = [0.70, 0.72, 0.69, 0.71, 0.73]


def test_one_comparison_is_the_paired_t_test() -> None:
    other = [0.74, 0.75, 0.70, 0.76, 0.75]
    found = differences({"static": BASE, "other": other}, "static", 0.95)["other"]
    apart = np.array(other) - np.array(BASE)
    error = apart.std(ddof=1) / math.sqrt(5)
    assert found.mean == pytest.approx(apart.mean())
    assert found.p == found.p_holm == pytest.approx(2 * t.sf(apart.mean() / error, 4))
    reach = 2.7764451 * error  # the 97.5% point of t with four degrees of freedom, from a table
    assert (found.low, found.high) == (pytest.approx(apart.mean() - reach, abs=1e-8), pytest.approx(apart.mean() + reach, abs=1e-8))
    assert found.verdict(0.95) == "better"


def test_holm_multiplies_the_smallest_p_most_and_never_lets_a_later_one_fall_below() -> None:
    noise = np.array([0.011, -0.009, 0.004, -0.012, 0.006])
    shifts = {"a": 0.05, "b": 0.012, "c": 0.011}
    scores = {"static": BASE} | {name: list(np.array(BASE) + shift + noise) for name, shift in shifts.items()}
    found = differences(scores, "static", 0.95)
    p_a, p_b, p_c = (found[name].p for name in "abc")
    assert p_a < p_b < p_c
    assert found["a"].p_holm == pytest.approx(min(1, 3 * p_a))
    assert found["b"].p_holm == pytest.approx(max(3 * p_a, min(1, 2 * p_b)))
    assert found["c"].p_holm == pytest.approx(max(2 * p_b, p_c))
    assert [found[name].verdict(0.95) for name in "abc"] == ["better", "within noise", "within noise"]
    widths = {name: one.high - one.low for name, one in found.items()}
    assert widths["a"] > widths["b"] > widths["c"]  # tested at 0.05 / 3, 0.05 / 2, 0.05


def test_a_verdict_goes_with_its_interval() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        scores = {"static": BASE, "one": list(np.array(BASE) + draw.normal(draw.normal(0, 0.03), 0.02, 5))}
        found = differences(scores, "static", 0.95)["one"]
        outside = found.low > 0 or found.high < 0
        assert outside == (found.verdict(0.95) != "within noise")


def test_equal_scores_are_within_noise_and_other_numbers_of_seeds_are_refused() -> None:
    assert differences({"static": BASE, "same": BASE}, "static", 0.95)["same"].verdict(0.95) == "within noise"
    with pytest.raises(ValueError, match="the same two seeds or more"):
        differences({"static": BASE, "short": BASE[:4]}, "static", 0.95)
