"""A trial that is stopped early leaves its workers' cores to the next one: without that, a sweep hangs for ever."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.config import check_data
from jobs.prepare import prepare

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.soak
def test_a_trial_of_two_workers_stopped_early_leaves_room_for_the_next(tmp_path: Path) -> None:
    section = {"kind": "synthetic", "shapes": 160, "points": 64, "views": 1, "image_size": 32, "target": str(tmp_path / "data")}
    prepare(check_data(section, "test"), say=lambda line: None, parallel=False)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.sqlite'}"}
    command = [sys.executable, "-m", "tests.jobs.sweeping.stopped_trial", str(tmp_path / "data"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-2:] == ["1.0 stopped early 1", "0.5 done 3"]
