"""Two versions on the very same items (shapes, episodes, rooms): what one gains over the other, with its interval."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.config import names

if TYPE_CHECKING:
    from service.mlflow_runs import Runs


@dataclass(frozen=True)
class Paired:
    """A score of both versions on the same items, and its gain: second minus first, item by item."""

    first: float
    second: float
    items: int
    mean: float
    low: float  # of the 95% t interval
    high: float


def paired(runs: Runs, first: Mapping[str, str], second: Mapping[str, str], task: str, dataset: str) -> dict[str, Paired]:
    """score -> gain, of those that both versions' tags lead to with equal items. The protocols must be the same already."""
    from jobs.evaluation.paired import gain  # SciPy

    key = names.evaluation_metric(task, dataset, names.TAG_ITEMS)
    if key not in first or key not in second:  # judged by an older version of the service
        return {}
    a, b = (_items(runs, tags[key]) for tags in (first, second))
    found = {}
    for name in sorted(a.keys() & b.keys()):
        (ids, ours), (same, theirs) = a[name], b[name]
        if ids == same and len(ids) > 1:
            by = gain({"first": ours, "second": theirs}, "first")
            found[name] = Paired(sum(ours) / len(ids), sum(theirs) / len(ids), len(ids), by["mean"], by["low"], by["high"])
    return found


def _items(runs: Runs, run: str) -> dict[str, Any]:
    """Those of an evaluation's run; none when it has been removed."""
    from service.registry import raise_if_away

    try:
        return runs.read_json(run, names.ITEMS) or {}
    except Exception as error:  # MLflow's own, imported late
        raise_if_away(error, runs)
        return {}
