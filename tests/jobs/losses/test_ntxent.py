"""NT-Xent against the sum written out term by term; over ranks in test_ranks.py."""
import pytest
import torch

from jobs.losses.ntxent import nt_xent
from tests.jobs.losses.obvious import nt_xent_by_terms


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("pairs", [1, 2, 7])
@pytest.mark.parametrize("masked", [True, False])
def test_value_and_gradients_equal_the_sum_written_out(temperature: float, pairs: int, masked: bool) -> None:
    torch.manual_seed(pairs)
    ids = [row // 2 for row in range(pairs)] if masked else None
    a, b = (torch.randn(pairs, 5, dtype=torch.float64) * 3 for _ in range(2))
    found, expected = ([value.clone().requires_grad_() for value in (a, b)] for _ in range(2))
    loss = nt_xent(found[0], found[1], temperature, None if ids is None else torch.tensor(ids))
    reference = nt_xent_by_terms(expected[0], expected[1], temperature, ids)
    torch.testing.assert_close(loss, reference)
    loss.backward()
    reference.backward()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def test_equal_embeddings_everywhere_give_the_logarithm_of_the_candidates() -> None:
    rows = torch.ones(4, 3, dtype=torch.float64)
    torch.testing.assert_close(nt_xent(rows, rows, 0.2), torch.tensor(7.0, dtype=torch.float64).log())
    ids = torch.tensor([0, 0, 1, 2])  # rows of shape 0 lose two candidates of seven
    expected = (torch.tensor(5.0).log() + torch.tensor(7.0).log()).double() / 2
    torch.testing.assert_close(nt_xent(rows, rows, 0.2, ids), expected, rtol=1e-6, atol=0)


def test_logits_are_float32_under_autocast() -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(6, 16).bfloat16() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(a, b, 0.1)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, nt_xent(a.float(), b.float(), 0.1))


def test_rows_that_do_not_pair_and_temperatures_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[4, 3\] and \[5, 3\]"):
        nt_xent(torch.randn(4, 3), torch.randn(5, 3), 0.1)
    with pytest.raises(ValueError, match="above 0"):
        nt_xent(torch.randn(4, 3), torch.randn(4, 3), 0.0)
