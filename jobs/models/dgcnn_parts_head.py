"""Part scores from DGCNN's part segmentation encoder. B clouds, N points, D pooled and E local features, C categories, P parts."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm
from .dropout import Dropout
from .edgeconv import SLOPE
from .pointnet_parts_head import CATEGORIES, PARTS

DROPPED = 0.5  # of the values behind the first two shared layers, in training, as published


class DGCNNPartsHead(nn.Module):
    """A layer on the category and four shared ones on [pooled ; category ; local] of each point (Wang et al. 2019); its published names."""

    def __init__(self, feature_dim: int = 1024, local_dim: int = 192, categories: int = CATEGORIES, parts: int = PARTS) -> None:
        super().__init__()
        self.conv7 = nn.Sequential(nn.Conv1d(categories, 64, 1, bias=False), BatchNorm(64))
        self.conv8 = nn.Sequential(nn.Conv1d(feature_dim + 64 + local_dim, 256, 1, bias=False), BatchNorm(256))
        self.conv9 = nn.Sequential(nn.Conv1d(256, 256, 1, bias=False), BatchNorm(256))
        self.conv10 = nn.Sequential(nn.Conv1d(256, 128, 1, bias=False), BatchNorm(128))
        self.conv11 = nn.Conv1d(128, parts, 1, bias=False)
        self.dp1, self.dp2 = Dropout(DROPPED), Dropout(DROPPED)

    def forward(self, feat_BD: Tensor, local_BNE: Tensor, category_BC: Tensor) -> Tensor:
        """[B, D], [B, N, E] and the one-hot category [B, C] -> scores_BNP [B, N, P] before the softmax.

        Raises ValueError when the three do not fit each other or this head, and in training when all ranks' batches hold one cloud.
        """
        clouds, points, width = local_BNE.shape
        (category_conv, category_norm), (mixing_conv, mixing_norm) = self.conv7, self.conv8
        assert isinstance(category_conv, nn.Conv1d) and isinstance(mixing_conv, nn.Conv1d)
        categories = category_conv.in_channels
        pooled = mixing_conv.in_channels - category_conv.out_channels - width
        if feat_BD.shape != (clouds, pooled) or category_BC.shape != (clouds, categories):
            raise ValueError(
                f"with local features {list(local_BNE.shape)} the part head takes pooled ones [{clouds}, {pooled}] and categories "
                f"[{clouds}, {categories}], not {list(feat_BD.shape)} and {list(category_BC.shape)}"
            )
        category_BF = F.linear(category_BC.to(category_conv.weight.dtype), category_conv.weight[:, :, 0])
        shared_BF = torch.cat([feat_BD, F.leaky_relu(category_norm(category_BF), SLOPE)], 1)
        shared_weight, local_weight = mixing_conv.weight[:, :, 0].split([shared_BF.shape[1], width], 1)
        # What all points of a cloud share is multiplied once, and never repeated N times.
        y_BNF = F.linear(local_BNE, local_weight) + F.linear(shared_BF, shared_weight)[:, None]
        y_MF = self.dp1(F.leaky_relu(mixing_norm(y_BNF.flatten(0, 1)), SLOPE))
        for layer, dropout in ((self.conv9, self.dp2), (self.conv10, None)):
            convolution, norm = layer[0], layer[1]
            assert isinstance(convolution, nn.Conv1d)
            y_MF = F.leaky_relu(norm(F.linear(y_MF, convolution.weight[:, :, 0])), SLOPE)
            y_MF = y_MF if dropout is None else dropout(y_MF)
        return F.linear(y_MF, self.conv11.weight[:, :, 0]).view(clouds, points, -1)
