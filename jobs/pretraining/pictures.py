"""Pictures of a pretraining: its curves, its features before and after, the clouds it saw."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from jobs.config import names
from jobs.evaluation.svm import Split

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

Curve = tuple[np.ndarray, np.ndarray]  # steps, values
MARKERS = "os^Dv*P"  # after ten categories the colours come again
MOST_SHAPES = 2000  # t-SNE of more says nothing more and takes minutes


def losses(path: Path, curves: dict[str, Curve]) -> None:
    """The two losses and their weighted sum over the steps."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, label in ((names.LOSS, "weighted sum"), (names.LOSS_INTRA, "intra-modal"), (names.LOSS_CROSS, "cross-modal")):
        steps, values = curves[name]
        axes.plot(steps, values, label=label, linewidth=1.2)
    _finish(figure, axes, path, "NT-Xent loss", "Losses")


def weights(path: Path, curves: dict[str, Curve]) -> None:
    """The two weights over the steps, with equal static weighting as the line to compare with."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    # The cross-modal line is thinner and dashed: at the published settings it lies on the other.
    for name, label, style in ((names.WEIGHT_INTRA, "intra-modal", "-"), (names.WEIGHT_CROSS, "cross-modal", "--")):
        steps, values = curves[name]
        axes.plot(steps, values, style, label=label, linewidth=3 if style == "-" else 1.4)
    axes.axhline(1.0, color="grey", linestyle=":", label="static equal weights")
    axes.set_ylim(0, 1.1 * max(1.0, *(curves[name][1].max() for name in (names.WEIGHT_INTRA, names.WEIGHT_CROSS))))
    _finish(figure, axes, path, "weight of the loss", "Loss weights")


def learning_rate(path: Path, curves: dict[str, Curve]) -> None:
    figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
    axes.plot(*curves[names.LEARNING_RATE], label="learning rate")
    _finish(figure, axes, path, "learning rate", "Learning rate")


def embedding(path: Path, before: Split, after: Split, categories: Sequence[str]) -> None:
    """t-SNE of the same shapes' features under random weights and after pretraining, a colour and a marker a category."""
    keep = np.linspace(0, len(after.labels) - 1, min(len(after.labels), MOST_SHAPES)).astype(int)
    colours = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
    figure, both = plt.subplots(1, 2, figsize=(12, 5.6), layout="constrained")
    for axes, split, title in ((both[0], before, "random weights"), (both[1], after, "after pretraining")):
        xy = _two_dimensions(split.features[keep])
        for number in np.unique(split.labels[keep]):
            rows = split.labels[keep] == number
            colour, marker = colours[number % len(colours)], MARKERS[number // len(colours) % len(MARKERS)]
            axes.scatter(xy[rows, 0], xy[rows, 1], s=28, color=colour, marker=marker, label=categories[number])
        axes.set_title(title)
        axes.set_xlabel("t-SNE 1")
        axes.set_ylabel("t-SNE 2")
        axes.set_xticks([])
        axes.set_yticks([])
    handles, labels = both[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, title="category")
    figure.suptitle(f"Features of {len(keep)} validation shapes")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def clouds(path: Path, points_BNC: np.ndarray, titles: Sequence[str]) -> None:
    """A row of clouds [B, N, 3], y up, coloured by height."""
    figure = plt.figure(figsize=(2.2 * len(points_BNC), 2.6), layout="constrained")
    for number, (cloud, title) in enumerate(zip(points_BNC, titles, strict=True)):
        axes = figure.add_subplot(1, len(points_BNC), number + 1, projection="3d")
        axes.scatter(cloud[:, 0], -cloud[:, 2], cloud[:, 1], c=cloud[:, 1], cmap="viridis", s=3)
        axes.set_box_aspect((1, 1, 1), zoom=1.3)
        for limit in (axes.set_xlim, axes.set_ylim, axes.set_zlim):
            limit(-0.8, 0.8)
        axes.set_axis_off()
        axes.set_title(title, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _two_dimensions(features: np.ndarray) -> np.ndarray:
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-6)
    few = PCA(n_components=min(30, *scaled.shape), random_state=0).fit_transform(scaled)
    if len(features) < 5:
        return np.pad(few, ((0, 0), (0, 2)))[:, :2]
    perplexity = min(30.0, (len(features) - 1) / 3)
    xy: np.ndarray = TSNE(perplexity=perplexity, init="random", learning_rate="auto", random_state=0).fit_transform(few)
    return xy


def _finish(figure: plt.Figure, axes: plt.Axes, path: Path, quantity: str, title: str) -> None:
    axes.set_xlabel("optimizer step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(quantity)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
