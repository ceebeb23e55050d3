from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.config.datasets import Meshes, Synthetic
from jobs.data.loading import Batch, check_evaluable, check_trainable, evaluation_clouds, pretraining_batches
from jobs.data.prepared import PreparedDataset
from jobs.prepare import prepare

ASKED: dict[str, Any] = {
    "seed": 5,
    "epoch": 2,
    "batch": 7,
    "rank": 0,
    "world": 1,
    "points": 64,
    "image_size": 32,
    "grey": True,
    "workers": 0,
}


def batches(small: Path, **changed: Any) -> Iterator[Batch]:
    return pretraining_batches(PreparedDataset(small, None), **{**ASKED, **changed})


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(getattr(a, name), getattr(b, name)) for a, b in zip(one, other, strict=True) for name in vars(a)
    )


def joined(ranks: list[Batch]) -> Batch:
    """What the ranks hold of one global batch, in the order of one process."""
    views = [rank.points_2BNC.chunk(2) for rank in ranks]
    points = torch.cat([view[0] for view in views] + [view[1] for view in views])
    grey = torch.cat([rank.grey_B1HW for rank in ranks if rank.grey_B1HW is not None])
    return Batch(torch.cat([rank.ids_B for rank in ranks]), points, torch.cat([rank.rgb_B3HW for rank in ranks]), grey)


def test_a_batch_has_two_views_and_both_images_of_each_row(small: Path) -> None:
    found = list(batches(small))
    assert len(found) == 48 // 7
    for batch in found:
        assert batch.points_2BNC.shape == (14, 64, 3) and batch.rgb_B3HW.shape == (7, 3, 32, 32)
        assert batch.grey_B1HW is not None and batch.grey_B1HW.shape == (7, 1, 32, 32)
        assert not torch.equal(*batch.points_2BNC.chunk(2))
    assert next(batches(small, grey=False)).grey_B1HW is None


def test_loader_workers_change_no_number(small: Path) -> None:
    assert same(list(batches(small, workers=2)), list(batches(small)))


@pytest.mark.parametrize("workers", [0, 2])
def test_from_a_later_batch_on_the_same_batches_come_and_torchs_random_state_stays(small: Path, workers: int) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert same(list(batches(small, first=4, workers=workers)), list(batches(small))[4:])
    torch.manual_seed(3)
    next(batches(small, first=4, workers=workers))
    assert torch.equal(torch.random.get_rng_state(), before), "what the step draws does not depend on where the loader began"


@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_all_ranks_are_the_single_process_batch(small: Path, world: int) -> None:
    ranks = [list(batches(small, rank=rank, world=world)) for rank in range(world)]
    assert same([joined(list(step)) for step in zip(*ranks, strict=True)], list(batches(small)))


def test_a_sample_keeps_its_draws_in_another_batch_size(small: Path) -> None:
    small_batches, large = list(batches(small, batch=4)), next(batches(small, batch=48))
    row = int(small_batches[3].ids_B[2])
    place = large.ids_B.tolist().index(row)
    assert torch.equal(small_batches[3].points_2BNC[2], large.points_2BNC[place])
    assert torch.equal(small_batches[3].rgb_B3HW[2], large.rgb_B3HW[place])


def test_epoch_and_seed_change_the_numbers(small: Path) -> None:
    first = next(batches(small))
    for changed in ({"epoch": 3}, {"seed": 6}):
        assert not torch.equal(next(batches(small, **changed)).points_2BNC, first.points_2BNC)


def test_what_cannot_work_is_said_before_the_first_batch(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"batch is 49 .* holds 48 shapes"):
        batches(small, batch=49)
    with pytest.raises(ValueError, match=r"pretrain.points is 129, but .* stores 128 points a shape: prepare it with data.points >= 129"):
        batches(small, points=129)
    source = tmp_path / "meshes" / "tetra"
    source.mkdir(parents=True)
    (source / "a.off").write_text("OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n")
    cfg = Meshes(kind="meshes", source=source.parent, views=0, points=128, target=tmp_path / "bare")
    prepare(cfg, say=lambda line: None, parallel=False)
    with pytest.raises(ValueError, match=r"shape tetra/a.off has no view, but the cross-modal loss needs one"):
        batches(tmp_path / "bare", batch=1)
    with pytest.raises(ValueError, match=r"shape tetra/a.off has no view"):
        check_trainable(PreparedDataset(tmp_path / "bare", None), 128)
    check_trainable(PreparedDataset(small, None), 128)


def test_evaluation_clouds_come_in_order_in_the_unit_ball_and_never_change(small: Path) -> None:
    dataset = PreparedDataset(small, None)
    once, again = (list(evaluation_clouds(dataset, 50, batch)) for batch in (20, 7))
    points, labels = (torch.cat(column) for column in zip(*once, strict=True))
    assert points.shape == (48, 50, 3) and np.array_equal(labels.numpy(), dataset.labels)
    np.testing.assert_allclose(points.norm(dim=2).amax(1).numpy(), 1, atol=1e-6)
    assert torch.equal(points, torch.cat([cloud for cloud, _ in again]))


def test_evaluation_refuses_more_points_than_stored(small: Path) -> None:
    with pytest.raises(ValueError, match="200 points a cloud asked of shapes that store 128"):
        next(evaluation_clouds(PreparedDataset(small, None), 200, 4))


def test_a_dataset_that_cannot_be_evaluated_is_refused_with_the_way_out(small: Path, tmp_path: Path) -> None:
    check_evaluable(small, 128)
    with pytest.raises(
        ValueError, match=r"evaluate.points is 129, but .* stores 128 points a shape: prepare it with points >= 129, or lower"
    ):
        check_evaluable(small, 129)
    cfg = Synthetic(kind="synthetic", shapes=16, points=64, views=1, image_size=32, target=tmp_path / "one")  # a shape a category
    prepare(cfg, say=lambda line: None, parallel=False)
    with pytest.raises(ValueError, match=r"holds 16 shapes in train and 0 in val, .* needs both: prepare it with more shapes"):
        check_evaluable(tmp_path / "one", 64)
    for name, size in (("a", 1), ("b", 2), ("c", 3)):
        path = tmp_path / "meshes" / "tetra" / f"{name}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"OFF\n4 4 0\n0 0 0\n{size} 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n")
    meshes = Meshes(kind="meshes", source=tmp_path / "meshes", views=0, points=64, target=tmp_path / "single")
    prepare(meshes, say=lambda line: None, parallel=False)
    with pytest.raises(ValueError, match=r"holds shapes of 1 category in train \(tetra\), the linear SVM needs at least 2"):
        check_evaluable(tmp_path / "single", 64)


def test_a_category_that_training_never_sees_is_named(tmp_path: Path) -> None:
    for split, classes in (("train", "abc"), ("test", "abd")):
        for name in classes:
            for number in range(4):
                path = tmp_path / "meshes" / f"class_{name}" / split / f"{number}.off"
                path.parent.mkdir(parents=True, exist_ok=True)
                size = 1 + number + 7 * ord(name) + (100 if split == "test" else 0)
                path.write_text(f"OFF\n4 4 0\n0 0 0\n{size} 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n")
    prepare(Meshes(kind="meshes", source=tmp_path / "meshes", views=0, points=64, target=tmp_path / "data"), lambda line: None, False)
    with pytest.raises(ValueError, match="has shapes of class_d in test and none in train"):
        check_evaluable(tmp_path / "data", 64)
