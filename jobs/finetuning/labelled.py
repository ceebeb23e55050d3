"""Batches of labelled clouds. B rows of this rank, N points, C coordinates; P parts."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.data.augment import normalise, subset
from jobs.data.draws import batch_order, generator, sample_generator, share
from jobs.data.prepared import PreparedDataset

SCALE = (2 / 3, 3 / 2)  # of each axis, where clouds are augmented
SHIFT = 0.2  # of each axis, either way, in radii


@dataclass(frozen=True)
class Labelled:
    """This rank's rows of one global batch, or of an evaluation."""

    rows_B: NDArray[np.int64]  # of the dataset
    points_BNC: Tensor  # float32, shapes in the unit ball before augmentation, blocks of rooms as they are
    labels_B: Tensor  # int64 categories
    parts_BN: Tensor | None  # int64, where the dataset has parts
    before: int  # rows of the global batch that lower ranks have
    whole: int  # rows of the global batch


def training_batches(
    dataset: PreparedDataset,
    chosen: NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    batch: int,
    rank: int,
    world: int,
    points: int,
    augment: bool,
    first: int = 0,
) -> Iterator[Labelled]:
    """This rank's share of every global batch of the `chosen` rows in an epoch's order, from its batch `first` on.

    The last, incomplete batch is dropped.

    A cloud's points and augmentation depend on (seed, epoch, its id): a random subset in random order; where `augment`, each axis scaled by
    U(2/3, 3/2) and shifted by U(-0.2, 0.2) (Wang et al. 2019).
    """
    order = batch_order(seed, epoch, len(chosen), batch)[first:]
    dataset.expect(chosen[order.ravel()].tolist())
    for rows in order:
        own = chosen[share(rows, rank, world)]
        before = len(rows) * rank // world
        clouds, parts = [], []
        for row in own:
            rng = sample_generator(seed, epoch, dataset.ids[row], "labelled")
            cloud = dataset.points(row)
            kept = subset(rng, len(cloud), points) if points < len(cloud) else rng.permutation(len(cloud))
            view = _placed(dataset, cloud[kept])
            if augment:
                view = view * rng.uniform(*SCALE, 3).astype(np.float32) + rng.uniform(-SHIFT, SHIFT, 3).astype(np.float32)
            clouds.append(view)
            parts.append(_parts(dataset, row, kept))
        yield _batch(dataset, own, clouds, parts, before, len(rows))


def evaluation_batches(dataset: PreparedDataset, *, batch: int, rank: int, world: int, points: int) -> Iterator[Labelled]:
    """This rank's contiguous share of all shapes, in order."""
    own = share(np.arange(len(dataset)), rank, world)
    dataset.expect(own.tolist())
    for start in range(0, len(own), batch):
        yield evaluation_batch(dataset, own[start : start + batch], points)


def evaluation_batch(dataset: PreparedDataset, rows: Sequence[int] | NDArray[np.int64], points: int) -> Labelled:
    """Some shapes as they are judged: each cloud the same subset of its points at every look."""
    clouds, parts = [], []
    for row in rows:
        cloud = dataset.points(row)
        kept = subset(generator("evaluation", dataset.ids[row]), len(cloud), points)
        clouds.append(_placed(dataset, cloud[kept]))
        parts.append(_parts(dataset, row, kept))
    return _batch(dataset, np.asarray(rows), clouds, parts, 0, len(rows))


def nested_fraction(dataset: PreparedDataset, fraction: float, seed: int) -> NDArray[np.int64]:
    """Rows of a share of each category, at least one: those of a smaller share lie within those of a larger one."""
    chosen = []
    for label in np.unique(dataset.labels):
        rows = np.flatnonzero(dataset.labels == label)
        order = generator("fraction", seed, dataset.categories[label]).permutation(len(rows))
        chosen.append(rows[order[: max(1, round(fraction * len(rows)))]])
    return np.sort(np.concatenate(chosen))


def _placed(dataset: PreparedDataset, cloud: NDArray[np.float32]) -> NDArray[np.float32]:
    """A shape in the unit ball; a block of a room as it is."""
    if dataset.manifest["channels"] > 3:
        return cloud
    placed: NDArray[np.float32] = normalise(torch.from_numpy(cloud)[None])[0].numpy()
    return placed


def _parts(dataset: PreparedDataset, row: int, kept: NDArray[np.int64]) -> NDArray[np.int16] | None:
    parts = dataset.parts(row)
    return None if parts is None else parts[kept]


def _batch(
    dataset: PreparedDataset,
    rows: NDArray[np.int64],
    clouds: list[NDArray[np.float32]],
    parts: list[NDArray[np.int16] | None],
    before: int,
    whole: int,
) -> Labelled:
    known = [one for one in parts if one is not None]
    return Labelled(
        rows_B=rows,
        points_BNC=torch.from_numpy(np.stack(clouds)) if clouds else torch.empty(0, 0, 3),
        labels_B=torch.from_numpy(dataset.labels[rows]),
        parts_BN=torch.from_numpy(np.stack(known).astype(np.int64)) if known else None,
        before=before,
        whole=whole,
    )
