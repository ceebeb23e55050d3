"""How often somebody may ask."""
from __future__ import annotations

import pytest

from service.rates import Buckets


def test_a_minutes_worth_passes_at_once_and_then_one_as_each_becomes_due(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("service.rates.time.monotonic", lambda: now)
    buckets = Buckets()
    assert [buckets.take("anna", 60) for _ in range(60)] == [0.0] * 60
    assert buckets.take("anna", 60) == pytest.approx(1.0)
    assert buckets.take("bert", 60) == 0.0, "everyone has a bucket of their own"
    now += 0.5
    assert buckets.take("anna", 60) == pytest.approx(0.5)
    now += 0.6
    assert buckets.take("anna", 60) == 0.0
    now += 3600
    assert [buckets.take("anna", 60) for _ in range(61)].count(0.0) == 60, "no more than a minute's worth is saved up"


def test_callers_that_asked_long_ago_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.rates._CALLERS", 2)
    buckets = Buckets()
    for caller in ("a", "b", "a", "c"):
        buckets.take(caller, 60)
    assert set(buckets._levels) == {"a", "c"}
