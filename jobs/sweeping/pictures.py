"""Pictures of a sweep: what was searched, what was stopped, what was confirmed. `found` is what the sweep job leaves."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from jobs.config import names
from jobs.config.sweep import BASELINE, UNTRAINED
from jobs.sweeping import children

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

SCORE = "validation balanced accuracy"
MARKS = {children.DONE: "o", children.STOPPED: "x", children.FAILED: "v"}


def objective(path: Path, found: dict[str, Any]) -> None:
    """The best score of every trial against each searched value, a panel a value."""
    panels = [
        (strategy, key) for strategy, trials in found["search"].items() for key in sorted({key for one in trials for key in one["values"]})
    ]
    columns = min(3, max(1, len(panels)))
    rows = -(-max(1, len(panels)) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.6 * columns, 3.0 * rows), squeeze=False, sharey=True, layout="constrained")
    colours = _colours(found["search"])
    for axes, (strategy, key) in zip(grid.flat, panels, strict=False):
        trials = [one for one in found["search"][strategy] if one["best"] is not None]
        values = [one["values"][key] for one in trials]
        for outcome, mark in MARKS.items():
            chosen = [(value, one["best"]) for value, one in zip(values, trials, strict=True) if one["outcome"] == outcome]
            axes.scatter([value for value, _ in chosen], [best for _, best in chosen], marker=mark, color=colours[strategy], s=28)
        if _spread(values):
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(strategy, fontsize=10)
        axes.set_xlabel(key)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel(SCORE)
    figure.suptitle("Search: best score of each trial (o to the end, x stopped early)")
    _save(figure, path)


def parallel(path: Path, found: dict[str, Any]) -> None:
    """Parallel coordinates: a line a trial through its values, the better the darker; a panel a strategy."""
    strategies = list(found["search"])
    figure, grid = plt.subplots(len(strategies), 1, figsize=(8, 2.4 * len(strategies)), squeeze=False, layout="constrained")
    every = [one["best"] for trials in found["search"].values() for one in trials if one["best"] is not None]
    shade = plt.Normalize(min(every), max(every) if max(every) > min(every) else min(every) + 1e-9)
    for axes, strategy in zip(grid[:, 0], strategies, strict=True):
        trials = [one for one in found["search"][strategy] if one["best"] is not None]
        keys = sorted({key for one in trials for key in one["values"]})
        heights = {key: _heights([one["values"][key] for one in trials]) for key in keys}
        heights[SCORE] = _heights([one["best"] for one in trials])
        for row, one in sorted(enumerate(trials), key=lambda pair: pair[1]["best"]):
            axes.plot(range(len(heights)), [heights[key][row] for key in heights], color=plt.get_cmap("viridis_r")(shade(one["best"])))
        ends = [_ends([one["values"][key] for one in trials]) for key in keys] + [_ends([one["best"] for one in trials])]
        labels = [f"{key}\n{low} … {high}" for key, (low, high) in zip(heights, ends, strict=True)]
        axes.set_xticks(range(len(heights)), labels, fontsize=8)
        axes.set_yticks([])
        axes.set_title(strategy, fontsize=10, loc="left")
    figure.suptitle("Search: values and score of each trial, darker is better")
    _save(figure, path)


def curves(path: Path, found: dict[str, Any]) -> None:
    """Every searching trial's score over its epochs, with a cross where it was stopped."""
    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    colours = _colours(found["search"])
    for strategy, trials in found["search"].items():
        for number, one in enumerate(trials):
            if not one["curve"]:
                continue
            epochs, scores = zip(*one["curve"], strict=True)
            axes.plot(epochs, scores, color=colours[strategy], alpha=0.7, linewidth=1.2, label=None if number else strategy)
            if one["outcome"] != children.DONE:
                axes.scatter(epochs[-1], scores[-1], marker=MARKS[one["outcome"]], color=colours[strategy], zorder=3)
    axes.set_xlabel("epoch")
    axes.set_ylabel(SCORE)
    axes.set_title("Search: each trial's score, a cross where it was stopped early")
    axes.legend()
    axes.grid(alpha=0.3)
    _save(figure, path)


def weights(path: Path, lines: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> None:
    """The two weights over the steps of one confirming training: of the best strategy beside the baseline, and of the baseline."""
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for number, (strategy, one) in enumerate(lines.items()):
        label = f"{strategy} (baseline)" if strategy == BASELINE else strategy
        for name, style, what in ((names.WEIGHT_INTRA, "-", "intra-modal"), (names.WEIGHT_CROSS, "--", "cross-modal")):
            axes.plot(*one[name], style, color=f"C{number}", label=f"{label}, {what}", linewidth=1.6)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("weight of the loss")
    axes.set_title("Confirmation: loss weights beside those of the static baseline")
    axes.legend()
    axes.grid(alpha=0.3)
    _save(figure, path)


def confirmed(path: Path, found: dict[str, Any]) -> None:
    """Test scores of the confirming trainings, a dot a seed, their mean a bar; seeds are joined by thin lines."""
    order = sorted(found["confirm"], key=lambda name: (name != UNTRAINED, name != BASELINE, name))
    table = np.array([[(one["test"] or one["val"])["balanced_accuracy"] for one in found["confirm"][name]] for name in order])
    figure, axes = plt.subplots(figsize=(max(6.0, 1.4 * len(order)), 4.4), layout="constrained")
    trained = [row for row, name in enumerate(order) if name != UNTRAINED]
    for seed in range(table.shape[1]):
        axes.plot(trained, table[trained, seed], color="grey", alpha=0.4, linewidth=0.8)
    for row, name in enumerate(order):
        axes.scatter([row] * table.shape[1], table[row], s=30, color=f"C{row}", zorder=3)
        axes.hlines(table[row].mean(), row - 0.25, row + 0.25, color=f"C{row}", linewidth=3, label=name)
    axes.set_xticks(range(len(order)), [f"{name}\n(baseline)" if name == BASELINE else name for name in order])
    axes.set_ylabel("test balanced accuracy")
    axes.set_title("Confirmation: held-out shapes, one dot a seed")
    axes.grid(alpha=0.3, axis="y")
    _save(figure, path)


def _colours(search: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"C{number % 10}" for number, name in enumerate(search)}


def _spread(values: Sequence[Any]) -> bool:
    """Whether numbers span more than a decade."""
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return len(numbers) == len(values) > 0 and min(numbers) > 0 and max(numbers) / min(numbers) > 10


def _heights(values: Sequence[Any]) -> list[float]:
    """Each value's place between the smallest (0) and the largest (1); words by their alphabetical order."""
    places = [float(np.log(value)) for value in values] if _spread(values) else _places(values)
    low, high = min(places, default=0.0), max(places, default=1.0)
    return [(place - low) / (high - low) if high > low else 0.5 for place in places]


def _places(values: Sequence[Any]) -> list[float]:
    if all(isinstance(value, (int, float)) for value in values):
        return [float(value) for value in values]
    order = sorted({str(value) for value in values})
    return [float(order.index(str(value))) for value in values]


def _ends(values: Sequence[Any]) -> tuple[str, str]:
    if all(isinstance(value, (int, float)) for value in values):
        return f"{min(values, default=0):.3g}", f"{max(values, default=0):.3g}"
    order = sorted({str(value) for value in values})
    return order[0], order[-1]


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)
