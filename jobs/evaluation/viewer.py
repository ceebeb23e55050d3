"""Clouds to turn and zoom in a browser: a page of HTML that needs nothing else. N points, P parts or classes."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 20_000  # of a cloud: more and a page is slow to turn
POINT = 2.5  # pixels
GAP = 0.02  # between two clouds beside each other, of the page's width


@dataclass(frozen=True)
class Shown:
    """A cloud and what each of its points is, by one or two opinions (truth, prediction), shown beside each other; all clouds of a page
    have the same ones."""

    name: str
    points: NDArray[np.float32]  # [N, 3]
    labels: Mapping[str, NDArray[np.integer]]  # opinion -> [N], rows of `names`


def write_page(path: Path, title: str, shown: Sequence[Shown], names: Sequence[str], up: str) -> None:
    """Writes `path` with a list to choose a cloud from; `names` of the P parts, `up` the axis that points up, y or z.

    ValueError when there is nothing to show.
    """
    if not shown:
        raise ValueError(f"{path}: there is no cloud to show")
    import plotly.graph_objects as go  # half a second

    opinions = list(shown[0].labels)
    figure = go.Figure()
    for number, cloud in enumerate(shown):
        some = np.linspace(0, len(cloud.points) - 1, min(MOST_POINTS, len(cloud.points))).round().astype(int)
        x, y, z = cloud.points[some].T
        for place, labels in enumerate(cloud.labels.values()):
            of = np.asarray(labels)[some]
            figure.add_scatter3d(
                x=x, y=y, z=z, mode="markers", visible=number == 0, showlegend=False, scene=_scene(place), name=cloud.name,
                marker={"size": POINT, "color": _colours(of, cloud, len(names))}, text=[names[one] for one in of], hoverinfo="text",
            )  # fmt: skip
    per = len(opinions)
    buttons = [
        {"label": cloud.name, "method": "update", "args": [{"visible": [trace // per == number for trace in range(per * len(shown))]}]}
        for number, cloud in enumerate(shown)
    ]
    axes = {axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}
    width = (1 - GAP * (per - 1)) / per
    camera = {"up": {axis: float(axis == up) for axis in "xyz"}, "eye": {axis: 1.0 if axis == up else 1.7 for axis in "xyz"}}
    for place in range(per):
        left = place * (width + GAP)
        domain = {"x": [left, left + width], "y": [0, 0.92]}
        figure.update_layout({_scene(place): {**axes, "aspectmode": "data", "domain": domain, "camera": camera}})
        figure.add_annotation(text=opinions[place], x=left + width / 2, y=0.95, xref="paper", yref="paper", showarrow=False)
    figure.update_layout(
        title={"text": title, "x": 0.5}, margin={"l": 0, "r": 0, "t": 40, "b": 0}, paper_bgcolor="white",
        updatemenus=[{"buttons": buttons, "x": 0.0, "y": 1.0, "xanchor": "left", "yanchor": "top"}],
    )  # fmt: skip
    figure.write_html(path, include_plotlyjs=True, full_html=True, config={"displaylogo": False})


def _scene(place: int) -> str:
    return "scene" if place == 0 else f"scene{place + 1}"


def _colours(of: NDArray[np.integer], cloud: Shown, count: int) -> list[str]:
    """As in the still pictures: a shape's own parts in turn where there are many in all, else each class its own."""
    if count > 20:
        present = np.unique(np.concatenate([np.asarray(one) for one in cloud.labels.values()]))
        of, palette = np.searchsorted(present, of), "tab10"
    else:
        palette = "tab20"
    table = [matplotlib.colors.to_hex(one) for one in matplotlib.colormaps[palette].colors]  # type: ignore[attr-defined]
    return [table[one % len(table)] for one in of]
