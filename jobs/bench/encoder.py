"""The fast DGCNN against the textbook's: seconds and memory of a training step and of inference, and how far the two answers differ.

`python -m jobs.bench.encoder fast|textbook SETTINGS` measures one side in this process and prints JSON. Imports torch and numpy alone.
"""
from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from jobs.bench import textbook
from jobs.bench.fresh import alternate, compared, memory_mb, run_fresh
from jobs.models import dgcnn
from jobs.models.tf32 import allow_tf32

K = 20
SIDES = ("fast", "textbook")
MODULE = "jobs.bench.encoder"
# Rows of the table: device, mode, clouds, threads, precision and the ratios asked for (time, memory).
CPU_ROWS: tuple[tuple[dict[str, Any], float | None, float | None], ...] = (
    ({"device": "cpu", "mode": "train", "batch": 4, "points": 2048, "threads": 1}, 5.0, None),
    ({"device": "cpu", "mode": "inference", "batch": 4, "points": 2048, "threads": 1}, 7.5, None),
    ({"device": "cpu", "mode": "train", "batch": 4, "points": 2048, "threads": 2}, 3.5, None),
    ({"device": "cpu", "mode": "inference", "batch": 4, "points": 2048, "threads": 2}, 5.0, None),
    ({"device": "cpu", "mode": "train", "batch": 16, "points": 2048, "threads": 2, "once": True}, None, 8.0),
    ({"device": "cpu", "mode": "inference", "batch": 16, "points": 2048, "threads": 2, "once": True}, None, 12.0),
)
CUDA_ROWS: tuple[tuple[dict[str, Any], float | None, float | None], ...] = (
    ({"device": "cuda", "mode": "train", "batch": 64, "points": 2048, "precision": "float32"}, 8.0, 8.0),
    ({"device": "cuda", "mode": "inference", "batch": 64, "points": 2048, "precision": "float32"}, 8.0, None),
    ({"device": "cuda", "mode": "train", "batch": 64, "points": 2048, "precision": "tf32"}, 12.0, None),
    ({"device": "cuda", "mode": "train", "batch": 64, "points": 2048, "precision": "bf16"}, 12.0, None),
)


def measure(rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One result a row: seconds of both sides, textbook over fast; the same of memory where it is measured; the row's own error."""
    rows = CPU_ROWS + (CUDA_ROWS if torch.cuda.is_available() else ())
    results = []
    for settings, wanted_time, wanted_memory in rows:
        error = run_fresh(MODULE, "error", {**settings, "batch": 2, "points": 1024})
        found = alternate(MODULE, SIDES, settings, 1 if settings.get("once") else rounds, say)
        result = {"benchmark": "encoder", **settings, **compared({side: [one["seconds"] for one in found[side]] for side in SIDES})}
        result |= {"unit": "s", "target": wanted_time and f"at least {wanted_time:g}", **error}
        if settings.get("once") or settings["device"] == "cuda":
            memory = compared({side: [one["peak_mb"] for one in found[side]] for side in SIDES})
            result |= {f"memory_{key}": value for key, value in memory.items()}
            result["memory_target"] = wanted_memory and f"at least {wanted_memory:g}"
        results.append(result)
    return results


def _measure_side(side: str, settings: dict[str, Any]) -> dict[str, float]:
    device = torch.device(settings["device"])
    torch.set_num_threads(settings.get("threads", 1))
    allow_tf32(settings.get("precision") == "tf32")
    model = _model(side).to(device)
    points_BNC = clouds(settings["batch"], settings["points"]).to(device)
    run = _training(model, points_BNC, settings) if settings["mode"] == "train" else _inference(model, points_BNC, settings)
    if settings.get("once"):
        return _once(run)
    for _ in range(3 if device.type == "cuda" else 1):
        run()
    # With one thread, the process's own time: what other processes take of the core is not counted.
    clock = time.process_time if settings.get("threads") == 1 else time.perf_counter
    seconds = []
    for _ in range(20 if device.type == "cuda" else 3):
        start = clock()
        run()
        _wait(device)
        seconds.append(clock() - start)
    peak = {"peak_mb": torch.cuda.max_memory_allocated() / 2**20} if device.type == "cuda" else {}
    return {"seconds": statistics.median(seconds), **peak}


def _once(run: Callable[[], None]) -> dict[str, float]:
    """One call and what it adds to the process's memory."""
    before, start = memory_mb("VmRSS"), time.perf_counter()
    run()
    return {"seconds": time.perf_counter() - start, "peak_mb": memory_mb("VmHWM") - before}


def _training(model: nn.Module, points_BNC: Tensor, settings: dict[str, Any]) -> Callable[[], None]:
    model.train()

    def step() -> None:
        model.zero_grad(set_to_none=True)
        _features(model, points_BNC, settings.get("precision")).square().mean().backward()

    return step


def _inference(model: nn.Module, points_BNC: Tensor, settings: dict[str, Any]) -> Callable[[], None]:
    model.eval()

    def forward() -> None:
        with torch.inference_mode():
            _features(model, points_BNC, settings.get("precision"))

    return forward


def _features(model: nn.Module, points_BNC: Tensor, precision: str | None) -> Tensor:
    with torch.autocast(points_BNC.device.type, torch.bfloat16, enabled=precision == "bf16"):
        feat_BD: Tensor = model(points_BNC)
    return feat_BD.float()


def _model(side: str) -> nn.Module:
    torch.manual_seed(0)
    fast = dgcnn.DGCNN(K)
    if side == "fast":
        return fast
    model = textbook.TextbookDGCNN(K)
    model.load_state_dict(fast.state_dict())
    return model


def clouds(batch: int, points: int) -> Tensor:
    """Points on ellipsoids: surfaces, as scanned and sampled clouds are."""
    generator = torch.Generator().manual_seed(1)
    axes_B1C = 0.3 + 0.7 * torch.rand(batch, 1, 3, generator=generator)
    return torch.nn.functional.normalize(torch.randn(batch, points, 3, generator=generator), dim=2) * axes_B1C


def _error(settings: dict[str, Any]) -> dict[str, float]:
    """Largest difference of the fast features, in the row's precision, from the textbook's in float32, relative to the largest of these.

    Both take the textbook's neighbours: of two that are equally near, either may be chosen.
    """
    torch.set_num_threads(settings.get("threads", 1))
    points_BNC = clouds(settings["batch"], settings["points"]).to(settings["device"])
    fast, slow = (_model(side).to(settings["device"]).train(settings["mode"] == "train") for side in SIDES)
    chosen: list[Tensor] = []

    def remember(x_BNC: Tensor, k: int) -> Tensor:
        chosen.append(own_neighbours(x_BNC, k))
        return chosen[-1]

    own_neighbours, textbook.neighbours = textbook.neighbours, remember
    with torch.no_grad():
        allow_tf32(False)
        expected_BD = _features(slow, points_BNC, "float32")
        replay = iter(chosen)
        rows = points_BNC.shape[0] * points_BNC.shape[1]
        starts_B11 = torch.arange(0, rows, points_BNC.shape[1], device=points_BNC.device)[:, None, None]
        dgcnn.nearest_rows = lambda rows_MC, layout, k: (next(replay) + starts_B11).flatten(0, 1)
        allow_tf32(settings.get("precision") == "tf32")
        found_BD = _features(fast, points_BNC, settings.get("precision"))
    return {"largest_relative_error": float((found_BD - expected_BD).abs().max() / expected_BD.abs().max())}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    name, values = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps(_error(values) if name == "error" else _measure_side(name, values)))
