"""Frozen features of a prepared dataset. B clouds a batch, N points, D features."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from jobs.data.loading import evaluation_clouds
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.svm import Split
from jobs.models.batchnorm import BatchNorm

Encode = Callable[[np.ndarray], np.ndarray]  # points float32 [B, N, 3] -> features [B, D]


def split_features(encode: Encode, dataset: PreparedDataset, *, points: int, batch: int) -> Split:
    """Features [n, D] float32 and labels [n] of every shape of `dataset`, in its order."""
    rows, labels = [], []
    for points_BNC, labels_B in evaluation_clouds(dataset, points, batch):
        rows.append(encode(points_BNC.numpy()))
        labels.append(np.asarray(labels_B))
    return Split(np.concatenate(rows), np.concatenate(labels))


def encode_with(encoder: nn.Module, device: torch.device) -> Encode:
    """`encoder` in evaluation mode as a function of numpy clouds; features come back as float32."""
    encoder.eval().to(device)
    dtype = next(encoder.parameters()).dtype

    def encode(points_BNC: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            feat_BD: torch.Tensor = encoder(torch.from_numpy(np.ascontiguousarray(points_BNC)).to(device=device, dtype=dtype))
        features: np.ndarray = feat_BD.float().cpu().numpy()
        return features

    return encode


def calibrate_batchnorm(encoder: nn.Module, dataset: PreparedDataset, *, points: int, batch: int, device: torch.device) -> None:
    """Sets every BatchNorm's running statistics to their mean over one unlabelled pass over `dataset`; weights stay.

    What makes random weights a fair baseline: at initialisation the statistics are 0 and 1, which no data has.
    """
    norms = [module for module in encoder.modules() if isinstance(module, BatchNorm)]
    before = [norm.momentum for norm in norms]
    dtype = next(encoder.parameters()).dtype
    encoder.train().to(device)
    with torch.no_grad():
        for number, (points_BNC, _) in enumerate(evaluation_clouds(dataset, points, batch)):
            if number and len(points_BNC) < 2:
                continue  # a last batch of one shape has no variance to speak of
            for norm in norms:
                norm.momentum = 1.0 / (number + 1)  # running mean over the batches seen so far
            encoder(points_BNC.to(device=device, dtype=dtype))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    encoder.eval()


def sides(
    trained: Callable[[], Encode],
    random: Callable[[], nn.Module],
    calibrate_on: PreparedDataset,
    *,
    points: int,
    batch: int,
    device: torch.device,
) -> dict[str, Callable[[], Encode]]:
    """What every table of frozen features compares, each built when it is asked for: the `trained` encoder, and what `random` builds with
    its BatchNorm calibrated on `calibrate_on`, and as it is."""

    def calibrated() -> Encode:
        encoder = random()
        calibrate_batchnorm(encoder, calibrate_on, points=points, batch=batch, device=device)
        return encode_with(encoder, device)

    return {"trained": trained, "random": calibrated, "random_uncalibrated": lambda: encode_with(random(), device)}
