"""A registered encoder lives alone: no repository, no pickle, each version with its own code."""
import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs import packaging
from jobs.config.sections import Backbone
from jobs.models.tables import BACKBONES, build_backbone

POINTS = np.random.default_rng(0).normal(size=(5, 260, 3)).astype(np.float32)

ALONE = """
import sys
assert not any(name.split('.')[0] in ('jobs', 'service', 'cluster') for name in sys.modules)
import mlflow, numpy as np
points = np.load(sys.argv[1])
for number, path in enumerate(sys.argv[2:]):
    np.save(f"{path}.npy", mlflow.pyfunc.load_model(path).predict(points))
# Both again, in the other order: neither has taken the other's code.
models = [mlflow.pyfunc.load_model(path) for path in sys.argv[2:]]
for path, model in reversed(list(zip(sys.argv[2:], models))):
    assert (np.load(f"{path}.npy") == model.predict(points)).all()
assert 'jobs' not in sys.modules
"""


def encoder_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    encoder = build_backbone(name, k=8)
    encoder(torch.from_numpy(POINTS))  # moves the running statistics off their defaults
    return encoder.eval()


def features(encoder: torch.nn.Module) -> np.ndarray:
    with torch.inference_mode():
        return encoder(torch.from_numpy(POINTS)).numpy()


def run_alone(tmp_path: Path, *models: Path) -> list[np.ndarray]:
    np.save(tmp_path / "points.npy", POINTS)
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    # -I and -S: neither the working directory, nor PYTHONPATH, nor an editable install of this project can be imported.
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "OMP_NUM_THREADS": "1"}
    packages = str(Path(np.__file__).resolve().parents[1])
    starter = f"import sys; sys.path.insert(0, {packages!r}); sys.argv.pop(0); exec(open({str(script)!r}).read())"
    command = [sys.executable, "-I", "-S", "-c", starter, str(script), str(tmp_path / "points.npy"), *map(str, models)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr
    return [np.load(f"{model}.npy") for model in models]


def test_every_backbone_answers_like_the_encoder_where_this_repository_is_not(tmp_path: Path) -> None:
    encoders = {name: encoder_of(name) for name in BACKBONES}
    folders = []
    for name, encoder in encoders.items():
        packaging.save(tmp_path / name, Backbone(name=name, k=8), encoder.state_dict())  # type: ignore[arg-type]
        folders.append(tmp_path / name)
    for encoder, answer in zip(encoders.values(), run_alone(tmp_path, *folders), strict=True):
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, features(encoder), atol=1e-5)


def test_two_versions_with_different_code_live_in_one_process(tmp_path: Path) -> None:
    encoder, backbone = encoder_of("pointnet"), Backbone(name="pointnet")
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        packaging.save(folder, backbone, encoder.state_dict())
    code = two / "encoder.py"
    text = code.read_text()
    changed = text.replace("return torch.cat(parts).numpy()", "return 2 * torch.cat(parts).numpy()")
    assert changed != text
    code.write_text(changed)
    first, second = run_alone(tmp_path, one, two)
    np.testing.assert_allclose(second, 2 * first, rtol=1e-6)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_the_one_file_imports_nothing_of_ours(name: str) -> None:
    tree = ast.parse(packaging.encoder_code(Backbone(name=name)))  # type: ignore[arg-type]
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    known = {"__future__", "collections", "contextlib", "itertools", "math", "mlflow", "numpy", "safetensors", "torch", "typing"}
    assert {module.split(".")[0] for module in imported} <= known


@pytest.mark.parametrize("shape", [(4, 3), (2, 10, 4)])
def test_points_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    import mlflow

    packaging.save(tmp_path / "m", Backbone(name="pointnet"), encoder_of("pointnet").state_dict())
    with pytest.raises((ValueError, mlflow.MlflowException)):
        mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(np.zeros(shape, np.float32))
