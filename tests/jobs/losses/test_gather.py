"""Gathering rows in one process; over ranks in test_ranks.py."""
import pytest
import torch

from jobs.losses.gather import gather_rows, row_counts


def test_one_process_gets_its_own_rows_back() -> None:
    rows = torch.randn(3, 4)
    assert gather_rows(rows, row_counts(3, "cpu")) is rows


@pytest.mark.parametrize("counts", [[4], [3, 3], []])
def test_counts_that_do_not_fit_the_rows_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="rank 0 of 1 holds 3 rows"):
        gather_rows(torch.randn(3, 4), counts)
