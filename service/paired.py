"""Two versions on the very same items (shapes, episodes, rooms): what one gains over the other, with its interval."""
from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.config import names

if TYPE_CHECKING:
    from service.mlflow_runs import Runs


LEVEL = 0.95  # of the t interval


@dataclass(frozen=True)
class Paired:
    """A score of both versions on the same items, and its gain: second minus first, item by item."""

    first: float
    second: float
    items: int
    mean: float
    low: float  # of the t interval
    high: float


def paired(runs: Runs, first: Mapping[str, str], second: Mapping[str, str], task: str, dataset: str) -> dict[str, Paired]:
    """score -> gain, of those that both versions' tags lead to with equal items. The protocols must be the same already."""
    key = names.evaluation_metric(task, dataset, names.TAG_ITEMS)
    if key not in first or key not in second:  # an older version of the service judged it
        return {}
    a, b = (_items(runs, tags[key]) for tags in (first, second))
    found = {}
    for name in sorted(a.keys() & b.keys()):
        (ids, ours), (same, theirs) = a[name], b[name]
        if ids == same and len(ids) > 1:
            found[name] = _paired(ours, theirs)
    return found


def _paired(first: list[float], second: list[float]) -> Paired:
    from scipy.stats import t

    differences = [b - a for a, b in zip(first, second, strict=True)]
    count, mean = len(differences), statistics.fmean(differences)
    reach = float(t.ppf(0.5 + LEVEL / 2, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    return Paired(statistics.fmean(first), statistics.fmean(second), count, mean, mean - reach, mean + reach)


def _items(runs: Runs, run: str) -> dict[str, Any]:
    """Those of an evaluation's run; none when it has been removed."""
    from service.registry import raise_if_away

    try:
        return runs.read_json(run, names.ITEMS) or {}
    except Exception as error:  # MLflow's own, imported late
        raise_if_away(error, runs)
        return {}
