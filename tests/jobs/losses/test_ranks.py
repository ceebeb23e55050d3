"""Losses and their gradients on two and three gloo processes with uneven shares equal one process."""
from pathlib import Path

import torch

from jobs.losses.gather import gather_rows, row_counts
from jobs.losses.ntxent import nt_xent
from jobs.losses.objective import CROSS, pretraining_losses
from tests.jobs.models.ranks import Answer, assert_ranks_equal_one_process, own_share

ROWS = 32  # 16 + 16 over two ranks, 11 + 11 + 10 over three


def losses_and_gradients() -> Answer:
    torch.manual_seed(0)
    share = own_share(ROWS)
    ids = (torch.arange(ROWS) // 3)[share]  # shapes that lie on two ranks
    answer: Answer = {}

    a, b = (torch.randn(ROWS, 8, dtype=torch.float64)[share].clone().requires_grad_() for _ in range(2))
    counts = row_counts(len(a), "cpu")
    for name, shape_ids in (("plain", None), ("masked", ids)):
        loss = nt_xent(a, b, 0.2, shape_ids)
        answer[f"sum/{name}"] = loss.detach()
        answer[f"rows/{name} a"], answer[f"rows/{name} b"] = torch.autograd.grad(loss, (a, b))

    views, pictures = torch.randn(2, ROWS, 8, dtype=torch.float64), torch.randn(2, ROWS, 8, dtype=torch.float64)
    for cross in CROSS:
        points, rgb, grey = (value[share].clone().requires_grad_() for value in (views.transpose(0, 1), *pictures))
        losses = pretraining_losses(
            points.transpose(0, 1).flatten(0, 1), rgb, grey,
            cross=cross, temperature=0.1, same_sample_negatives=False, ids_B=torch.arange(ROWS)[share], counts=counts,
        )  # fmt: skip
        (losses * losses.new_tensor([1.0, 0.3])).sum().backward()
        answer[f"sum/{cross}"] = losses.detach()
        answer |= {f"rows/{cross} {name}": x.grad for name, x in (("points", points), ("rgb", rgb), ("grey", grey)) if x.grad is not None}

    gathered = gather_rows(a, counts)
    answer["same/gathered"] = gathered.detach()
    weights = torch.randn(gathered.shape, dtype=torch.float64)
    # Every rank asks the same of every row: over R ranks a row gets R times the gradient.
    answer["rows/gathered gradient"] = torch.autograd.grad((gathered * weights).sum() / len(counts), a)[0]
    return answer


def test_losses_and_gradients_are_the_same_over_one_two_and_three_processes(tmp_path: Path) -> None:
    assert_ranks_equal_one_process(losses_and_gradients, tmp_path, atol=1e-12)
