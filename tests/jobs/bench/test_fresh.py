"""Figures of fresh processes."""
import subprocess
import sys
from pathlib import Path

from jobs.bench.fresh import compared

ROOT = Path(__file__).parents[3]


def test_ratios_are_of_the_second_side_to_the_first_round_by_round() -> None:
    assert compared({"fast": [1.0, 2.0, 4.0], "slow": [3.0, 10.0, 8.0]}) == {
        "medians": {"fast": 2.0, "slow": 8.0},
        "ratio": 4.0,
        "ratios": [3.0, 5.0, 2.0],
    }


def test_peak_memory_is_that_of_the_process_itself_whatever_started_it() -> None:
    child = "from jobs.bench.fresh import memory_mb; a = memory_mb('VmHWM'); b = bytearray(2**26); print(a, memory_mb('VmHWM') - a)"
    parent = f"import subprocess, sys; b = bytearray(2**28); subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", parent], cwd=ROOT, capture_output=True, text=True, check=True)
    begins, added = map(float, done.stdout.split())
    assert begins < 100 and 60 < added < 70  # MB
