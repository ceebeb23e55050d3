"""The fused search for neighbours against a full sort."""
import pytest
import torch
from torch import Tensor

from jobs.models import neighbours
from jobs.models.neighbours import nearest
from tests.jobs.models.edges import neighbours_by_sorting
from tests.jobs.models.kernels import device_of_kernels

DEVICE = device_of_kernels()

from jobs.models.triton_neighbours import COLUMNS, FUSED, fused_nearest, worth_fusing  # noqa: E402  # once it is known that Triton is there


def search(x_BNC: Tensor, k: int) -> Tensor:
    """The kernel's answer; whole, in range, of the right type, and without repetition."""
    idx_BNK = fused_nearest(x_BNC.to(DEVICE), k).cpu()
    assert idx_BNK.shape == (*x_BNC.shape[:2], k) and idx_BNK.dtype == torch.int64
    assert idx_BNK.min() >= 0 and idx_BNK.max() < x_BNC.shape[1]
    assert bool((idx_BNK.sort(2).values.diff(dim=2) > 0).all()), "no neighbour comes twice"
    return idx_BNK


def distances(x_BNC: Tensor, idx_BNK: Tensor) -> Tensor:
    """Squared, in float64, in ascending order."""
    x_BNC = x_BNC.double()
    away = torch.stack([x[idx] - x[:, None] for x, idx in zip(x_BNC, idx_BNK, strict=True)])
    return away.square().sum(3).sort(2).values


@pytest.mark.parametrize(
    ("clouds", "points", "channels", "k"),
    [(2, 37, 3, 5), (1, 97, 64, 20), (2, 64, 16, 1), (1, 70, 3, 32), (3, 20, 5, 20), (1, 33, 200, 7), (1, 1, 1, 1), (2, 66, 17, 16)],
)
def test_the_neighbours_are_as_near_as_those_of_a_full_sort(clouds: int, points: int, channels: int, k: int) -> None:
    torch.manual_seed(points)
    x_BNC = torch.randn(clouds, points, channels)
    found, expected = search(x_BNC, k), neighbours_by_sorting(x_BNC.double(), k)
    torch.testing.assert_close(distances(x_BNC, found), distances(x_BNC, expected), rtol=1e-4, atol=1e-5)
    assert torch.equal(found.sort(2).values, expected.sort(2).values)


@pytest.mark.parametrize("k", [1, 20, 32])
def test_distances_that_float32_holds_exactly_are_compared_exactly(k: int) -> None:
    torch.manual_seed(k)
    x_BNC = torch.randint(-512, 512, (1, 200, 3)).float()
    assert torch.equal(distances(x_BNC, search(x_BNC, k)), distances(x_BNC, neighbours_by_sorting(x_BNC.double(), k)))


@pytest.mark.parametrize("slant", [1, -1])
def test_the_order_of_the_points_does_not_matter(slant: int) -> None:
    x_BNC = (slant * torch.arange(200.0))[None, :, None].expand(1, 200, 3)
    assert torch.equal(distances(x_BNC, search(x_BNC, 9)), distances(x_BNC, neighbours_by_sorting(x_BNC, 9)))


def test_duplicate_points_give_neighbours_at_the_right_distances() -> None:
    torch.manual_seed(1)
    x_BNC = torch.randint(-64, 64, (2, 100, 3)).float()
    x_BNC[:, torch.rand(100) < 0.6] = x_BNC[:, :1]
    assert torch.equal(distances(x_BNC, search(x_BNC, 10)), distances(x_BNC, neighbours_by_sorting(x_BNC, 10)))


def test_copies_of_a_point_refer_to_those_beside_them_not_all_to_the_same_few() -> None:
    referred_N = search(torch.ones(1, 3 * COLUMNS, 3), 10).flatten().bincount()
    assert referred_N.max() <= COLUMNS


def test_products_are_not_rounded_to_fewer_bits() -> None:
    torch.manual_seed(2)
    x_BNC = (2048 + torch.randperm(2048)[:70]).float().view(1, 70, 1)  # 12 bits: float32 holds their squares, TF32 not even the numbers
    assert torch.equal(distances(x_BNC, search(x_BNC, 6)), distances(x_BNC, neighbours_by_sorting(x_BNC.double(), 6)))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # NumPy's, of the interpreter
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_values_not_finite_neither_stall_the_search_nor_leave_the_range(value: float) -> None:
    torch.manual_seed(3)
    x_BNC = torch.randn(3, 40, 4)
    x_BNC[0, 5, 1], x_BNC[1, :, 0], x_BNC[2] = value, value, value
    found = search(x_BNC, 8)
    finite = torch.arange(40) != 5
    others = neighbours_by_sorting(x_BNC[:1, finite].double(), 8)
    assert torch.equal(distances(x_BNC[:1], found[:1])[:, finite], distances(x_BNC[:1, finite], others)), "bad points are no neighbours"


def test_a_transposed_cloud_is_read_right() -> None:
    torch.manual_seed(4)
    x_BCN = torch.randn(2, 5, 40)
    assert torch.equal(search(x_BCN.transpose(1, 2), 6).sort(2).values, neighbours_by_sorting(x_BCN.transpose(1, 2), 6).sort(2).values)


def test_the_search_is_taken_within_its_table_and_not_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("jobs.models.neighbours.can_launch", lambda x: x.dtype == torch.float32)
    monkeypatch.setattr(neighbours, "fused_nearest", lambda x, k: calls.append(k) or fused_nearest(x, k))
    x_BNC = torch.randn(1, 70, 3)
    for k, dtype in ((20, torch.float32), (33, torch.float32), (20, torch.float64)):
        found = nearest(x_BNC.to(DEVICE, dtype), k).cpu()
        assert torch.equal(found.sort(2).values, neighbours_by_sorting(x_BNC.double(), k).sort(2).values)
    assert calls == [20]
    assert worth_fusing(20, FUSED[32]) and not worth_fusing(20, FUSED[32] + 1) and not worth_fusing(max(FUSED) + 1, 1)
