"""The encoder that an evaluation judges, wherever it is kept: the registry, a run, a checkpoint's folder, or a published file."""
from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file

from jobs.config.evaluations import Evaluate
from jobs.config.sections import Backbone
from jobs.evaluation.features import Encode, encode_with
from jobs.import_published import settings_of
from jobs.models.published import fit, read_file
from jobs.models.tables import build_backbone
from jobs.packaging import load_encoder, points_of, registered_version
from jobs.pretraining import checkpoint

RUN = re.compile(r"(runs:/)?([0-9a-f]{32})")
MODEL = re.compile(r"models:/(m-[0-9a-f]{32})")
FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, a run's id, a checkpoint's folder or a published .pth file"


@dataclass(frozen=True)
class Judged:
    """An encoder and what its scores are attached to, as far as it has that."""

    label: str  # how reports call it
    backbone: Backbone
    weights: dict[str, torch.Tensor] = field(repr=False)
    points: int  # a cloud, unless the evaluation says otherwise
    model_id: str | None = None  # of its LoggedModel
    version: ModelVersion | None = None
    run_id: str | None = None  # that made it

    def module(self) -> torch.nn.Module:
        """The encoder in this tree's code."""
        encoder = build_backbone(self.backbone.name, self.backbone.k)
        encoder.load_state_dict(self.weights)
        return encoder

    def encode(self, device: torch.device) -> Encode:
        """Its features, of a registered one by the code that it was registered with."""
        if self.model_id is not None:
            predict: Encode = load_encoder(f"models:/{self.model_id}").predict
            return predict
        return encode_with(self.module(), device)


def find_judged(
    client: MlflowClient, model: str, *, backbone: str | None = None, variant: str | None = None, k: int | None = None
) -> Judged:
    """What `model` names. `backbone`, `variant` and `k` say what a published file or an old checkpoint does not hold.

    ValueError, with the forms that are known, when there is no such thing or it cannot be read.
    """
    path = Path(model)
    if not path.exists() and (backbone, variant, k) != (None, None, None):
        raise ValueError(f"{model} says itself which encoder it is: --backbone, --variant and --k are for files and older checkpoints")
    if found := MODEL.fullmatch(model):
        return _logged(client, found[1], label=model, version=None)
    if model.startswith("models:/"):
        version = registered_version(client, model)
        model_id = version.model_id or mlflow.models.get_model_info(str(version.source)).model_id
        if model_id is None:
            raise ValueError(f"{model} has no LoggedModel: was it registered by another project?")
        return _logged(client, model_id, label=f"{version.name} version {version.version}", version=version)
    if found := RUN.fullmatch(model):
        return _of_run(client, found[2])
    if path.is_dir():
        return _of_checkpoint(path, backbone, k)
    if path.is_file():
        if backbone is None:
            raise ValueError(f"{model} does not say which encoder it holds: give --backbone, and --variant or --k")
        settings = settings_of(backbone, variant, k)
        reading = fit(read_file(path), build_backbone(settings.name, settings.k))
        return Judged(path.name, settings, reading.weights, Evaluate().points)
    raise ValueError(f"there is no {model}: name {FORMS}")


def _logged(client: MlflowClient, model_id: str, label: str, version: ModelVersion | None) -> Judged:
    try:
        model = client.get_logged_model(model_id)
    except MlflowException as error:
        raise ValueError(f"{label}: no such model in MLflow ({error.message})") from None
    params: dict[str, Any] = model.params
    if not {"backbone", "k"} <= params.keys():
        raise ValueError(f"the model {model_id} does not say its backbone: was it registered by another project?")
    backbone = Backbone.model_validate({"name": params["backbone"], "k": int(params["k"])})
    with tempfile.TemporaryDirectory() as folder:
        place = Path(mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=folder))
        files = sorted(place.rglob("encoder.safetensors"))
        if not files:
            raise ValueError(f"the model {model_id} holds no encoder.safetensors: was it logged by another project?")
        weights = load_file(files[0])
    points = points_of(version) if version is not None else Evaluate().points
    return Judged(label, backbone, weights, points, model_id, version, model.source_run_id)


def _of_run(client: MlflowClient, run_id: str) -> Judged:
    try:
        experiment = client.get_run(run_id).info.experiment_id
    except MlflowException as error:
        raise ValueError(f"there is no run {run_id} ({error.message}): name {FORMS}") from None
    found = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'")
    models = {model.name: model for model in found if model.status == LoggedModelStatus.READY}
    if not models:
        raise ValueError(f"the run {run_id} logged no encoder: name the run of a pretraining (its stage `pretrain`) or of an import")
    chosen = models.get("encoder") or max(models.values(), key=lambda model: int(model.tags.get("epoch", 0)))
    return _logged(client, str(chosen.model_id), label=f"{chosen.name} of run {run_id[:8]}", version=None)


def _of_checkpoint(folder: Path, backbone: str | None, k: int | None) -> Judged:
    if not (folder / checkpoint.MANIFEST).is_file():
        raise ValueError(f"{folder} holds no {checkpoint.MANIFEST}: it is no checkpoint of a pretraining; name {FORMS}")
    reason = checkpoint.fault(folder)
    if reason is not None:
        raise ValueError(f"{folder} is not a complete checkpoint: {reason}")
    known = checkpoint.facts(folder).get("backbone") or {}
    asked = {"name": backbone or known.get("name"), "k": k or known.get("k")}
    if asked["name"] is None:
        raise ValueError(f"{folder} does not say which encoder it holds (an older version wrote it): give --backbone and --k")
    settings = Backbone.model_validate({key: value for key, value in asked.items() if value is not None})
    weights = checkpoint.encoder_weights(folder)
    try:
        build_backbone(settings.name, settings.k).load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{folder} holds no {settings.name}: {str(error).splitlines()[1].strip()}") from None
    return Judged(f"checkpoint {folder.name}", settings, weights, Evaluate().points)
