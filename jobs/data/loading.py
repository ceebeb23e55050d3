"""Batches for training and clouds for evaluation, from a prepared dataset. B rows of this rank, N points, pixels H W."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jobs.config.places import Place, place_of
from jobs.data.augment import augment_clouds, normalise, subset
from jobs.data.draws import batch_order, generator, sample_generator, share
from jobs.data.format import read_manifest
from jobs.data.images import augment_images
from jobs.data.prepared import PreparedDataset


@dataclass(frozen=True)
class Batch:
    """This rank's rows of one global batch."""

    ids_B: Tensor  # int64: row of each shape in the dataset, the same on every rank
    points_2BNC: Tensor  # float32: view 1 of every row, then view 2 of every row
    rgb_B3HW: Tensor  # float32, ImageNet mean and deviation
    grey_B1HW: Tensor | None  # float32, where the objective needs it


class _Rows(Dataset[Batch]):
    """The whole batch at once for a list of rows: one augmentation for all of them."""

    def __init__(self, dataset: PreparedDataset, seed: int, epoch: int, points: int, image_size: int, grey: bool) -> None:
        self.dataset, self.seed, self.epoch = dataset, seed, epoch
        self.points, self.image_size, self.grey = points, image_size, grey

    def __getitem__(self, rows: NDArray[np.int64]) -> Batch:
        clouds = [self.dataset.points(row) for row in rows]
        first, second, image = (self._generators(rows, branch) for branch in ("view 1", "view 2", "image"))
        files = [self.dataset.view(row, int(g.integers(self.dataset.view_count(row)))) for row, g in zip(rows, image, strict=True)]
        points = augment_clouds(clouds * 2, first + second, self.points)
        rgb, grey = augment_images(files, image, self.image_size, self.grey)
        return Batch(torch.from_numpy(rows.copy()), points, rgb, grey)

    def _generators(self, rows: NDArray[np.int64], branch: str) -> list[np.random.Generator]:
        return [sample_generator(self.seed, self.epoch, self.dataset.ids[row], branch) for row in rows]


def pretraining_batches(
    dataset: PreparedDataset,
    *,
    seed: int,
    epoch: int,
    batch: int,
    rank: int,
    world: int,
    points: int,
    image_size: int,
    grey: bool,
    workers: int,
    first: int = 0,
) -> Iterator[Batch]:
    """This rank's share of every global batch of an epoch, from its batch `first` on; the same numbers for any number of loader `workers`.

    Raises ValueError before the first batch when the batch is larger than the dataset, and what `check_trainable` raises.
    """
    check_trainable(dataset, points)
    order = batch_order(seed, epoch, len(dataset), batch)[first:]
    dataset.expect(order.ravel())
    shares = [share(rows, rank, world) for rows in order]
    return _batches(_Rows(dataset, seed, epoch, points, image_size, grey), shares, workers, begins=first == 0)


def check_trainable(dataset: PreparedDataset, points: int) -> None:
    """ValueError when the shapes store fewer than `points` (pretrain.points) points, or when one has no view."""
    check_places(dataset.folder, dataset.manifest)
    stored = int(dataset.manifest["points"])
    if points > stored:
        raise ValueError(
            f"pretrain.points is {points}, but {dataset.folder} stores {stored} points a shape: "
            f"prepare it with data.points >= {points}, or lower pretrain.points"
        )
    bare = dataset.without_view()
    if bare is not None:
        raise ValueError(f"{dataset.folder}: shape {bare} has no view, but the cross-modal loss needs one: prepare it with data.views >= 1")


def check_places(folder: Place | str, manifest: dict[str, Any]) -> None:
    """ValueError when a dataset's points are not places alone: blocks of rooms have nine numbers a point and no category."""
    if manifest["channels"] != 3:
        raise ValueError(f"{folder} holds blocks of rooms, {manifest['channels']} numbers a point: name a dataset of shapes, which have 3")


def check_stored(folder: Place | str, points: int, field: str) -> dict[str, Any]:
    """The manifest; ValueError when the dataset's points are not places alone, or a shape stores fewer than `points`."""
    check_places(folder, read_manifest(place_of(folder)))
    return check_enough(folder, points, field)


def check_enough(folder: Place | str, points: int, field: str) -> dict[str, Any]:
    """The manifest; ValueError when a row stores fewer than `points` points."""
    manifest = read_manifest(place_of(folder))
    stored = int(manifest["points"])
    if points > stored:
        raise ValueError(
            f"{field} is {points}, but {folder} stores {stored} points a shape: prepare it with points >= {points}, "
            f"or lower it (`adacrossnet evaluate --points`)"
        )
    return manifest


def check_evaluable(folder: Place | str, points: int) -> None:
    """ValueError when a linear SVM cannot be trained, chosen and judged on the prepared dataset in `folder`.

    That is when it stores fewer than `points` (evaluate.points) points a shape, when train or val is empty, when train holds fewer than
    two categories, or none of one that val or test holds. It reads the manifest alone.
    """
    manifest = check_stored(folder, points, "evaluate.points")
    counts = {split: int(value["count"]) for split, value in manifest["splits"].items()}
    if not counts["train"] or not counts["val"]:
        raise ValueError(
            f"{folder} holds {counts['train']} shapes in train and {counts['val']} in val, the linear SVM needs both: "
            f"prepare it with more shapes (a category gives some to val from three different shapes on)"
        )
    present = [category for category, count in manifest["splits"]["train"]["categories"].items() if count]
    if len(present) < 2:
        raise ValueError(
            f"{folder} holds shapes of {len(present)} category in train ({', '.join(present)}), the linear SVM needs at least 2: "
            f"prepare a source with more categories as data or probe"
        )
    for split in ("val", "test"):
        held = manifest["splits"].get(split, {}).get("categories", {})
        unknown = [category for category, count in held.items() if count and category not in present]
        if unknown:
            raise ValueError(
                f"{folder} has shapes of {', '.join(unknown[:5])} in {split} and none in train, so no classifier knows them: "
                "leave those shapes out of the source, or give the category some in train"
            )


def evaluable_splits(folder: Place | str) -> dict[str, PreparedDataset]:
    """The splits train, val and test of a prepared dataset, without empty ones."""
    counts = read_manifest(place_of(folder))["splits"]
    return {name: PreparedDataset(folder, name) for name in ("train", "val", "test") if counts.get(name, {}).get("count")}


def _batches(rows: _Rows, shares: Sequence[NDArray[np.int64]], workers: int, begins: bool) -> Iterator[Batch]:
    # A loader that starts draws a seed from torch's state. In an epoch's first step that belongs to its numbers; where an epoch is gone on
    # with, the step that it starts in had no such draw.
    own = None if begins else torch.Generator()
    yield from DataLoader(rows, sampler=shares, batch_size=None, num_workers=workers, generator=own)


def evaluation_clouds(dataset: PreparedDataset, points: int, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(points_BNC float32 in the unit ball, labels_B int64) in the dataset's order; no augmentation.

    Each cloud is a subset of the stored points that depends on the shape's id alone. ValueError when fewer than `points` are stored.
    """
    check_places(dataset.folder, dataset.manifest)
    dataset.expect(range(len(dataset)))
    for start in range(0, len(dataset), batch):
        rows = range(start, min(start + batch, len(dataset)))
        clouds = [_fixed(dataset.points(row), dataset.ids[row], points) for row in rows]
        yield normalise(torch.from_numpy(np.stack(clouds))), torch.from_numpy(dataset.labels[start : rows.stop])


def _fixed(cloud: NDArray[np.float32], sample_id: str, points: int) -> NDArray[np.float32]:
    return cloud[subset(generator("evaluation", sample_id), len(cloud), points)]
