"""Some shapes of a prepared dataset: as a contact sheet with views (OUT.png), or to be turned in a browser (OUT.html).

`python -m jobs.show DIR OUT [--shapes 12]`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jobs.config.places import Place, place_of
from jobs.data.images import decode
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.viewer import Shown, write_page

MOST_VIEWS = 4  # shown a shape
MOST_SHAPES = 120  # on a sheet: more take minutes to draw and nobody looks at
ACROSS, ACROSS_BARE = 2, 6  # shapes a row of the sheet, with views and without
CELL = 1.5  # inches a picture
LONGEST_NAME = 16  # characters of an id that fit above a cloud


def contact_sheet(folder: Place, out: Path, shapes: int) -> None:
    """Writes `out` (PNG) with `shapes` shapes, the classes in turn. ValueError when the folder is no prepared dataset."""
    dataset = PreparedDataset(folder, None)
    chosen = _spread(dataset.labels, shapes)
    views = min(MOST_VIEWS, max(dataset.view_count(row) for row in chosen))
    across = ACROSS if views else ACROSS_BARE
    rows, columns = -(-len(chosen) // across), across * (1 + views)
    figure, grid = plt.subplots(rows, columns, figsize=(columns * CELL, rows * (CELL + 0.3)), squeeze=False, layout="constrained")
    for axes in grid.flat:
        axes.set_axis_off()
    for place, row in enumerate(chosen):
        cells = grid[place // across][(place % across) * (1 + views) :]
        name = dataset.ids[row].rsplit("/", 1)[-1]
        shown = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
        title = f"{dataset.categories[dataset.labels[row]]}\n{shown} ({dataset.splits[row]})"
        cells[0].set_title(title, fontsize=7)
        points = dataset.points(row)
        upright = points if points.shape[1] == 3 else points[:, [0, 2, 1]] * np.array([1, 1, -1], np.float32)  # rooms have z up
        _cloud(cells[0], upright, dataset.parts(row), None if points.shape[1] == 3 else len(dataset.manifest["part_names"]))
        for axes, view in zip(cells[1:], dataset.views(row)[:views], strict=False):
            axes.imshow(decode(view))
    counts = ", ".join(f"{value['count']} {split}" for split, value in dataset.manifest["splits"].items())
    figure.suptitle(f"{dataset.manifest['name']}: {counts}, {dataset.manifest['points']} points a shape", fontsize=10)
    figure.savefig(out, dpi=110, metadata={"Software": None})
    plt.close(figure)


def page(folder: Place, out: Path, shapes: int) -> None:
    """Writes `out` (HTML) with `shapes` clouds to choose from, coloured by part where there are parts, else alike."""
    dataset = PreparedDataset(folder, None)
    shown = []
    for row in _spread(dataset.labels, shapes):
        parts = dataset.parts(row)
        labels = np.zeros(len(dataset.points(row)), np.int64) if parts is None else parts
        name = f"{dataset.categories[dataset.labels[row]]}: {dataset.ids[row]} ({dataset.splits[row]})"
        shown.append(Shown(name, dataset.points(row)[:, :3], {"": labels}))
    up = "y" if dataset.manifest["channels"] == 3 else "z"
    write_page(out, dataset.manifest["name"], shown, dataset.manifest["part_names"] or ["a point"], up)


def _spread(labels: NDArray[np.int64], count: int) -> list[int]:
    """Rows of `count` shapes, one a class in turn, sorted by class."""
    turns = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    order = [int(rows[turn]) for turn in range(max(map(len, turns))) for rows in turns if turn < len(rows)]
    return sorted(order[:count], key=lambda row: (labels[row], row))


def _cloud(axes: Axes, points: NDArray[np.float32], parts: NDArray[np.int16] | None, classes: int | None) -> None:
    """The cloud from the front, a little from above; coloured by part where there are parts (a class of `classes` in all pictures alike),
    else by depth."""
    yaw, pitch = np.deg2rad(30), np.deg2rad(20)
    x, y, z = (points - points.mean(0)).T
    across, depth = np.cos(yaw) * x + np.sin(yaw) * z, np.cos(yaw) * z - np.sin(yaw) * x
    up, depth = np.cos(pitch) * y - np.sin(pitch) * depth, np.cos(pitch) * depth + np.sin(pitch) * y
    order = np.argsort(depth)
    colour, table = (depth, "viridis") if parts is None else (np.unique(parts, return_inverse=True)[1], "tab10")
    if parts is not None and classes is not None:
        colour, table = parts, "tab20"
    low, high = (None, None) if classes is None else (0, classes - 1)
    axes.scatter(across[order], up[order], c=colour[order], cmap=table, s=2, linewidths=0, vmin=low, vmax=high)
    axes.set_aspect("equal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="a prepared dataset")
    parser.add_argument("out", type=Path, help="what to write: a PNG, or with .html a page")
    parser.add_argument("--shapes", type=int, default=12, help="how many shapes to show")
    arguments = parser.parse_args()
    try:
        if not 1 <= arguments.shapes <= MOST_SHAPES:
            raise ValueError(f"--shapes is {arguments.shapes}: a sheet shows 1 to {MOST_SHAPES}")
        if arguments.out.is_dir() or not arguments.out.parent.is_dir():
            raise ValueError(f"{arguments.out} is {'a folder' if arguments.out.is_dir() else 'in no folder'}: name a PNG or HTML file")
        draw = page if arguments.out.suffix == ".html" else contact_sheet
        draw(place_of(arguments.folder), arguments.out, arguments.shapes)
    except (ValueError, OSError) as error:
        sys.exit(f"show: error: {error}")
    print(f"show: {arguments.out}")


if __name__ == "__main__":
    main()
