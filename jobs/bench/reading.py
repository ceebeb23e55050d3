"""Reading a prepared dataset against reading the raw files an item at a time, as the published code does.

A third side reads the same dataset from a node's cache, as one at a URI is read.

All sides deliver the same for the same shapes in the same random order: the cloud [2048, 3] float32 and one decoded view
[137, 137, 3]. Files are in the page cache for all. The ratio is that of clouds/s; a side's figure is its median over rounds in turn.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from plyfile import PlyData

from jobs.bench.fresh import compared
from jobs.config.datasets import ShapenetRender, Synthetic
from jobs.data import synthetic
from jobs.data.augment import normalise, subset
from jobs.data.cache import Cache
from jobs.data.draws import generator
from jobs.data.images import decode
from jobs.data.prepared import PreparedDataset
from jobs.data.staging import Staged

SHAPES, POINTS, VIEWS, PIXELS = 600, 2048, 4, 137
ASKED = 2000  # clouds/s of one core, without images
DISTINCT = 48  # objects that are made; the others are these with fresh noise, which costs a reader the same
Delivered = tuple[NDArray[np.float32], NDArray[np.uint8]]


def measure(rounds: int, say: Callable[[str], None], shapes: int = SHAPES) -> list[dict[str, Any]]:
    """clouds/s of the prepared set without images over what is asked; a row each for ASCII and for binary PLY: clouds/s of them, with PNG,
    and of the prepared set, and how many times that is faster; and the set in a node's cache over the set itself."""
    from jobs.prepare import prepare

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cache").mkdir()
        write_layouts(folder, shapes)
        config = ShapenetRender(kind="shapenet-render", source=folder / "binary", target=folder / "prepared", points=POINTS, views=VIEWS)
        prepare(config, say=lambda line: None, parallel=False)
        dataset = PreparedDataset(folder / "prepared", None)
        copies = Staged(folder / "prepared", dataset.manifest, Cache(folder / "cache", 10**10))
        staged = PreparedDataset(folder / "prepared", None, files=copies)
        order = [(int(row), row % VIEWS) for row in generator("bench", "reading").permutation(len(dataset))]
        sides: dict[str, Callable[[], Iterable[Delivered]]] = {
            "prepared": lambda: (from_prepared(dataset, row, which) for row, which in order),
            "staged": lambda: (from_prepared(staged, row, which) for row, which in order),
            "ascii": lambda: (from_files(folder / "ascii", dataset.ids[row], which) for row, which in order),
            "binary": lambda: (from_files(folder / "binary", dataset.ids[row], which) for row, which in order),
        }
        _same(sides["prepared"], sides["ascii"])
        _same(sides["prepared"], sides["staged"])
        clouds = [_clouds_alone(dataset, order) for _ in range(rounds)]
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(rounds):
            for side in (*rates, *rates)[number % 4 : number % 4 + 4]:  # each begins in its turn
                start = time.perf_counter()
                count = sum(1 for _ in sides[side]())
                rates[side].append(count / (time.perf_counter() - start))
            line = ", ".join(f"{side} {rates[side][-1]:.0f} clouds/s" for side in sides)
            say(f"reading, round {number + 1}/{rounds}: {line}")
    asked = [float(ASKED)] * rounds
    alone = {"benchmark": "reading", "side": "clouds alone", "shapes": shapes, **compared({"asked": asked, "prepared": clouds})}
    return [
        {**alone, "unit": "clouds/s", "target": "at least 1"},
        {
            "benchmark": "reading",
            "side": "the cache over the folder",
            "shapes": shapes,
            **compared({"folder": rates["prepared"], "cache": rates["staged"]}),
            "unit": "clouds/s",
            "target": "at least 0.9",
        },
        *(
            {
                "benchmark": "reading",
                "side": f"{side} files",
                "shapes": shapes,
                **compared({side: rates[side], "prepared": rates["prepared"]}),
                "unit": "clouds/s",
                "target": target,
            }
            for side, target in (("ascii", "at least 4"), ("binary", None))
        ),
    ]


def _clouds_alone(dataset: PreparedDataset, order: list[tuple[int, int]]) -> float:
    """clouds/s in random order, each a subset of its points in the unit ball; no image."""
    start = time.perf_counter()
    for row, _ in order:
        cloud = dataset.points(row)
        normalise(torch.from_numpy(cloud[subset(generator("evaluation", dataset.ids[row]), len(cloud), POINTS // 2)][None]))
    return len(order) / (time.perf_counter() - start)


def from_prepared(dataset: PreparedDataset, row: int, which: int) -> Delivered:
    """A cloud of its own (copied off the map) and a decoded view."""
    return dataset.points(row).copy(), decode(dataset.view(row, which))


def from_files(folder: Path, sample_id: str, which: int) -> Delivered:
    """The usual way: parse the PLY with plyfile, list the views, open one with PIL."""
    vertex = PlyData.read(folder / "ShapeNet" / f"{sample_id}.ply")["vertex"]
    points = np.column_stack([vertex[axis] for axis in "xyz"]).astype(np.float32, copy=False)
    files = sorted((folder / "ShapeNetRendering" / sample_id / "rendering").glob("*.png"))
    with Image.open(files[which]) as image:
        return points, np.asarray(image.convert("RGB"))


def write_layouts(folder: Path, shapes: int) -> None:
    """The same synthetic shapes in the layout of ShapeNetRender twice: `ascii` and `binary` by their PLY files."""
    distinct = min(DISTINCT, shapes)
    config = Synthetic(kind="synthetic", shapes=distinct, points=POINTS, views=VIEWS, image_size=PIXELS)
    made = [synthetic.read(item, config) for item in synthetic.list_items(config)]
    for number in range(shapes):
        shape = made[number % distinct]
        noise = generator("bench", number).standard_normal(shape.points.shape)
        points = (shape.points + 1e-3 * noise).astype(np.float32)
        for form in ("ascii", "binary"):
            cloud = folder / form / "ShapeNet" / "00000000" / f"{number:05d}.ply"
            views = folder / form / "ShapeNetRendering" / "00000000" / cloud.stem / "rendering"
            cloud.parent.mkdir(parents=True, exist_ok=True)
            views.mkdir(parents=True)
            _write_ply(cloud, points, form == "ascii")
            for place, view in enumerate(shape.views):
                (views / f"{place:02d}.png").write_bytes(view)


def _write_ply(path: Path, points: NDArray[np.float32], ascii_text: bool) -> None:
    form = "ascii" if ascii_text else "binary_little_endian"
    fields = "".join(f"property float {axis}\n" for axis in "xyz")
    header = f"ply\nformat {form} 1.0\nelement vertex {len(points)}\n{fields}end_header\n"
    body = "".join(f"{x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in points.tolist()).encode() if ascii_text else points.astype("<f4").tobytes()
    path.write_bytes(header.encode() + body)


def _same(one: Callable[[], Iterable[Delivered]], other: Callable[[], Iterable[Delivered]]) -> None:
    """A third side reads the same dataset from a node's cache, as one at a URI is read.

All sides deliver the same clouds (up to the text's six decimals) and the same pixels, else the comparison means nothing."""
    for (points, image), (other_points, other_image) in zip(one(), other(), strict=True):
        assert np.abs(points - other_points).max() < 1e-6
        assert np.array_equal(image, other_image)
