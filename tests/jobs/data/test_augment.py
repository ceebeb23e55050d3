import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jobs.data.augment import augment_clouds, normalise, resample, subset
from jobs.data.draws import sample_generator

Cloud = NDArray[np.float32]


def clouds(count: int, points: int) -> list[Cloud]:
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((points, 3)) * [1, 2, 0.5] + 7).astype(np.float32) for _ in range(count)]


def generators(count: int, epoch: int = 0) -> list[np.random.Generator]:
    return [sample_generator(3, epoch, f"shape {number}", "view 1") for number in range(count)]


def one_by_one(cloud: Cloud, rng: np.random.Generator, points: int) -> NDArray[np.float64]:
    """The published transforms in their order, a cloud at a time in float64, from the same draws."""
    view = cloud[rng.permutation(len(cloud))[:points]].astype(np.float64)
    scale, angle, *shift, ratio = rng.random(6).astype(np.float32)
    noise, chance = rng.standard_normal((points, 3), dtype=np.float32), rng.random(points, dtype=np.float32)
    view = view - view.mean(0)
    view = view / np.sqrt((view**2).sum(1)).max()
    view = view * (0.5 + 1.5 * scale)
    turn = 2 * np.pi * angle
    view = view @ np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]).T
    for axis in range(3):
        view[:, axis] += (shift[axis] - 0.5) * (view[:, axis].max() - view[:, axis].min())
    view = view + np.clip(0.01 * noise, -0.05, 0.05)
    view[chance <= 0.875 * ratio] = view[0]
    return view


@pytest.mark.parametrize(("stored", "points"), [(64, 64), (200, 50)])
def test_the_batched_view_equals_the_published_transforms_one_by_one(stored: int, points: int) -> None:
    batch = clouds(6, stored)
    view = augment_clouds(batch, generators(6), points)
    expected = np.stack([one_by_one(cloud, rng, points) for cloud, rng in zip(batch, generators(6), strict=True)])
    assert view.dtype == torch.float32
    np.testing.assert_allclose(view.numpy(), expected, atol=2e-5)


def test_scale_turn_and_dropout_cover_their_published_ranges() -> None:
    ring = np.stack([np.cos(np.linspace(0, 7, 400)), np.zeros(400), np.sin(np.linspace(0, 7, 400))], 1).astype(np.float32)
    view = augment_clouds([ring] * 300, generators(300), 400)
    unique = torch.tensor([len(torch.unique(cloud, dim=0)) for cloud in view]) / 400
    extent = (view.amax(1) - view.amin(1))[:, 0]
    assert unique.min() < 0.3 and unique.max() > 0.9  # up to 0.875 of the points become the first one
    assert 0.9 < extent.min() < 1.3 and 3.4 < extent.max() < 4.2  # diameter 2 scaled by U(0.5, 2), plus jitter
    assert view[..., 1].abs().max() <= 0.05 + 1e-6  # flat in y: no tilt, no extent to translate by, jitter clipped


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    batch = clouds(9, 100)
    together = augment_clouds(batch, generators(9), 40)
    apart = torch.cat([augment_clouds([cloud], [rng], 40) for cloud, rng in zip(batch, generators(9), strict=True)])
    assert torch.equal(together, apart)


def test_another_epoch_gives_another_view() -> None:
    batch = clouds(2, 50)
    assert not torch.equal(augment_clouds(batch, generators(2, 0), 50), augment_clouds(batch, generators(2, 1), 50))


def test_the_subset_takes_no_point_twice() -> None:
    line = np.stack([np.arange(100), np.zeros(100), np.zeros(100)], 1).astype(np.float32)
    rng = sample_generator(0, 0, "a", "view 1")
    chosen = line[subset(rng, 100, 60)]
    assert len(np.unique(chosen[:, 0])) == 60


def test_more_points_than_stored_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"65 points .* store 64: prepare with data.points >= 65"):
        augment_clouds(clouds(1, 64), generators(1), 65)


def test_normalise_centres_and_reaches_the_unit_sphere() -> None:
    unit = normalise(torch.from_numpy(np.stack(clouds(4, 300))))
    np.testing.assert_allclose(unit.mean(1).numpy(), 0, atol=1e-6)
    np.testing.assert_allclose(unit.norm(dim=2).amax(1).numpy(), 1, atol=1e-6)


def test_normalise_puts_a_cloud_in_one_place_at_the_origin() -> None:
    assert torch.equal(normalise(torch.full((1, 8, 3), 4.0)), torch.zeros(1, 8, 3))


def test_resampling_loses_no_point_of_a_short_cloud_and_repeats_none_of_a_long_one() -> None:
    short, long = (resample(np.random.default_rng(0), stored, 50) for stored in (30, 80))
    assert len(short) == len(long) == 50
    assert set(short.tolist()) == set(range(30)) and len(set(long.tolist())) == 50
