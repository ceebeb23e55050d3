"""What the trainings of a task came to: pretrained beside random weights, their differences paired by shape, tables and pictures."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.data.prepared import PreparedDataset
from jobs.evaluation import pictures
from jobs.evaluation.iou import per_category
from jobs.evaluation.outcome import Outcome
from jobs.evaluation.paired import differences

LEVEL = 0.95
SIDES = ("trained", "random")
Shown = tuple[str, NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], float]  # id, points, true and predicted parts, IoU


@dataclass(frozen=True)
class Trained:
    """One training: its facts (training.Tuned.facts), the test rows that its task keeps, its validation by epochs, shapes to look at."""

    facts: dict[str, Any]
    rows: NDArray[np.float64] | None
    curve: list[tuple[int, float]]
    shown: tuple[Shown, ...] = ()


def outcome_of(
    settings: Any, found: Mapping[tuple[str, float], Trained], splits: Mapping[str, PreparedDataset], selects: str
) -> Outcome:
    """`found`: (encoder, fraction of the labels) -> training."""
    fractions = sorted({fraction for _, fraction in found})
    metrics: dict[str, dict[str, float]] = {side: {} for side in SIDES}
    gains: dict[str, dict[str, float]] = {}
    for (side, fraction), one in found.items():
        for part in ("val", "test"):
            for metric, value in (one.facts[part] or {}).items():
                metrics[side][_named(metric, fraction, settings, "val_" if part == "val" else "")] = value
    test = splits.get("test")
    for fraction in fractions:
        kept = {side: found[side, fraction].rows for side in SIDES}
        if test is not None and all(rows is not None for rows in kept.values()):
            values = {side: _of_shape(settings, rows, test) for side, rows in kept.items()}  # type: ignore[arg-type]
            gains[_named(_of_shapes(settings), fraction, settings, "")] = _gain(values)
    listed: dict[str, Any] = {"trainings": {f"{side} {fraction:g}": one.facts for (side, fraction), one in found.items()}}
    drawn: dict[str, Callable[[Path], None]] = {
        "learning_curves": lambda path: pictures.learning_curves(
            path, {f"{side}, {100 * fraction:g}% of the labels": one.curve for (side, fraction), one in found.items()}, selects
        )
    }
    if test is not None and settings.task == "parts":
        ious = {side: found[side, 1.0].rows[:, 0] for side in SIDES}  # type: ignore[index]
        listed["per_category"] = per_category(ious, test.labels, test.categories)
        shown = found["trained", 1.0].shown
        if shown:
            drawn["gallery"] = lambda path: pictures.gallery(path, shown)
    if len(fractions) > 1:
        name = "balanced_accuracy"
        points = {side: [(f, metrics[side].get(_named(name, f, settings, ""), np.nan)) for f in fractions] for side in SIDES}
        drawn["label_fractions"] = lambda path: pictures.label_fractions(path, points, name)
    return Outcome(
        task=settings.task,
        metrics=metrics,
        headline=tuple(_named(_of_shapes(settings), fraction, settings, "") for fraction in fractions),
        gains=gains,
        protocol=_protocol(settings, selects),
        listed=listed,
        pictures=drawn,
    )


def _of_shapes(settings: Any) -> str:
    """The metric that is a mean over shapes."""
    return "instance_miou" if settings.task == "parts" else "accuracy"


def _of_shape(settings: Any, rows_RM: NDArray[np.float64], test: PreparedDataset) -> NDArray[np.float64]:
    return rows_RM[:, 0] if settings.task == "parts" else (rows_RM[:, 0] == test.labels).astype(float)


def _gain(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Trained minus random weights, shape by shape, with its t interval."""
    found = differences({side: values[side].tolist() for side in SIDES}, "random", LEVEL)["trained"]
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _named(metric: str, fraction: float, settings: Any, prefix: str) -> str:
    return f"{prefix}{metric}" + (f"_{100 * fraction:g}pct" if settings.task == "finetune" else "")


def _protocol(settings: Any, selects: str) -> dict[str, Any]:
    chosen = f"the epoch of the best {selects} on validation; its weights judged on test once"
    rule = {"parts": "parts of the shape's category alone; a part in neither truth nor prediction counts 1"}.get(settings.task)
    return {**settings.model_dump(mode="json", exclude={"task", "data", "points"}), "chosen_by": chosen, **({"rule": rule} if rule else {})}
