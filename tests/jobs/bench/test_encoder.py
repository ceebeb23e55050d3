"""What `make bench` prints, and that its encoder part needs torch and numpy alone."""
import subprocess
import sys
from pathlib import Path

import torch

from jobs.bench.__main__ import table
from jobs.bench.encoder import K, clouds
from jobs.bench.textbook import TextbookDGCNN
from jobs.models.dgcnn import DGCNN


def test_the_table_says_of_every_target_whether_it_was_met() -> None:
    row = {"benchmark": "encoder", "mode": "train", "batch": 4, "ratio": 5.25, "target": "at least 5"}
    slow = {**row, "ratio": 4.99}
    memory = {**row, "once": True, "target": None, "memory_ratio": 8.5, "memory_target": "at least 8"}
    step = {"benchmark": "ray_step", "ratio": 1.06, "target": "at most 1.05"}
    free = {"benchmark": "reading", "side": "binary files", "ratio": 2.0, "target": None}
    lines = [line.split("  ") for line in table([row, slow, memory, step, free]).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines[1:]]
    assert cells == [
        ["encoder", "mode train batch 4", "5.25", "at least 5", "yes"],
        ["encoder", "mode train batch 4", "4.99", "at least 5", "no"],
        ["encoder memory", "mode train batch 4", "8.50", "at least 8", "yes"],
        ["ray_step", "1.06", "at most 1.05", "no"],
        ["reading", "side binary files", "2.00", "-"],
    ]


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
