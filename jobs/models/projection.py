"""Projection heads: from a pooled feature to the embedding that the contrastive losses see. B rows, D feature, E embedding."""
from __future__ import annotations

from torch import nn

from .batchnorm import BatchNorm

EMBEDDING = 256  # width of every embedding, as published


def inv_head(features: int) -> nn.Sequential:
    """[B, D] -> [B, 256] of the point encoders: Linear to 1,024, BatchNorm, ReLU, Linear (CrossPoint, Afham et al. 2022; its names)."""
    return nn.Sequential(nn.Linear(features, 1024), BatchNorm(1024), nn.ReLU(), nn.Linear(1024, EMBEDDING))


def image_head(features: int) -> nn.Sequential:
    """[B, D] -> [B, 256] of the image towers: the same with a hidden width of 512 and no biases, as CrossPoint publishes it."""
    return nn.Sequential(nn.Linear(features, 512, bias=False), BatchNorm(512), nn.ReLU(), nn.Linear(512, EMBEDDING, bias=False))
