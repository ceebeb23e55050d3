"""What each task makes of an encoder, a batch and a prediction. B rows, N points, C categories, P parts, M numbers kept of a shape."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jobs.config.datasets import ROOMS
from jobs.data.part_table import category_of
from jobs.data.prepared import PreparedDataset
from jobs.data.rooms import CHANNELS
from jobs.evaluation.iou import part_scores, shape_iou
from jobs.evaluation.scenes import confusion_of, scene_scores
from jobs.finetuning.heads import Classifier, PartSegmenter, SceneSegmenter, check_per_point, smoothed
from jobs.finetuning.labelled import Labelled
from jobs.models.dgcnn_semseg import DGCNNSemSeg, widen_to_nine_channels


class Task(Protocol):
    """A supervised task on a prepared dataset."""

    selects: str  # the score that chooses the epoch on validation
    kept: int  # numbers kept of a shape

    def model(self, encoder: nn.Module, name: str) -> nn.Module:
        """The encoder with a fresh head; ValueError when it cannot serve. Called with the global generator seeded."""

    def loss(self, scores: Tensor, batch: Labelled) -> Tensor:
        """Of this rank's rows, over the global count: summed over the ranks it is the batch's loss."""

    def judged(self, scores: Tensor, batch: Labelled) -> Tensor:
        """rows_BM, float64: what the scores below are made of, a row a shape."""

    def scores(self, rows_RM: NDArray[np.float64], dataset: PreparedDataset) -> dict[str, float]:
        """Of all shapes of a split."""


class Classification:
    """The category of a shape; what is kept of it is the predicted one."""

    selects, kept = "balanced_accuracy", 1

    def __init__(self, categories: Sequence[str], smoothing: float) -> None:
        self.categories, self.smoothing = list(categories), smoothing

    def model(self, encoder: nn.Module, name: str) -> nn.Module:
        return Classifier(encoder, len(self.categories))

    def loss(self, scores: Tensor, batch: Labelled) -> Tensor:
        return smoothed(scores, batch.labels_B.to(scores.device), self.smoothing) / batch.whole

    def judged(self, scores: Tensor, batch: Labelled) -> Tensor:
        return scores.argmax(1, keepdim=True).double()

    def scores(self, rows_RM: NDArray[np.float64], dataset: PreparedDataset) -> dict[str, float]:
        right = rows_RM[:, 0] == dataset.labels
        recalls = [right[dataset.labels == label].mean() for label in np.unique(dataset.labels)]
        return {"accuracy": float(right.mean()), "balanced_accuracy": float(np.mean(recalls))}


def _of_points(scores: Tensor, batch: Labelled, smoothing: float) -> Tensor:
    """The loss of scores [B, N, P], a mean over all points of the global batch."""
    assert batch.parts_BN is not None
    truth = batch.parts_BN.to(scores.device)
    return smoothed(scores.flatten(0, 1), truth.flatten(), smoothing) / (batch.whole * truth.shape[1])


class PartSegmentation:
    """The part of every point, among those of the shape's category; kept of a shape: its IoU and the share of points told right."""

    selects, kept = "instance_miou", 2

    def __init__(self, categories: Sequence[str], part_names: Sequence[str], smoothing: float) -> None:
        self.categories, self.part_names, self.smoothing = list(categories), list(part_names), smoothing
        of = [[number for number, name in enumerate(part_names) if category_of(name) == category] for category in categories]
        bare = [category for category, parts in zip(categories, of, strict=True) if not parts]
        if bare:
            raise ValueError(f"the dataset has no part of {', '.join(bare[:5])}: part segmentation needs parts named CATEGORY/PART")
        self.parts_of = of
        self.allowed_CP = torch.zeros(len(categories), len(part_names), dtype=torch.bool)
        for row, parts in enumerate(of):
            self.allowed_CP[row, parts] = True

    def model(self, encoder: nn.Module, name: str) -> nn.Module:
        check_per_point(encoder, name)
        return PartSegmenter(encoder, len(self.categories), len(self.part_names))

    def loss(self, scores: Tensor, batch: Labelled) -> Tensor:
        return _of_points(scores, batch, self.smoothing)

    def predicted(self, scores: Tensor, batch: Labelled) -> NDArray[np.int64]:
        """parts_BN, of the shape's own category alone."""
        allowed_B1P = self.allowed_CP[batch.labels_B][:, None].to(scores.device)
        found: NDArray[np.int64] = scores.masked_fill(~allowed_B1P, -torch.inf).argmax(2).cpu().numpy()
        return found

    def judged(self, scores: Tensor, batch: Labelled) -> Tensor:
        assert batch.parts_BN is not None
        told, truth = self.predicted(scores, batch), batch.parts_BN.numpy()
        rows = [
            (shape_iou(one, true, self.parts_of[label]), float((one == true).mean()))
            for one, true, label in zip(told, truth, batch.labels_B.tolist(), strict=True)
        ]
        return torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)

    def scores(self, rows_RM: NDArray[np.float64], dataset: PreparedDataset) -> dict[str, float]:
        return part_scores(rows_RM[:, 0].tolist(), rows_RM[:, 1].tolist(), dataset.labels)


class SceneSegmentation:
    """The class of every point of a block of a room; kept of a block: its confusion matrix, K x K counts, rows the truth."""

    selects = "miou"

    def __init__(self, classes: Sequence[str], channels: int, smoothing: float) -> None:
        self.classes, self.channels, self.smoothing = list(classes), channels, smoothing
        self.kept = len(self.classes) ** 2

    def model(self, encoder: nn.Module, name: str) -> nn.Module:
        check_per_point(encoder, name)
        return SceneSegmenter(encoder if self.channels == 3 else nine_channels(encoder, name), len(self.classes), self.channels)

    def loss(self, scores: Tensor, batch: Labelled) -> Tensor:
        return _of_points(scores, batch, self.smoothing)

    def predicted(self, scores: Tensor, batch: Labelled) -> NDArray[np.int64]:
        """classes_BN."""
        found: NDArray[np.int64] = scores.argmax(2).cpu().numpy()
        return found

    def judged(self, scores: Tensor, batch: Labelled) -> Tensor:
        assert batch.parts_BN is not None
        told, truth = self.predicted(scores, batch), batch.parts_BN.numpy()
        rows = [confusion_of(one, true, len(self.classes)).ravel() for one, true in zip(told, truth, strict=True)]
        return torch.from_numpy(np.array(rows, np.float64).reshape(-1, self.kept))

    def scores(self, rows_RM: NDArray[np.float64], dataset: PreparedDataset) -> dict[str, float]:
        return scene_scores(rows_RM.sum(0).reshape(len(self.classes), len(self.classes)))


def nine_channels(encoder: nn.Module, name: str) -> DGCNNSemSeg:
    """The 3-channel encoder with columns for colour and place in the room, fresh ones from the global generator.

    ValueError for an encoder that cannot be widened.
    """
    if not isinstance(encoder, DGCNNSemSeg):
        raise ValueError(f"channels 9 needs the backbone dgcnn_semseg, not {name}: set channels to 3")
    wide = DGCNNSemSeg(encoder.k, channels=9)
    wide.load_state_dict(widen_to_nine_channels(encoder.state_dict(), torch.default_generator))
    return wide


def task_of(settings: Any, manifest: dict[str, Any]) -> Task:
    """The task of a config's section on a dataset. ValueError when the dataset has not the labels that it needs."""
    if settings.task == "finetune":
        return Classification(manifest["categories"], settings.label_smoothing)
    if settings.task == "scenes":
        if manifest["channels"] != CHANNELS:
            raise ValueError(f"{manifest['name']} holds no rooms: semantic segmentation needs a dataset of {' or '.join(ROOMS)}")
        return SceneSegmentation(manifest["part_names"], settings.channels, settings.label_smoothing)
    if not manifest["part_names"]:
        raise ValueError(f"{manifest['name']} has no parts: part segmentation needs a dataset that has (shapenetpart, synthetic)")
    return PartSegmentation(manifest["categories"], manifest["part_names"], settings.label_smoothing)
