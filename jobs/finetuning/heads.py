"""Encoders with heads. B clouds, N points, D pooled features, E features of a point, C categories, P parts."""
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from jobs.models.batchnorm import BatchNorm
from jobs.models.dgcnn_parts_head import DGCNNPartsHead
from jobs.models.dropout import Dropout

SLOPE = 0.2  # of LeakyReLU
DROPPED = 0.5  # of the values behind each hidden layer, in training


class Classifier(nn.Module):
    """An encoder and the classification head of Wang et al. 2019 (DGCNN): layers of 512 and 256 on the pooled features."""

    def __init__(self, encoder: nn.Module, categories: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.linear1 = nn.Linear(int(encoder.feature_dim), 512, bias=False)  # type: ignore[arg-type]
        self.bn6 = BatchNorm(512)
        self.linear2 = nn.Linear(512, 256)
        self.bn7 = BatchNorm(256)
        self.linear3 = nn.Linear(256, categories)
        self.dp1, self.dp2 = Dropout(DROPPED), Dropout(DROPPED)

    def forward(self, points_BNC: Tensor, labels_B: Tensor) -> Tensor:
        """[B, N, 3] -> scores_BC before the softmax; `labels_B` is not looked at."""
        x_BF = self.encoder(points_BNC)
        for linear, norm, dropout in ((self.linear1, self.bn6, self.dp1), (self.linear2, self.bn7, self.dp2)):
            x_BF = dropout(F.leaky_relu(norm(linear(x_BF)), SLOPE))
        scores_BC: Tensor = self.linear3(x_BF)
        return scores_BC


class PartSegmenter(nn.Module):
    """An encoder with per-point features and the part head of Wang et al. 2019 on them, the pooled features and the category."""

    def __init__(self, encoder: nn.Module, categories: int, parts: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.categories = categories
        dims = int(encoder.feature_dim), int(encoder.local_dim)  # type: ignore[arg-type]
        self.head = DGCNNPartsHead(*dims, categories=categories, parts=parts)

    def forward(self, points_BNC: Tensor, labels_B: Tensor) -> Tensor:
        """[B, N, 3] and each cloud's category -> scores_BNP before the softmax."""
        feat_BD, local_BNE = self.encoder.per_point(points_BNC)  # type: ignore[operator]
        one_hot_BC = F.one_hot(labels_B, self.categories).to(feat_BD.dtype)
        scores_BNP: Tensor = self.head(feat_BD, local_BNE, one_hot_BC)
        return scores_BNP


class SceneSegmenter(nn.Module):
    """An encoder with per-point features and the scene head of Wang et al. 2019: shared layers of 512 and 256 on [pooled ; local]."""

    def __init__(self, encoder: nn.Module, classes: int, channels: int) -> None:
        super().__init__()
        self.encoder, self.channels = encoder, channels
        pooled, local = int(encoder.feature_dim), int(encoder.local_dim)  # type: ignore[arg-type]
        self.conv7 = nn.Sequential(nn.Conv1d(pooled + local, 512, 1, bias=False), BatchNorm(512))
        self.conv8 = nn.Sequential(nn.Conv1d(512, 256, 1, bias=False), BatchNorm(256))
        self.dp1 = Dropout(DROPPED)
        self.conv9 = nn.Conv1d(256, classes, 1, bias=False)

    def forward(self, points_BNC: Tensor, labels_B: Tensor) -> Tensor:
        """[B, N, 3 or 9] -> scores_BNK of each point's class; `labels_B`, the area, is not looked at."""
        clouds, points = points_BNC.shape[:2]
        feat_BD, local_BNE = self.encoder.per_point(points_BNC[:, :, : self.channels])  # type: ignore[operator]
        (first, first_norm), (second, second_norm) = self.conv7, self.conv8
        assert isinstance(first, nn.Conv1d) and isinstance(second, nn.Conv1d)
        pooled_weight, local_weight = first.weight[:, :, 0].split([feat_BD.shape[1], local_BNE.shape[2]], 1)
        # What all points of a block share is multiplied once.
        y_BNF = F.linear(local_BNE, local_weight) + F.linear(feat_BD, pooled_weight)[:, None]
        x_MF = F.leaky_relu(first_norm(y_BNF.flatten(0, 1)), SLOPE)
        x_MF = self.dp1(F.leaky_relu(second_norm(F.linear(x_MF, second.weight[:, :, 0])), SLOPE))
        return F.linear(x_MF, self.conv9.weight[:, :, 0]).view(clouds, points, -1)


def smoothed(scores_RK: Tensor, truth_R: Tensor, smoothing: float) -> Tensor:
    """Sum over rows of the cross-entropy with the truth at 1 - smoothing and every other class at smoothing / (K - 1), as published."""
    classes = scores_RK.shape[1]
    torch_smoothing = min(1.0, smoothing * classes / (classes - 1)) if classes > 1 else 0.0  # PyTorch spreads it over all K
    return F.cross_entropy(scores_RK, truth_R, reduction="sum", label_smoothing=torch_smoothing)


def check_per_point(encoder: nn.Module, name: str) -> None:
    """ValueError when an encoder has no features of single points."""
    if not hasattr(encoder, "per_point"):
        raise ValueError(f"{name} has no per-point features, which segmentation needs: dgcnn, pointnet, the _partseg and _semseg ones have")


