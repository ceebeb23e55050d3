"""DGCNN as its paper writes it, edge by edge: what the fast encoder is compared with, in benchmarks and in tests.

Wang et al. 2019, "Dynamic Graph CNN for Learning on Point Clouds", in the usual PyTorch way: every edge [x_j - x_i ; x_i] stands in memory.
B clouds, N points, C channels in, D channels out, K neighbours.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def neighbours(x_BNC: Tensor, k: int) -> Tensor:
    """idx_BNK int64: of each point the k nearest of its cloud by the whole matrix of squared distances, nearest first."""
    inner_BNN = x_BNC @ x_BNC.transpose(1, 2)
    squares_BN1 = x_BNC.square().sum(2, keepdim=True)
    return (2 * inner_BNN - squares_BN1 - squares_BN1.transpose(1, 2)).topk(k, dim=2).indices


def edges(x_BNC: Tensor, idx_BNK: Tensor) -> Tensor:
    """[B, 2C, N, K]: of each point and neighbour [x_j - x_i ; x_i]."""
    clouds, points, channels = x_BNC.shape
    k = idx_BNK.shape[2]
    rows_E = (idx_BNK + torch.arange(0, clouds * points, points, device=x_BNC.device)[:, None, None]).reshape(-1)
    near_BNKC = x_BNC.reshape(clouds * points, channels)[rows_E].view(clouds, points, k, channels)
    own_BNKC = x_BNC[:, :, None].expand(clouds, points, k, channels)
    return torch.cat([near_BNKC - own_BNKC, own_BNKC], 3).permute(0, 3, 1, 2).contiguous()


class EdgeByEdge(nn.Sequential):
    """Convolution, batch normalisation and LeakyReLU of every edge, then the maximum over neighbours; state names of EdgeConv."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(nn.Conv2d(2 * channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x_BNC: Tensor, idx_BNK: Tensor) -> Tensor:  # type: ignore[override]
        y_BDNK = F.leaky_relu(self[1](self[0](edges(x_BNC, idx_BNK))), 0.2)
        return y_BDNK.max(3).values.transpose(1, 2)


class TextbookDGCNN(nn.Module):
    """The classification encoder, [B, N, 3] -> [B, 2048]; state names of jobs.models.dgcnn.DGCNN."""

    feature_dim = 2048

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.conv1 = EdgeByEdge(3, 64)
        self.conv2 = EdgeByEdge(64, 64)
        self.conv3 = EdgeByEdge(64, 128)
        self.conv4 = EdgeByEdge(128, 256)
        self.conv5 = nn.Sequential(nn.Conv1d(512, 1024, 1, bias=False), nn.BatchNorm1d(1024), nn.LeakyReLU(0.2))

    def forward(self, points_BNC: Tensor) -> Tensor:
        x_BNC, layers = points_BNC, []
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x_BNC = layer(x_BNC, neighbours(x_BNC.detach(), self.k))
            layers.append(x_BNC.transpose(1, 2))
        y_BDN = self.conv5(torch.cat(layers, 1))
        return torch.cat([F.adaptive_max_pool1d(y_BDN, 1).flatten(1), F.adaptive_avg_pool1d(y_BDN, 1).flatten(1)], 1)
