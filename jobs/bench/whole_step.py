"""A whole pretraining step, with the fast encoder and with the textbook's: at the published size, and at that of `make run`.

Both see views of the published augmentation, whose dropout makes many points copies of one. The fast side is the step as the project's own
settings have it: towers in channels-last at the published size, a fused Adam.

`python -m jobs.bench.whole_step fast|textbook SETTINGS` measures one side in this process and prints JSON. Imports torch and numpy alone.
"""
from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from jobs.bench.encoder import SIDES, clouds
from jobs.bench.fresh import alternate, compared
from jobs.bench.textbook import TextbookDGCNN
from jobs.data.augment import augment_clouds
from jobs.losses.objective import pretraining_losses
from jobs.models.crossmodal import CrossModal

SETTINGS: dict[str, Any] = {
    "device": "cpu", "shapes": 4, "points": 2048, "k": 20, "tower": "resnet50", "size": 224, "threads": 1, "channels_last": True,
}  # fmt: skip
CUDA_SETTINGS: dict[str, Any] = {**SETTINGS, "device": "cuda", "shapes": 32}
QUICKSTART: dict[str, Any] = {"device": "cpu", "shapes": 16, "points": 128, "k": 10, "tower": "resnet18", "size": 32, "threads": 2}


def measure(rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Median seconds of a step on both sides and textbook over fast."""
    results = []
    rows = ((SETTINGS, "at least 3.5"), (QUICKSTART, None), *([(CUDA_SETTINGS, None)] if torch.cuda.is_available() else []))
    for settings, target in rows:
        found = alternate("jobs.bench.whole_step", SIDES, settings, rounds, say)
        figures = compared({side: [one["seconds"] for one in found[side]] for side in SIDES})
        results.append({"benchmark": "whole_step", **settings, **figures, "unit": "s", "target": target})
    return results


def _measure_side(side: str, settings: dict[str, Any]) -> dict[str, float]:
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    device, shapes, size = torch.device(settings["device"]), settings["shapes"], settings["size"]
    model = CrossModal("dgcnn", settings["k"], settings["tower"], grey=True)
    if side == "textbook":
        model.encoder = TextbookDGCNN(settings["k"])
    elif settings.get("channels_last"):  # as the published settings ask for; the usual step does without, as without the fused Adam
        for tower in (model.rgb, model.grey):
            assert tower is not None
            tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=side == "fast")
    generators = [np.random.default_rng(view) for view in range(2 * shapes)]
    points_2BNC = augment_clouds(list(clouds(2 * shapes, settings["points"]).numpy()), generators, settings["points"]).to(device)
    rgb_B3HW, grey_B1HW = torch.randn(shapes, 3, size, size, device=device), torch.randn(shapes, 1, size, size, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        z_points_2BE, z_rgb_BE, z_grey_BE = model(points_2BNC, rgb_B3HW, grey_B1HW)
        losses_K = pretraining_losses(
            z_points_2BE,
            z_rgb_BE,
            z_grey_BE,
            cross="crossnet-con",
            temperature=0.2,
            same_sample_negatives=False,
            ids_B=torch.arange(shapes, device=device),
            counts=[shapes],
        )
        losses_K.sum().backward()
        optimizer.step()

    step()
    clock = time.process_time if device.type == "cpu" and settings["threads"] == 1 else time.perf_counter
    seconds = []
    for _ in range(2 if device.type == "cpu" else 10):
        start = clock()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    return {"seconds": statistics.median(seconds)}


if __name__ == "__main__":
    print(json.dumps(_measure_side(sys.argv[1], json.loads(sys.argv[2]))))
