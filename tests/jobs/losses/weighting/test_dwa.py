"""Dynamic Weight Average against numbers computed by hand."""
import math

import torch

from jobs.losses.weighting.dwa import DynamicWeightAverage


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_from_the_third_epoch_on_the_loss_that_fell_slower_gets_more_weight() -> None:
    temperature = 0.25 / math.log(3.0)
    weighting = DynamicWeightAverage(2, temperature=temperature, epoch_batches=2, device="cpu", dtype=torch.float64)
    # Epoch means (4, 2), (3, 1), then rates 3/4 and 1/2 apart by 1/4 = T ln 3: softmax 3/4 and 1/4, times K = 2.
    for losses, weights in (
        ((5.0, 2.0), (1.0, 1.0)), ((3.0, 2.0), (1.0, 1.0)),  # no epoch before
        ((3.0, 0.5), (1.0, 1.0)), ((3.0, 1.5), (1.0, 1.0)),  # one epoch before
        ((9.0, 9.0), (1.5, 0.5)), ((9.0, 9.0), (1.5, 0.5)),
    ):  # fmt: skip
        torch.testing.assert_close(weighting.weigh(numbers(*losses)), numbers(*weights))
