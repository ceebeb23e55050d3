"""What runs beside the training after an epoch: the linear SVM on the validation split, and the best checkpoint's keeping."""
from __future__ import annotations

from pathlib import Path

import torch

from jobs.config import Pipeline
from jobs.config.sections import Backbone
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.features import encode_with, split_features
from jobs.evaluation.svm import choose_c
from jobs.models.tables import build_backbone
from jobs.pretraining import checkpoint


def validate(config: Pipeline, folder: Path, run_folder: Path, device: torch.device) -> float:
    """Balanced accuracy on the probe's validation shapes of the checkpoint in `folder`; keeps it when it is the best yet."""
    encoder = load_encoder(config.pretrain.backbone, folder)
    encode = encode_with(encoder, device)
    settings = config.evaluate
    probe = config.probe_data.target
    assert probe is not None  # resolved configs name every target
    train, val = (
        split_features(encode, PreparedDataset(probe, split), points=settings.points, batch=settings.batch) for split in ("train", "val")
    )
    _, _, scores = choose_c(train, val, settings.c_grid)
    checkpoint.keep_best(folder, run_folder, scores["balanced_accuracy"])
    return scores["balanced_accuracy"]


def load_encoder(backbone: Backbone, folder: Path) -> torch.nn.Module:
    """The encoder of a checkpoint, float32."""
    encoder = build_backbone(backbone.name, k=backbone.k)
    encoder.load_state_dict(checkpoint.encoder_weights(folder))
    return encoder
