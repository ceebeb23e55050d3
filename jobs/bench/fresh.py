"""A and B in turn, each time in a fresh process, so that neither inherits the other's caches, allocator or clock speed."""
from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def alternate(
    module: str, sides: Sequence[str], settings: Mapping[str, Any], rounds: int, say: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """Runs `python -m module SIDE SETTINGS` (settings as JSON) `rounds` times a side, the first side changing from round to round.

    Each process prints one JSON object as its last line; returns these by side. RuntimeError, with what it wrote last, when one fails.
    """
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else tuple(reversed(sides)):
            found[side].append(run_fresh(module, side, settings))
            say(f"{module.rpartition('.')[2]} {_words(settings)}, round {number + 1}/{rounds}, {side}: {_words(found[side][-1])}")
    return found


def run_fresh(module: str, side: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One such process."""
    threads = str(settings.get("threads", 1))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [sys.executable, "-m", module, side, json.dumps(dict(settings))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def compared(values: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Of two sides' figures, one a round: both medians, the second's over the first's, and the same ratio of every round."""
    (one, ones), (other, others) = values.items()
    medians = {one: statistics.median(ones), other: statistics.median(others)}
    return {"medians": medians, "ratio": medians[other] / medians[one], "ratios": [b / a for a, b in zip(ones, others, strict=True)]}


def memory_mb(which: str) -> float:
    """VmRSS or VmHWM (its peak) of this process; `ru_maxrss` would begin at that of the process which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:")) / 2**10


def _words(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items())
