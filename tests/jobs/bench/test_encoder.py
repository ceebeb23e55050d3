"""The encoder's benchmark: both sides give the same, its figures are each row's own, and it needs torch and numpy alone."""
import subprocess
import sys
from pathlib import Path

import torch

from jobs.bench.encoder import MODULE, K, clouds
from jobs.bench.fresh import run_fresh
from jobs.bench.textbook import TextbookDGCNN
from jobs.models.dgcnn import DGCNN


def test_the_encoder_benchmarks_import_torch_and_numpy_alone() -> None:
    refused = ["mlflow", "ray", "kornia", "sklearn", "scipy", "pydantic", "pyarrow", "PIL", "trimesh", "pyvista"]
    modules = "jobs.bench.encoder, jobs.bench.whole_step, jobs.bench.__main__"
    code = f"import sys; sys.modules.update(dict.fromkeys({refused}))\nimport {modules}"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_both_sides_of_the_benchmark_give_the_same_features() -> None:
    torch.manual_seed(0)
    fast, textbook = DGCNN(K).double(), TextbookDGCNN(K).double()
    textbook.load_state_dict(fast.state_dict())
    points_BNC = clouds(2, 64).double()
    torch.testing.assert_close(fast(points_BNC), textbook(points_BNC), rtol=1e-10, atol=1e-10)


def test_a_rows_error_is_of_its_own_precision() -> None:
    row = {"device": "cpu", "mode": "train", "batch": 2, "points": 64}
    exact, rounded = (run_fresh(MODULE, "error", {**row, "precision": each})["largest_relative_error"] for each in ("float32", "bf16"))
    assert exact < 1e-4
    assert 1e-3 < rounded < 0.1


def test_memory_is_measured_of_a_single_call_alone_on_cpus() -> None:
    row = {"device": "cpu", "mode": "inference", "batch": 1, "points": 64, "threads": 1}
    assert run_fresh(MODULE, "fast", row).keys() == {"seconds"}
    peaks = {side: run_fresh(MODULE, side, {**row, "points": 512, "once": True})["peak_mb"] for side in ("fast", "textbook")}
    assert 0 < peaks["fast"] < peaks["textbook"]
