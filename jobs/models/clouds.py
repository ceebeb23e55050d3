"""What every encoder asks of its input, before it computes. B clouds, N points, C channels."""
from __future__ import annotations

import torch
from torch import Tensor


def check_clouds(points_BNC: Tensor, channels: int, encoder: str) -> None:
    """ValueError, naming the encoder, unless the clouds are [B, N, channels] with B and N above 0 and finite values."""
    shape = list(points_BNC.shape)
    if len(shape) != 3 or shape[2] != channels:
        raise ValueError(f"{encoder} takes clouds [B, N, {channels}], not {shape}")
    if not points_BNC.numel():
        raise ValueError(f"{encoder} was given {shape[0]} clouds of {shape[1]} points: it needs at least one of each")
    check_finite(points_BNC)


def check_finite(x_BNC: Tensor) -> None:
    """ValueError, naming the cloud, when a value is NaN or infinite."""
    if not bool(torch.isfinite(x_BNC).all()):
        cloud = int((~torch.isfinite(x_BNC)).flatten(1).any(1).nonzero()[0, 0])
        raise ValueError(f"cloud {cloud} of the batch holds NaN or infinite values: verify the dataset that it comes from")
