"""The obvious EdgeConv, edge by edge, as the DGCNN paper writes it: compared with the fast one. Letters: jobs/models/edgeconv.py."""
from __future__ import annotations

import torch
from torch import Tensor, nn


class EdgeByEdge(nn.Sequential):
    """Convolution, batch normalisation and LeakyReLU of every edge [x_j - x_i ; x_i], then the maximum; state names of EdgeConv."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(nn.Conv2d(2 * channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x_BNC: Tensor, idx_BNK: Tensor) -> Tensor:  # type: ignore[override]
        neighbours_BNKC = torch.stack([x_BNC[cloud][idx_BNK[cloud]] for cloud in range(len(x_BNC))])
        own_BNKC = x_BNC[:, :, None].expand_as(neighbours_BNKC)
        edges_B2CNK = torch.cat([neighbours_BNKC - own_BNKC, own_BNKC], 3).permute(0, 3, 1, 2)
        y_BDNK = nn.functional.leaky_relu(self[1](self[0](edges_B2CNK)), 0.2)
        return y_BDNK.max(3).values.transpose(1, 2)


def neighbours_by_sorting(x_BNC: Tensor, k: int) -> Tensor:
    """The k nearest by a full sort of plain distances."""
    distances_BNN = (x_BNC[:, :, None] - x_BNC[:, None]).square().sum(3)
    return distances_BNN.argsort(2)[:, :, :k]
