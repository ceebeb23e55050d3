"""Pictures of an evaluation."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def confusion(path: Path, matrix: np.ndarray, categories: Sequence[str], title: str) -> None:
    """Row-normalised confusion matrix [categories, categories] (rows: truth) as a PNG, counts in the cells where they fit."""
    counts = matrix.sum(axis=1, keepdims=True)
    share = matrix / np.maximum(counts, 1)
    side = max(5.0, 0.42 * len(categories) + 2.5)
    figure, axes = plt.subplots(figsize=(side + 1.0, side - 1.0), layout="constrained")
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(categories)), categories, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(categories)), [f"{name} ({int(n)})" for name, n in zip(categories, counts[:, 0], strict=True)], fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth (test shapes)")
    axes.set_title(title, fontsize=10)
    if len(categories) <= 25:
        for row, column in np.argwhere(matrix > 0):
            tone = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=7, color=tone)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the category's shapes")
    figure.savefig(path, dpi=110)
    plt.close(figure)
