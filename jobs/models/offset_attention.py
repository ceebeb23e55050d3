"""Offset attention over all points of a cloud (PCT, Guo et al. 2021). B clouds, N points, C channels, M = B N rows, E = C / 4."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm


class OffsetAttention(nn.Module):
    """x + ReLU(norm(trans(x - attended))): one layer. Queries and keys share `k_conv`, so attention before its softmax is symmetric.

    The softmax runs over keys; then each *key's* column is divided by its sum, and a point gathers values by its column, as published.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.k_conv = nn.Conv1d(channels, channels // 4, 1, bias=False)
        self.v_conv = nn.Conv1d(channels, channels, 1)
        self.trans_conv = nn.Conv1d(channels, channels, 1)
        self.after_norm = BatchNorm(channels)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]. Keeps one [B, N, N] for the backward pass."""
        weight_EC = self.k_conv.weight[:, :, 0]
        with torch.autocast(x_BNC.device.type, enabled=False):  # rounded energies would change weights by whole factors
            keys_BNE = F.linear(x_BNC.to(weight_EC.dtype), weight_EC)
            attention_BNN = (keys_BNE @ keys_BNE.transpose(1, 2)).softmax(2)
            columns_BN1 = attention_BNN.sum(1)[:, :, None]
        values_BNC = F.linear(x_BNC, self.v_conv.weight[:, :, 0], self.v_conv.bias)
        # Columns are divided after the product, where they are vectors: that spares passes over the matrix.
        attended_BNC = (attention_BNN.transpose(1, 2) @ values_BNC) / (columns_BN1 + 1e-9)
        offset_MC = (x_BNC - attended_BNC).flatten(0, 1)
        moved_MC = self.after_norm(F.linear(offset_MC, self.trans_conv.weight[:, :, 0], self.trans_conv.bias))
        return x_BNC + F.relu(moved_MC).view_as(x_BNC)


class PointTransformer(nn.Module):
    """Two shared layers and four of offset attention: [B, N, C] -> [B, N, 4C], the outputs of all four side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv1d(channels, channels, 1, bias=False)
        self.bn1 = BatchNorm(channels)
        self.bn2 = BatchNorm(channels)
        self.sa1 = OffsetAttention(channels)
        self.sa2 = OffsetAttention(channels)
        self.sa3 = OffsetAttention(channels)
        self.sa4 = OffsetAttention(channels)

    def forward(self, x_BNC: Tensor) -> Tensor:
        x_MC = x_BNC.flatten(0, 1)
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2)):
            x_MC = F.relu(norm(F.linear(x_MC, convolution.weight[:, :, 0])))
        layers = [self.sa1(x_MC.view_as(x_BNC))]
        for attention in (self.sa2, self.sa3, self.sa4):
            layers.append(attention(layers[-1]))
        return torch.cat(layers, 2)
