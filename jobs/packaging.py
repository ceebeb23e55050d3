"""An encoder as an MLflow model: one file of its own code and a safetensors file, no pickle, no need of this repository.

The file is made from the modules of `jobs/models` that the backbone needs, joined in order of dependence with their imports of each
other removed. Nothing is written twice, and a registered version keeps the code that it was trained with: MLflow executes each
version's file as a module of its own, so versions with different code live in one process.
"""
from __future__ import annotations

import ast
import hashlib
import inspect
import tempfile
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from safetensors.torch import save_file

from jobs.config.evaluations import Evaluate
from jobs.config.sections import Backbone
from jobs.models.tables import build_backbone

MODELS = "jobs.models"

# What is appended to the encoder's own code. {class_name} and {settings} are filled in.
PYFUNC = '''

# How MLflow calls the encoder.
import mlflow
import numpy as np
from safetensors.torch import load_file

MOST_CLOUDS = 32  # a forward pass


class FrozenEncoder:
    """predict(points float32 [B, N, 3]) -> features float32 [B, D]."""

    def load_context(self, context):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        encoder = {class_name}(**{settings})
        encoder.load_state_dict(load_file(context.artifacts["weights"]))
        self.encoder = encoder.eval().to(self.device)

    def predict(self, context, model_input, params=None):
        points = np.ascontiguousarray(model_input, dtype=np.float32)
        if points.ndim != 3 or points.shape[2] != 3:
            raise ValueError(f"points must be float32 [B, N, 3]; got {{list(points.shape)}}")
        with torch.inference_mode():
            parts = [self.encoder(chunk.to(self.device)).float().cpu() for chunk in torch.from_numpy(points).split(MOST_CLOUDS)]
        return torch.cat(parts).numpy()


class EncoderModel(FrozenEncoder, mlflow.pyfunc.PythonModel):
    """Inherits `predict`, so that MLflow does not ask it for type hints: the model's signature says what goes in and out."""


mlflow.models.set_model(EncoderModel())
'''


def encoder_code(backbone: Backbone) -> str:
    """The text of the one file. ValueError when two of the joined modules define the same name at their top level."""
    encoder = build_backbone(backbone.name, k=backbone.k)
    order = _in_order_of_dependence(type(encoder).__module__)
    owners: dict[str, str] = {}
    pieces = ["from __future__ import annotations\n"]
    for module in order:
        text, defined = _without_own_imports(module)
        for name in defined:
            if owners.setdefault(name, module) != module:
                raise ValueError(f"{module} and {owners[name]} both define {name} at their top level: rename one, they share a file")
        pieces.append(f"\n# ---- {module}\n{text}")
    parameters = inspect.signature(type(encoder).__init__).parameters
    settings = {"k": backbone.k} if "k" in parameters else {}
    return "".join(pieces) + PYFUNC.format(class_name=type(encoder).__name__, settings=settings)


def log_encoder(
    client: MlflowClient, run_id: str, *, name: str, backbone: Backbone, weights: dict[str, torch.Tensor], step: int, tags: dict[str, str]
) -> str:
    """Logs the encoder as a LoggedModel of the run and returns its model id; the one that is there already, if these weights are."""
    digest, experiment = weights_digest(weights), client.get_run(run_id).info.experiment_id
    for model in client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'"):
        if model.name == name and model.tags.get("weights.digest") == digest and model.status == LoggedModelStatus.READY:
            return str(model.model_id)
    model = client.create_logged_model(
        experiment,
        name=name,
        source_run_id=run_id,
        tags={**tags, "weights.digest": digest, "backbone": backbone.name},
        params={"backbone": backbone.name, "k": str(backbone.k)},
    )
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "model", backbone, weights, Model(model_id=model.model_id, run_id=run_id))
        client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=step)])
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def save(path: Path, backbone: Backbone, weights: dict[str, torch.Tensor], described: Model | None = None) -> None:
    """Writes the MLflow model folder: what `mlflow.pyfunc.load_model(path)` reads."""
    features = int(build_backbone(backbone.name, k=backbone.k).feature_dim)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example.*", category=UserWarning)  # the signature is given
        code, tensors = Path(folder) / "encoder.py", Path(folder) / "encoder.safetensors"
        code.write_text(encoder_code(backbone))
        save_file({key: value.contiguous().clone() for key, value in weights.items()}, tensors)
        mlflow.pyfunc.save_model(
            path,
            mlflow_model=described,
            python_model=str(code),
            artifacts={"weights": str(tensors)},
            signature=ModelSignature(
                inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, -1, 3))]),
                outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, features))]),
            ),
            pip_requirements=requirements(),
        )


def requirements() -> list[str]:
    """What a process needs to load the model: no project of ours among it."""
    return [f"{package}=={version(package).split('+')[0]}" for package in ("mlflow", "torch", "safetensors", "numpy")]


def weights_digest(weights: dict[str, torch.Tensor]) -> str:
    """16 hex digits of names, shapes and values."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        total.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()[:16]


def _in_order_of_dependence(module: str) -> list[str]:
    order: list[str] = []
    for needed in _own_imports(_tree(module), module):
        order += [name for name in _in_order_of_dependence(needed) if name not in order]
    return [*order, module]


def _own_imports(tree: ast.Module, module: str) -> list[str]:
    found = []
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom) or not _is_own(node):
            continue
        if any(alias.asname for alias in node.names) or node.module is None:
            raise ValueError(f"{module} line {node.lineno}: import names of {MODELS} as `from .module import name`, without `as`")
        found.append(f"{MODELS}.{node.module.removeprefix(MODELS + '.')}")
    return found


def _is_own(node: ast.ImportFrom) -> bool:
    return node.level > 0 or (node.module or "").startswith(MODELS)


def _is_optional_import(node: ast.stmt) -> bool:
    """`try: from .kernels import name` with `except ImportError: name = None`: kernels that a packaged model does without."""
    return isinstance(node, ast.Try) and all(isinstance(one, ast.ImportFrom) and _is_own(one) for one in node.body)


def _without_own_imports(module: str) -> tuple[str, list[str]]:
    """The module's text without its imports of siblings and of __future__, and the names it defines at its top level."""
    tree, lines = _tree(module), _source(module).splitlines()
    dropped: set[int] = set()
    defined: list[str] = []
    for choice in filter(_is_optional_import, list(tree.body)):
        assert isinstance(choice, ast.Try)
        kept = choice.handlers[0].body  # what stands in where the optional modules are missing, as they are here
        dropped.update(set(range(choice.lineno, (choice.end_lineno or choice.lineno) + 1)) - {node.lineno for node in kept})
        for node in kept:
            lines[node.lineno - 1] = lines[node.lineno - 1].lstrip()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (_is_own(node) or node.module == "__future__"):
            dropped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.append(node.name)
        elif isinstance(node, ast.Assign):
            defined += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.append(node.target.id)
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in dropped) + "\n", defined


def _source(module: str) -> str:
    return inspect.getsource(import_module(module))


def _tree(module: str) -> ast.Module:
    return ast.parse(_source(module))


def registered_version(client: MlflowClient, model: str) -> ModelVersion:
    """The version that `models:/NAME/VERSION` or `models:/NAME@ALIAS` names; ValueError when there is none."""
    name, at, alias = model.removeprefix("models:/").partition("@")
    try:
        if at:
            return client.get_model_version_by_alias(name, alias)
        name, _, number = name.rpartition("/")
        return client.get_model_version(name, number)
    except MlflowException as error:
        form = "write models:/NAME/VERSION or models:/NAME@ALIAS"
        raise ValueError(f"{model}: no such registered version ({error.message}); {form}") from None


def points_of(version: ModelVersion) -> int:
    """Points a cloud that a version was judged on; the usual number where it does not say."""
    return int(version.tags.get("protocol.points", Evaluate().points))


def load_encoder(model: str) -> Any:
    """The pyfunc model at a `models:/...` URI; ValueError, naming the URI, when MLflow does not have it."""
    try:
        return mlflow.pyfunc.load_model(model)
    except MlflowException as error:
        raise ValueError(f"{model} cannot be loaded from {mlflow.get_tracking_uri()}: {error.message}") from None
