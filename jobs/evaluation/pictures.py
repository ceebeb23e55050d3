"""Pictures of an evaluation."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def confusion(path: Path, matrix: np.ndarray, categories: Sequence[str], title: str, of: str = "shapes") -> None:
    """Row-normalised confusion matrix [categories, categories] (rows: truth) as a PNG; cells have counts of shapes, percents of points."""
    counts = matrix.sum(axis=1, keepdims=True)
    share = matrix / np.maximum(counts, 1)
    side = max(5.0, 0.42 * len(categories) + 2.5)
    figure, axes = plt.subplots(figsize=(side + 1.0, side - 1.0), layout="constrained")
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(categories)), categories, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(categories)), [f"{name} ({int(n)})" for name, n in zip(categories, counts[:, 0], strict=True)], fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel(f"truth (test {of})")
    axes.set_title(title, fontsize=10)
    if len(categories) <= 25:
        for row, column in np.argwhere(matrix > 0):
            tone = "white" if share[row, column] > 0.5 else "black"
            told = f"{int(matrix[row, column])}" if of == "shapes" else f"{100 * share[row, column]:.0f}"
            axes.text(column, row, told, ha="center", va="center", fontsize=7, color=tone)
    figure.colorbar(image, ax=axes, shrink=0.7, label=f"share of the class's {of}")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def learning_curves(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]], metric: str) -> None:
    """Validation by epochs, a line a training, as a PNG."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"validation {metric.replace('_', ' ').replace('miou', 'mIoU')}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def label_fractions(path: Path, points: Mapping[str, Sequence[tuple[float, float]]], metric: str) -> None:
    """A test score against the share of the labels that was trained on, a line an encoder, as a PNG."""
    figure, axes = plt.subplots(figsize=(6, 4.2), layout="constrained")
    for name, one in points.items():
        axes.plot([100 * fraction for fraction, _ in one], [value for _, value in one], marker="o", label=name)
    axes.set_xscale("log")
    ticks = [100 * fraction for fraction, _ in next(iter(points.values()))]
    axes.set_xticks(ticks, [f"{tick:g}%" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("share of the training labels")
    axes.set_ylabel(f"test {metric.replace('_', ' ')}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def gallery(path: Path, shown: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray, float]]) -> None:
    """Shapes with their true parts beside the predicted ones, (id, points [N, 3] y up, truth [N], prediction [N], IoU) each, as a PNG."""
    columns = 4
    rows = -(-2 * len(shown) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(2.4 * columns, 2.7 * rows), squeeze=False, layout="constrained")
    for axes in grid.flat:
        axes.set_axis_off()
    for place, (name, points, truth, told, iou) in enumerate(shown):
        parts = np.unique(np.concatenate([truth, told]))
        for offset, (title, values) in enumerate(((f"{name}\ntruth", truth), (f"IoU {iou:.2f}\nprediction", told))):
            axes = grid.flat[2 * place + offset]
            x, y, z = points.T
            across, depth = 0.87 * x + 0.5 * z, 0.87 * z - 0.5 * x
            up, depth = 0.94 * y - 0.34 * depth, 0.94 * depth + 0.34 * y
            order = np.argsort(depth)
            colours = np.searchsorted(parts, values)[order]
            axes.scatter(across[order], up[order], c=colours, cmap="tab10", vmin=0, vmax=max(9, len(parts) - 1), s=3, linewidths=0)
            axes.set_aspect("equal")
            axes.set_title(title, fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def rooms(path: Path, shown: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray, float]], classes: Sequence[str]) -> None:
    """Rooms with their true classes beside the predicted ones, from above and from the side, ceilings left out: (name, points [R, 3] in
    metres z up, truth [R], prediction [R], mIoU) each, as a PNG."""
    palette = matplotlib.colormaps["tab20"]
    figure, grid = plt.subplots(len(shown), 4, figsize=(12, 3.1 * len(shown) + 0.6), squeeze=False, layout="constrained")
    present = np.unique(np.concatenate([np.concatenate(one[2:4]) for one in shown]))
    for cells, (name, points, truth, told, iou) in zip(grid, shown, strict=True):
        open_above = np.flatnonzero(truth != classes.index("ceiling")) if "ceiling" in classes else np.arange(len(truth))
        x, y, z = points[open_above].T
        across, depth = 0.87 * x + 0.5 * y, 0.87 * y - 0.5 * x
        side = (across, 0.82 * z + 0.57 * depth, 0.82 * depth - 0.57 * z)
        for axes, (title, values), (right, up, away) in zip(
            cells,
            ((f"{name}: truth", truth), (f"prediction, mIoU {iou:.2f}", told)) * 2,
            ((x, y, -z), (x, y, -z), side, side),
            strict=True,
        ):
            order = np.argsort(-away)  # what is nearest to the eye comes last
            axes.scatter(right[order], up[order], c=palette(values[open_above][order]), s=3, linewidths=0)
            axes.set_aspect("equal")
            axes.set_axis_off()
            axes.set_title(title, fontsize=8)
    marks = [plt.Line2D([], [], marker="o", linestyle="", color=palette(int(row)), label=classes[row]) for row in present]
    figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 7), fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
