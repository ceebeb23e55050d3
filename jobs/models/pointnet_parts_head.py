"""Part scores from PointNet's part segmentation encoder. B clouds, N points, D pooled and E local features, C categories, P parts."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm

CATEGORIES = 16  # of ShapeNetPart
PARTS = 50  # of all categories together


class PointNetPartsHead(nn.Module):
    """Four shared layers on [pooled ; category ; local features] of each point (Qi et al. 2017); names of the published state dict."""

    def __init__(self, feature_dim: int = 2048, local_dim: int = 2880) -> None:
        super().__init__()
        self.convs1 = nn.Conv1d(feature_dim + CATEGORIES + local_dim, 256, 1, bias=False)
        self.convs2 = nn.Conv1d(256, 256, 1, bias=False)
        self.convs3 = nn.Conv1d(256, 128, 1, bias=False)
        self.convs4 = nn.Conv1d(128, PARTS, 1)
        self.bns1 = BatchNorm(256)
        self.bns2 = BatchNorm(256)
        self.bns3 = BatchNorm(128)

    def forward(self, feat_BD: Tensor, local_BNE: Tensor, category_BC: Tensor) -> Tensor:
        """[B, D], [B, N, E] and the one-hot category [B, 16] -> scores_BNP [B, N, 50] before the softmax.

        Raises ValueError when the three do not fit each other or this head.
        """
        clouds, points, width = local_BNE.shape
        pooled = self.convs1.in_channels - CATEGORIES - width
        if feat_BD.shape != (clouds, pooled) or category_BC.shape != (clouds, CATEGORIES):
            raise ValueError(
                f"with local features {list(local_BNE.shape)} the part head takes pooled ones [{clouds}, {pooled}] and categories "
                f"[{clouds}, {CATEGORIES}], not {list(feat_BD.shape)} and {list(category_BC.shape)}"
            )
        shared_BF = torch.cat([feat_BD, category_BC.to(feat_BD.dtype)], 1)
        shared_weight, local_weight = self.convs1.weight[:, :, 0].split([pooled + CATEGORIES, width], 1)
        # What all points of a cloud share is multiplied once, and never repeated N times.
        y_BNF = F.linear(local_BNE, local_weight) + F.linear(shared_BF, shared_weight)[:, None]
        y_MF = F.relu(self.bns1(y_BNF.flatten(0, 1)))
        for convolution, norm in ((self.convs2, self.bns2), (self.convs3, self.bns3)):
            y_MF = F.relu(norm(F.linear(y_MF, convolution.weight[:, :, 0])))
        return F.linear(y_MF, self.convs4.weight[:, :, 0], self.convs4.bias).view(clouds, points, PARTS)
