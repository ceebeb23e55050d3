"""k nearest neighbours against a full sort."""
import pytest
import torch

from jobs.bench import textbook
from jobs.bench.encoder import clouds
from jobs.models import neighbours
from jobs.models.neighbours import nearest, nearest_features
from tests.jobs.models.edges import LargestStorage, neighbours_by_sorting


@pytest.mark.parametrize(("points", "channels", "k"), [(37, 3, 5), (64, 64, 64), (256, 3, 10), (256, 64, 20), (240, 3, 1), (252, 8, 21)])
def test_the_sets_are_those_of_a_full_sort(points: int, channels: int, k: int) -> None:
    torch.manual_seed(points)
    x_BNC = torch.randn(3, points, channels, dtype=torch.float64)
    idx_BNK = nearest(x_BNC, k)
    assert idx_BNK.shape == (3, points, k) and idx_BNK.dtype == torch.int64
    assert torch.equal(idx_BNK.sort(2).values, neighbours_by_sorting(x_BNC, k).sort(2).values)
    assert (idx_BNK == torch.arange(points)[:, None]).any(2).all(), "every point is among its own neighbours"


def test_chunks_do_not_change_the_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x_BNC = torch.randn(5, 40, 3, dtype=torch.float64)
    whole = nearest(x_BNC, 6).sort(2).values
    monkeypatch.setattr(neighbours, "CHUNK_BYTES", 2 * 40 * 40 * 8)
    assert torch.equal(nearest(x_BNC, 6).sort(2).values, whole)


def test_duplicate_points_give_neighbours_at_the_right_distances() -> None:
    torch.manual_seed(1)
    x_BNC = torch.randn(2, 256, 3, dtype=torch.float64)
    x_BNC[:, torch.rand(256) < 0.6] = x_BNC[:, :1]
    def distances(idx_BNK: torch.Tensor) -> torch.Tensor:
        away = torch.stack([x_BNC[cloud][idx_BNK[cloud]] - x_BNC[cloud][:, None] for cloud in range(2)])
        return away.square().sum(3).sort(2).values
    idx_BNK = nearest(x_BNC, 10)
    torch.testing.assert_close(distances(idx_BNK), distances(neighbours_by_sorting(x_BNC, 10)))
    assert all(len(set(row.tolist())) == 10 for row in idx_BNK.flatten(0, 1)), "no neighbour comes twice"


def test_autocast_does_not_coarsen_distances() -> None:
    torch.manual_seed(2)
    x_BNC = torch.randn(2, 64, 3)
    with torch.autocast("cpu", torch.bfloat16):
        idx_BNK = nearest(x_BNC, 8)
    assert torch.equal(idx_BNK.sort(2).values, nearest(x_BNC, 8).sort(2).values)


def test_more_neighbours_than_points_are_refused() -> None:
    with pytest.raises(ValueError, match="9 neighbours for clouds of 8 points"):
        nearest(torch.randn(1, 8, 3), 9)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_not_finite_are_refused_and_inside_a_network_let_through(value: float) -> None:
    x_BNC = torch.randn(3, 8, 3)
    x_BNC[1, 4, 2] = value
    with pytest.raises(ValueError, match="cloud 1 "):
        nearest(x_BNC, 4)
    idx_BNK = nearest_features(x_BNC, 4)
    assert idx_BNK.min() >= 0 and idx_BNK.max() < 8


@pytest.mark.parametrize("channels", [3, 64])
def test_in_float32_the_sets_agree_with_a_full_sort_as_often_as_the_textbooks_do_under_one_ulp_of_noise(channels: int) -> None:
    torch.manual_seed(3)
    x_BNC = clouds(2, 1024)
    x_BNC = torch.randn(2, 1024, channels) @ torch.randn(channels, channels) if channels > 3 else x_BNC
    exact = neighbours_by_sorting(x_BNC.double(), 20).sort(2).values
    noisy = torch.nextafter(x_BNC, x_BNC + torch.where(torch.rand_like(x_BNC) < 0.5, -1.0, 1.0))

    def agreement(idx_BNK: torch.Tensor) -> float:
        return float((idx_BNK.sort(2).values == exact).all(2).float().mean())

    ours, books = agreement(nearest(x_BNC, 20)), agreement(textbook.neighbours(noisy, 20))
    assert books < 1.0 or ours == 1.0
    assert ours >= books
    assert ours > 0.9


def test_distances_are_held_a_chunk_at_a_time() -> None:
    x_BNC = torch.randn(2, 2048, 3)
    with LargestStorage() as storage:
        nearest(x_BNC, 20)
    assert storage.largest <= neighbours.CHUNK_BYTES < 2048 * 2048 * 4 / 4
