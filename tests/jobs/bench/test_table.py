"""What `make bench` prints."""
from typing import Any

from jobs.bench.fresh import compared
from jobs.bench.table import missed, table

ENCODER: dict[str, Any] = {"benchmark": "encoder", "mode": "train", "batch": 4, "unit": "s", "largest_relative_error": 3.21e-6}


def memory(one: float, other: float) -> dict[str, Any]:
    return {f"memory_{key}": value for key, value in compared({"fast": [one], "textbook": [other]}).items()}


def test_the_table_shows_both_sides_spread_and_error_and_of_every_target_whether_it_was_met() -> None:
    row = {**ENCODER, **compared({"fast": [0.1, 0.2, 0.3], "textbook": [0.4, 1.05, 1.8]}), "target": "at least 5"}
    slow = {**row, "target": "at least 5.5", "largest_relative_error": 2e-2}
    once = {**row, "once": True, "target": None, **memory(100, 850), "memory_target": "at least 8"}
    cuda = {**row, "device": "cuda", "target": None, **memory(100, 850), "memory_target": None}
    step = {"benchmark": "ray_step", **compared({"plain": [100.0], "ray": [106.0]}), "unit": "ms", "target": "at most 1.05"}
    free = {"benchmark": "reading", "side": "ascii", **compared({"ascii": [1e3], "prepared": [2e3]}), "unit": "clouds/s", "target": None}
    results = [row, slow, once, cuda, step, free]
    found = [line.split("  ") for line in table(results).splitlines()]
    train, on_cuda = "mode train batch 4", "device cuda mode train batch 4"
    seconds = ["fast 0.200 s", "textbook 1.050 s", "5.25", "4.00-6.00"]
    megabytes = ["fast 100 MB", "textbook 850 MB", "8.50", "8.50-8.50", "3.2e-06"]
    assert [[cell.strip() for cell in line if cell.strip()] for line in found[1:]] == [
        ["encoder", train, *seconds, "3.2e-06", "at least 5", "yes"],
        ["encoder", train, *seconds, "2.0e-02", "at least 5.5", "no"],
        ["encoder memory", train, *megabytes, "at least 8", "yes"],
        ["encoder", on_cuda, *seconds, "3.2e-06", "-"],
        ["encoder memory", on_cuda, *megabytes, "-"],
        ["ray_step", "plain 100 ms", "ray 106 ms", "1.06", "1.06-1.06", "at most 1.05", "no"],
        ["reading", "side ascii", "ascii 1000 clouds/s", "prepared 2000 clouds/s", "2.00", "2.00-2.00", "-"],
    ]
    assert missed(results) == [f"encoder {train}: 5.25, asked: at least 5.5", "ray_step : 1.06, asked: at most 1.05"]
