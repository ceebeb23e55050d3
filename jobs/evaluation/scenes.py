"""Scores of semantic segmentation, and whole rooms from the votes of overlapping blocks. K classes, N points of a block, R of a room."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def confusion_of(predicted_N: NDArray[np.integer], truth_N: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """[K, K] counts; rows: truth."""
    cells = classes * truth_N.astype(np.int64) + predicted_N
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def scene_scores(confusion_KK: NDArray[np.number]) -> dict[str, float]:
    """miou: mean over the classes in truth or prediction of |both| / |either|; mean_accuracy: over the classes in truth, of the share of
    their points that is found; overall_accuracy: over points."""
    right, true, told = np.diag(confusion_KK), confusion_KK.sum(1), confusion_KK.sum(0)
    either = true + told - right
    return {
        "miou": float((right[either > 0] / either[either > 0]).mean()),
        "mean_accuracy": float((right[true > 0] / true[true > 0]).mean()),
        "overall_accuracy": float(right.sum() / confusion_KK.sum()),
    }


def class_ious(confusion_KK: NDArray[np.number]) -> NDArray[np.float64]:
    """[K]; NaN for a class in neither truth nor prediction."""
    right, either = np.diag(confusion_KK), confusion_KK.sum(1) + confusion_KK.sum(0) - np.diag(confusion_KK)
    return np.where(either > 0, right / np.maximum(either, 1), np.nan)


class Votes:
    """A room's points, each as often as blocks and their copies hold it, with the probabilities that each look gave it."""

    def __init__(self) -> None:
        self._places: list[NDArray[np.float32]] = []
        self._probabilities: list[NDArray[np.float32]] = []
        self._truths: list[NDArray[np.int64]] = []

    def add(self, place_N3: NDArray[np.float32], probability_NK: NDArray[np.float32], truth_N: NDArray[np.int64]) -> None:
        """A block: its points' places in the room, the same bits in every block that holds the point."""
        self._places.append(place_N3)
        self._probabilities.append(probability_NK)
        self._truths.append(truth_N)

    def counted(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """Each point of the room once: (places [R, 3], truth [R], prediction [R], the class of the largest summed probability)."""
        places, probabilities = np.concatenate(self._places), np.concatenate(self._probabilities)
        _, first, point = np.unique(places, axis=0, return_index=True, return_inverse=True)
        summed = np.zeros((len(first), probabilities.shape[1]))
        np.add.at(summed, point.ravel(), probabilities)
        return places[first], np.concatenate(self._truths)[first], summed.argmax(1)


def room_of(block_id: str) -> str:
    """AREA/ROOM of AREA/ROOM/NUMBER."""
    return block_id.rpartition("/")[0]


def rooms_of(block_ids: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The blocks of each room, in the order in which rooms come."""
    found: dict[str, list[int]] = {}
    for row, block in enumerate(block_ids):
        found.setdefault(room_of(block), []).append(row)
    return {room: np.array(rows, np.int64) for room, rows in found.items()}
