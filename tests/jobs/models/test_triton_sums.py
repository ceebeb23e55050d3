"""Sums over neighbours and referrers against sums over written-out edges."""
import pytest
import torch
from torch import Tensor

from tests.jobs.models.kernels import device_of_kernels

DEVICE = device_of_kernels()

from jobs.models.triton_sums import fused_neighbour_sum, fused_referrer_sum, referrer_counts  # noqa: E402  # once Triton is there

SHAPES = [(1, 1, 1), (29, 1, 3), (40, 20, 3), (40, 20, 64), (11, 4, 200), (6, 6, 256)]


def graph(rows: int, k: int, channels: int) -> tuple[Tensor, Tensor]:
    """Whole numbers, so that sums are exact in any order. All point to the lower half: the rest has no referrer, and row 0 has many."""
    torch.manual_seed(rows + k + channels)
    idx_MK = torch.randint(0, max(1, rows // 2), (rows, k))
    idx_MK[:, 0] = 0
    return torch.randint(-9, 10, (rows, channels)).float(), idx_MK


@pytest.mark.parametrize(("rows", "k", "channels"), SHAPES)
def test_the_sum_over_neighbours(rows: int, k: int, channels: int) -> None:
    rows_MC, idx_MK = graph(rows, k, channels)
    assert torch.equal(fused_neighbour_sum(rows_MC.to(DEVICE), idx_MK.to(DEVICE)).cpu(), rows_MC[idx_MK].sum(1))


@pytest.mark.parametrize(("rows", "k", "channels"), SHAPES)
def test_the_sum_over_referrers_and_their_number(rows: int, k: int, channels: int) -> None:
    rows_MC, idx_MK = graph(rows, k, channels)
    refers_MM = torch.nn.functional.one_hot(idx_MK, rows).sum(1).float()
    assert torch.equal(fused_referrer_sum(rows_MC.to(DEVICE), idx_MK.to(DEVICE)).cpu(), refers_MM.t() @ rows_MC)
    assert referrer_counts(idx_MK.to(DEVICE)).tolist() == refers_MM.sum(0).tolist()


@pytest.mark.parametrize(("rows", "k", "channels"), [*SHAPES, (3, 256, 2)])
def test_a_channel_counts_at_its_place_alone(rows: int, k: int, channels: int) -> None:
    rows_MC, idx_MK = graph(rows, k, channels)
    place_MC = torch.randint(0, k, (rows, channels))
    expected = torch.zeros_like(rows_MC).scatter_add_(0, idx_MK.gather(1, place_MC), rows_MC)
    given = (x.to(DEVICE) for x in (rows_MC, idx_MK, place_MC.to(torch.uint8)))
    assert torch.equal(fused_referrer_sum(*given).cpu(), expected)


def test_a_nan_reaches_those_that_refer_to_it_and_no_others() -> None:
    rows_MC, idx_MK = graph(20, 3, 8)
    rows_MC[4] = float("nan")
    found = fused_neighbour_sum(rows_MC.to(DEVICE), idx_MK.to(DEVICE)).cpu()
    assert torch.equal(found.isnan().any(1), (idx_MK == 4).any(1)) and bool(found.isnan().any())
    back = fused_referrer_sum(rows_MC.to(DEVICE), idx_MK.to(DEVICE)).cpu()
    assert back.isnan().any(1).nonzero()[:, 0].tolist() == sorted(set(idx_MK[4].tolist()))
