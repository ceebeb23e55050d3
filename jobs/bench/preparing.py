"""Preparing with two tasks against one: the same raw PLY shapes with views, each side on a Ray of its own with so many cores.

`python -m jobs.bench.preparing one|two SETTINGS` runs one side and prints its seconds as JSON: those of the shards, without Ray's start.
"""
from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs.bench.fresh import alternate, compared
from jobs.bench.reading import write_layouts
from jobs.config.datasets import ShapenetRender

MODULE = "jobs.bench.preparing"
SIDES = {"two": 2, "one": 1}  # cores
SHAPES, POINTS, VIEWS = 1600, 2048, 4


def measure(rounds: int, say: Callable[[str], None], shapes: int = SHAPES) -> dict[str, Any]:
    """Seconds of both sides; one over two."""
    import_module("ray")  # known to be there before shapes are made
    with tempfile.TemporaryDirectory() as name:
        write_layouts(Path(name), shapes)
        found = alternate(MODULE, tuple(SIDES), {"folder": name, "points": POINTS}, rounds, say)
    seconds = {side: [one["seconds"] for one in found[side]] for side in SIDES}
    return {"benchmark": "preparing", "shapes": shapes, "points": POINTS, **compared(seconds), "unit": "s", "target": "at least 1.7"}


def _side(side: str, settings: dict[str, Any]) -> dict[str, float]:
    import ray

    from jobs.prepare import prepare

    folder = Path(settings["folder"])
    with tempfile.TemporaryDirectory(dir=folder) as out:
        ray.init(num_cpus=SIDES[side], include_dashboard=False, logging_level=logging.WARNING, log_to_driver=False)
        ray.get([_ready.remote() for _ in range(2 * SIDES[side])])  # processes and their imports
        config = ShapenetRender(
            kind="shapenet-render", source=folder / "ascii", target=Path(out) / "data", points=settings["points"], views=VIEWS
        )
        start = time.perf_counter()
        prepare(config, say=lambda line: None, parallel=True)
        return {"seconds": time.perf_counter() - start}


def _warm() -> None:
    import_module("jobs.data.building")
    time.sleep(0.5)  # so that every process gets one


if __name__ == "__main__":
    import ray

    _ready = ray.remote(_warm)
    print(json.dumps(_side(sys.argv[1], json.loads(sys.argv[2]))))
