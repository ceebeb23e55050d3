"""What runs beside the training after an epoch: the linear SVM that selects, and the best checkpoint's keeping."""
from __future__ import annotations

from pathlib import Path

import torch

from jobs.config import Pipeline
from jobs.config.published import SELECTION_C
from jobs.config.sections import Backbone
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.features import encode_with, split_features
from jobs.evaluation.svm import Split, choose_c, score_at
from jobs.models.tables import build_backbone
from jobs.pretraining import checkpoint


def validate(config: Pipeline, folder: Path, run_folder: Path, device: torch.device) -> float:
    """The score of the checkpoint in `folder` that selects; keeps it when it is the best yet.

    Balanced accuracy on the probe's validation shapes at the best C; in a faithful mode accuracy on its test shapes at the paper's C.
    """
    encode = encode_with(load_encoder(config.pretrain.backbone, folder), device)
    settings, paper = config.evaluate, config.pretrain.paper_compat
    probe = config.probe_data.target
    assert probe is not None  # resolved configs name every target

    def features(split: str) -> Split:
        return split_features(encode, PreparedDataset(probe, split), points=settings.points, batch=settings.batch)

    if paper is None:
        score = choose_c(features("train"), features("val"), settings.c_grid)[2]["balanced_accuracy"]
    else:
        score = score_at(SELECTION_C[paper], features("train"), features("val"), features("test"))[0]["accuracy"]
    checkpoint.keep_best(folder, run_folder, score)
    return score


def load_encoder(backbone: Backbone, folder: Path) -> torch.nn.Module:
    """The encoder of a checkpoint, float32."""
    encoder = build_backbone(backbone.name, k=backbone.k)
    encoder.load_state_dict(checkpoint.encoder_weights(folder))
    return encoder
